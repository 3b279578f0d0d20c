//! The probe on a machine: it calls every entry and says how much stack each took.

mod report;
mod stack;

use core::hint::black_box;

#[cfg(target_arch = "arm")]
use cortex_m as _;
#[cfg(target_arch = "arm")]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv as _;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;
use semihosting::process;
use static_cell::ConstStaticCell;
use thumbformer::workspace::MAX_BLOCK;
use thumbformer::{Classifier, Sampler, Token, Utf8Stream, Workspace, include_model};

use crate::entries::*;
use report::line;
use stack::measure;

include!(concat!(env!("OUT_DIR"), "/board.rs"));

include_model! { static MODEL = concat!(env!("OUT_DIR"), "/model.thumb"); }
// A model that takes the ways on which most stack is needed; without one, the same model again.
include_model! { static WIDE = concat!(env!("OUT_DIR"), "/wide.thumb"); }
static MEMORY: ConstStaticCell<Workspace<MEMORY_LEN>> = ConstStaticCell::new(Workspace::new());

/// As many positions at once as the board has memory for, beside the program's own.
const BLOCK: usize = {
    const PROGRAM: usize = 6 * 1024;
    let mut block = MAX_BLOCK;
    while block > 1 && MODEL.workspace_len_for(block) + PROGRAM > RAM {
        block -= 1;
    }
    block
};

/// As much memory as either model needs.
const MEMORY_LEN: usize = {
    let (model, wide) = (MODEL.workspace_len_for(BLOCK), WIDE.workspace_len());
    if model > wide { model } else { wide }
};

/// The text that is read: as many tokens as two blocks and a last token alone.
const TEXT: &str = "The compiler checks every borrow \u{2764}";

/// Draws with everything that a sampler can do.
const SAMPLER: Sampler =
    Sampler::new(1).temperature(0.8).top_k(40).top_p(0.9).min_p(0.01).repetition_penalty(1.1);

#[entry]
fn main() -> ! {
    process::exit(if run().is_some() { 0 } else { 1 })
}

/// Calls every entry that the model has a use for; none where one fails.
fn run() -> Option<()> {
    #[cfg(feature = "broken")]
    black_box(crate::broken::probe_broken(black_box(3), black_box(1)));
    let (used, model) = measure(|| probe_load(black_box(MODEL.file())));
    line("probe_load", used);
    let model = model.ok()?;
    let (used, verified) = measure(|| probe_verify(&model));
    line("probe_verify", used);
    verified.ok()?;

    let mut buffer = [Token::BOS; 64];
    let tokenizer = model.tokenizer();
    let (used, tokens) = measure(|| probe_encode(&tokenizer, black_box(TEXT), &mut buffer));
    line("probe_encode", used);
    let tokens = tokens.ok()?;
    let tokens = tokens.get(..2 * BLOCK + 1).unwrap_or(tokens);
    let mut stream = Utf8Stream::new(&tokenizer);
    let mut deepest = 0;
    for &token in tokens {
        deepest = measure(|| probe_decode(&mut stream, token)).0.max(deepest);
    }
    line("probe_decode", deepest);

    let memory = MEMORY.try_take()?.as_mut();
    feed(memory)?;
    if model.config().n_classes > 0 {
        let mut classifier = Classifier::new(&model, memory).ok()?;
        let (used, class) = measure(|| probe_classify(&mut classifier, tokens));
        line("probe_classify", used);
        return class.ok().map(drop);
    }
    let (used, session) = measure(|| probe_session(&model, memory));
    line("probe_session", used);
    let mut session = session.ok()?;
    let (used, fed) = measure(|| probe_prefill(&mut session, tokens));
    line("probe_prefill", used);
    fed.ok()?;
    let (used, fed) = measure(|| probe_step(&mut session, black_box(Token(5))));
    line("probe_step", used);
    fed.ok()?;
    let mut sampler = SAMPLER;
    let (used, token) = measure(|| probe_sample(black_box(&mut sampler), &session));
    line("probe_sample", used);
    token?;
    // Until the window has slid.
    let mut deepest = 0;
    for _ in 0..=model.config().seq_len {
        let (used, token) = measure(|| probe_generate(&mut session, &mut sampler));
        deepest = used.max(deepest);
        token?.ok()?;
    }
    line("probe_generate", deepest);
    Some(())
}

/// Feeds the wide model a few tokens.
fn feed(memory: &mut [u8]) -> Option<()> {
    let model = probe_load(black_box(WIDE.file())).ok()?;
    let mut session = probe_session(&model, memory).ok()?;
    let (used, fed) = measure(|| probe_prefill(&mut session, &[Token(5); 3]));
    line("probe_prefill", used);
    fed.ok()?;
    let (used, fed) = measure(|| probe_step(&mut session, black_box(Token(5))));
    line("probe_step", used);
    fed.ok()
}
