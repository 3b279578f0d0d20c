//! What the firmware does. It knows the serial port by the traits of `embedded-io` and nothing else of the hardware, so that
//! the same code runs on every board.
#![no_std]
#![forbid(unsafe_code)]

mod digest;
mod line;
mod story;

pub use digest::Digest;
pub use line::read_line;
pub use story::{Report, story};
