//! Continues the line that comes in over the serial port.
#![no_std]
#![no_main]

use board::Board;
use static_cell::ConstStaticCell;
use thumbformer::{Sampler, Workspace, include_model, kernel};

include_model! { static MODEL = concat!(env!("OUT_DIR"), "/model.thumb"); }
static RAM: ConstStaticCell<Workspace<{ MODEL.workspace_len() }>> = ConstStaticCell::new(Workspace::new());

/// The most tokens to write.
const MAX_TOKENS: u32 = match option_env!("THUMBFORMER_TOKENS") {
    Some(tokens) => number(tokens),
    None => 64,
};

/// Draws tokens where THUMBFORMER_SEED is set while the program is built; takes the likeliest otherwise.
const SAMPLER: Sampler = match option_env!("THUMBFORMER_SEED") {
    Some(seed) => Sampler::new(number(seed) as u64).temperature(0.8).top_p(0.9),
    None => Sampler::greedy(),
};

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("THUMBFORMER_TOKENS and THUMBFORMER_SEED are numbers"),
    }
}

#[board::entry]
fn main() -> ! {
    let Board { mut uart } = Board::take();
    defmt::info!("story on {=str} with {=str} kernels", board::NAME, kernel::NAME);
    if !MODEL.is_packed_as(kernel::LAYOUT) {
        defmt::warn!("the model is packed for another core: slower");
    }
    let mut line = [0; app::MAX_PROMPT];
    let prompt = app::read_line(&mut uart, &mut line).unwrap_or_else(|error| match error {});
    let report = app::story(
        prompt,
        &mut uart,
        &MODEL,
        RAM.take().as_mut(),
        &mut SAMPLER.clone(),
        MAX_TOKENS,
        board::instructions,
    );
    match report {
        Ok(report) => {
            defmt::println!(
                "report prompt={} tokens={} digest={=u64:016x} prefill={} decode={} workspace={} stack={} kernel={=str}",
                report.prompt,
                report.tokens,
                report.digest.value(),
                report.prefill,
                report.decode,
                report.workspace,
                board::stack_high_water(),
                kernel::NAME,
            );
            board::exit(true)
        }
        Err(error) => {
            defmt::error!("{}", defmt::Display2Format(&error));
            board::exit(false)
        }
    }
}
