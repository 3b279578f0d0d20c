//! Counts the instructions of single kernels, and logs a line for every measured region.
#![no_std]
#![no_main]

use board::Board;
use static_cell::ConstStaticCell;
use thumbformer::bench::{Case, Memory, Meter, Step, cases};
use thumbformer::kernel;

/// None where there is no room, so that the program can be built for every board.
static MEMORY: ConstStaticCell<[Memory; ROOM]> = ConstStaticCell::new([const { Memory::new() }; ROOM]);
const ROOM: usize = (board::RAM >= 2 * size_of::<Memory>()) as usize;

/// Measures the steps of a case.
struct Counter {
    case: Case,
}

impl Meter for Counter {
    fn measure<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T {
        let (result, instructions) = board::measure(work);
        let work = step.name();
        match self.case {
            Case::Nothing => defmt::println!("region work={=str} instructions={}", work, instructions),
            Case::Matrix { rows, columns, width, vectors } => defmt::println!(
                "region work={=str} rows={} columns={} bits={} vectors={} instructions={}",
                work,
                rows,
                columns,
                width as u8,
                vectors,
                instructions
            ),
            Case::Attention { head_dim, heads, len } => defmt::println!(
                "region work={=str} head_dim={} heads={} len={} instructions={}",
                work,
                head_dim,
                heads,
                len,
                instructions
            ),
        }
        result
    }
}

#[board::entry]
fn main() -> ! {
    let _board = Board::take();
    defmt::info!("kernels of {=str} on {=str}", kernel::NAME, board::NAME);
    let Some(memory) = MEMORY.take().first_mut() else {
        defmt::error!("found {} bytes of RAM, wanted {}", board::RAM, 2 * size_of::<Memory>());
        board::exit(false)
    };
    for case in cases() {
        memory.run(case, &mut Counter { case });
    }
    defmt::println!("report kernel={=str}", kernel::NAME);
    board::exit(true)
}
