//! Panics: a test of the way in which a panic is reported.
#![no_std]
#![no_main]

#[board::entry]
fn main() -> ! {
    panic!("{} panics on purpose", board::NAME);
}
