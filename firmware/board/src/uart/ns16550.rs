//! The serial port of the PC, whose registers are single bytes.

use core::ptr;

use super::{Port, embedded_io};

/// The registers, from the base address.
#[repr(C)]
struct Registers {
    data: u8,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    line_status: u8,
}

const EIGHT_BITS: u8 = 0b11;
const DATA_READY: u8 = 1 << 0;
const TX_EMPTY: u8 = 1 << 5;

/// The serial port of the PC.
#[derive(Debug)]
pub struct Ns16550 {
    registers: *mut Registers,
}

impl Ns16550 {
    /// Takes and enables the port at this address.
    ///
    /// # Safety
    ///
    /// Such a port must be there, and no one else may use it.
    pub unsafe fn new(base: usize) -> Self {
        let registers = ptr::with_exposed_provenance_mut::<Registers>(base);
        // SAFETY: the registers are there, as the caller promises.
        unsafe { (&raw mut (*registers).line_control).write_volatile(EIGHT_BITS) }
        Self { registers }
    }

    fn line_status(&self) -> u8 {
        // SAFETY: the registers are there, as the caller of `new` promised.
        unsafe { (&raw const (*self.registers).line_status).read_volatile() }
    }
}

impl Port for Ns16550 {
    fn readable(&self) -> bool {
        self.line_status() & DATA_READY != 0
    }

    fn read_byte(&mut self) -> u8 {
        // SAFETY: the registers are there, as the caller of `new` promised.
        unsafe { (&raw const (*self.registers).data).read_volatile() }
    }

    fn write_byte(&mut self, byte: u8) {
        while self.line_status() & TX_EMPTY == 0 {}
        // SAFETY: the registers are there, as the caller of `new` promised.
        unsafe { (&raw mut (*self.registers).data).write_volatile(byte) }
    }
}

embedded_io!(Ns16550);
