//! What the firmware does. It knows a serial port by the traits of `embedded-io` and nothing else of the hardware, so
//! that the same code runs on every board, and on the host.
#![no_std]
#![forbid(unsafe_code)]

mod bench;
mod error;
mod line;
mod story;

pub use bench::{Meter, Region, Work, bench};
pub use error::Error;
pub use line::read_line;
pub use story::{MAX_PROMPT, Report, story};
