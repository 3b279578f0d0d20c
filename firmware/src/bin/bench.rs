//! Counts instructions per token, and logs a line for every measured region.
#![no_std]
#![no_main]

use app::{Meter, Region};
use board::Board;
use static_cell::ConstStaticCell;
use thumbformer::workspace::MAX_BLOCK;
use thumbformer::{Workspace, include_model, kernel};

include_model! { static MODEL = concat!(env!("OUT_DIR"), "/model.thumb"); }
static RAM: ConstStaticCell<Workspace<{ MODEL.workspace_len_for(BLOCK) }>> =
    ConstStaticCell::new(Workspace::new());

/// As many positions at once as the board has memory for, beside the program's own.
const BLOCK: usize = {
    const PROGRAM: usize = 6 * 1024;
    let mut block = MAX_BLOCK;
    while block > 1 && MODEL.workspace_len_for(block) + PROGRAM > board::RAM {
        block -= 1;
    }
    block
};

/// The most tokens to write.
const TOKENS: u32 = match option_env!("THUMBFORMER_TOKENS") {
    Some(tokens) => match u32::from_str_radix(tokens, 10) {
        Ok(tokens) => tokens,
        Err(_) => panic!("THUMBFORMER_TOKENS is a number"),
    },
    None => 100,
};

/// The board's counter.
struct Counter;

impl Meter for Counter {
    fn measure<T>(&mut self, work: impl FnOnce() -> T) -> (T, u64) {
        board::measure(work)
    }
}

fn log(region: Region) {
    let Region { work, position, tokens, instructions } = region;
    defmt::println!(
        "region work={=str} position={} tokens={} instructions={}",
        work.name(),
        position,
        tokens,
        instructions
    );
}

#[board::entry]
fn main() -> ! {
    let _board = Board::take();
    defmt::info!("bench on {=str} with {=str} kernels", board::NAME, kernel::NAME);
    if !MODEL.is_packed_as(kernel::LAYOUT) {
        defmt::warn!("the model is packed for another core: slower");
    }
    match app::bench(&MODEL, RAM.take().as_mut(), TOKENS, &mut Counter, log) {
        Ok(digest) => {
            defmt::println!(
                "report digest={=u64:016x} workspace={} block={} memory={} stack={} kernel={=str}",
                digest.value(),
                MODEL.workspace_len(),
                BLOCK,
                MODEL.workspace_len_for(BLOCK),
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
