//! Continues the line that comes in over the serial port.
#![no_std]
#![no_main]

use board::Board;

#[board::entry]
fn main() -> ! {
    let mut board = Board::take();
    defmt::info!("story on {=str}", board::NAME);
    let report = app::story(&mut board.uart, board::instructions).unwrap();
    defmt::println!("report {} stack={}", report, board::stack_high_water());
    board::exit(true)
}
