//! The hardware of one board, chosen at build time by its row of boards.toml.
//!
//! - [`Board`]: the serial port, behind the traits of `embedded-io`
//! - [`instructions`]: how many instructions the processor has executed
//! - [`measure`]: how many instructions some work takes, by two independent instruments
//! - [`stack_high_water`]: how deep the stack has been
//! - [`exit`]: the end of the program, with success or failure
//!
//! Logs go through defmt over semihosting; a panic and a fault are logged and end the program with failure.
#![no_std]

use core::sync::atomic::{AtomicBool, Ordering};

use defmt_semihosting as _;

mod counter;
mod fault;
mod region;
mod stack;
pub mod uart;

pub use counter::{instructions, spin};
pub use region::measure;
pub use stack::high_water as stack_high_water;

#[cfg(target_arch = "arm")]
pub use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt::entry;

include!(concat!(env!("OUT_DIR"), "/constants.rs"));

/// What the board has. There is one.
#[derive(Debug)]
pub struct Board {
    /// The serial port.
    pub uart: Uart,
}

impl Board {
    /// Takes the board, starts counting instructions and watching the stack.
    ///
    /// # Panics
    ///
    /// The second time.
    pub fn take() -> Self {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let first = critical_section::with(|_| {
            let first = !TAKEN.load(Ordering::Relaxed);
            TAKEN.store(true, Ordering::Relaxed);
            first
        });
        assert!(first, "the board is taken");
        stack::paint();
        counter::start();
        // SAFETY: boards.toml says that such a serial port is there, and this line runs once.
        let uart = unsafe { Uart::new(UART_BASE) };
        Self { uart }
    }
}

/// Ends the program: QEMU exits with 0 for success, with 1 for failure. A stack that has run into the variables is a
/// failure.
pub fn exit(success: bool) -> ! {
    if success && stack::overflowed() {
        defmt::error!("the stack has overflowed");
        end(1)
    }
    end(if success { 0 } else { 1 })
}

/// Ends the program when every message is out.
fn end(code: i32) -> ! {
    defmt::flush();
    semihosting::process::exit(code)
}
