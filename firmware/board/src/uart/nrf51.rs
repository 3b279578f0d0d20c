//! The serial port of Nordic's nRF51, wired as on the micro:bit.

use core::ptr;

use super::{Port, embedded_io};

// Offsets of the registers.
const START_RX: usize = 0x000;
const START_TX: usize = 0x008;
const RX_READY: usize = 0x108;
const TX_READY: usize = 0x11C;
const ENABLE: usize = 0x500;
const PIN_TX: usize = 0x50C;
const PIN_RX: usize = 0x514;
const RX_DATA: usize = 0x518;
const TX_DATA: usize = 0x51C;
const BAUD_RATE: usize = 0x524;

const ENABLED: u32 = 4;
const BAUD_115200: u32 = 0x01D7_E000;
const MICROBIT_TX: u32 = 24;
const MICROBIT_RX: u32 = 25;

/// The serial port of Nordic's nRF51.
#[derive(Debug)]
pub struct Nrf51 {
    registers: *mut u32,
}

impl Nrf51 {
    /// Takes and enables the port at this address.
    ///
    /// # Safety
    ///
    /// Such a port must be there, and no one else may use it.
    pub unsafe fn new(base: usize) -> Self {
        let mut port = Self { registers: ptr::with_exposed_provenance_mut(base) };
        port.write_register(PIN_TX, MICROBIT_TX);
        port.write_register(PIN_RX, MICROBIT_RX);
        port.write_register(BAUD_RATE, BAUD_115200);
        port.write_register(ENABLE, ENABLED);
        port.write_register(START_TX, 1);
        port.write_register(START_RX, 1);
        port
    }

    fn read_register(&self, offset: usize) -> u32 {
        // SAFETY: the registers are there, as the caller of `new` promised, and the offsets above lie among them.
        unsafe { self.registers.byte_add(offset).read_volatile() }
    }

    fn write_register(&mut self, offset: usize, value: u32) {
        // SAFETY: the registers are there, as the caller of `new` promised, and the offsets above lie among them.
        unsafe { self.registers.byte_add(offset).write_volatile(value) }
    }
}

impl Port for Nrf51 {
    fn readable(&self) -> bool {
        self.read_register(RX_READY) != 0
    }

    fn read_byte(&mut self) -> u8 {
        // Cleared first: the port sets it again at once if it holds a further byte.
        self.write_register(RX_READY, 0);
        self.read_register(RX_DATA) as u8
    }

    fn write_byte(&mut self, byte: u8) {
        self.write_register(TX_DATA, byte.into());
        while self.read_register(TX_READY) == 0 {}
        self.write_register(TX_READY, 0);
    }
}

embedded_io!(Nrf51);
