//! The serial port of Arm's Cortex-M System Design Kit.

use core::ptr;

use super::{Port, embedded_io};

/// The registers, from the base address.
#[repr(C)]
struct Registers {
    data: u32,
    state: u32,
    control: u32,
    interrupt: u32,
    baud_divider: u32,
}

const TX_FULL: u32 = 1 << 0;
const RX_FULL: u32 = 1 << 1;
const TX_AND_RX_ENABLE: u32 = 0b11;
/// The smallest that the port allows.
const BAUD_DIVIDER: u32 = 16;

/// The serial port of Arm's Cortex-M System Design Kit.
#[derive(Debug)]
pub struct Cmsdk {
    registers: *mut Registers,
}

impl Cmsdk {
    /// Takes and enables the port at this address.
    ///
    /// # Safety
    ///
    /// Such a port must be there, and no one else may use it.
    pub unsafe fn new(base: usize) -> Self {
        let registers = ptr::with_exposed_provenance_mut::<Registers>(base);
        // SAFETY: the registers are there, as the caller promises.
        unsafe {
            (&raw mut (*registers).baud_divider).write_volatile(BAUD_DIVIDER);
            (&raw mut (*registers).control).write_volatile(TX_AND_RX_ENABLE);
        }
        Self { registers }
    }

    fn state(&self) -> u32 {
        // SAFETY: the registers are there, as the caller of `new` promised.
        unsafe { (&raw const (*self.registers).state).read_volatile() }
    }
}

impl Port for Cmsdk {
    fn readable(&self) -> bool {
        self.state() & RX_FULL != 0
    }

    fn read_byte(&mut self) -> u8 {
        // SAFETY: the registers are there, as the caller of `new` promised.
        unsafe { (&raw const (*self.registers).data).read_volatile() as u8 }
    }

    fn write_byte(&mut self, byte: u8) {
        while self.state() & TX_FULL != 0 {}
        // SAFETY: the registers are there, as the caller of `new` promised.
        unsafe { (&raw mut (*self.registers).data).write_volatile(byte.into()) }
    }
}

embedded_io!(Cmsdk);
