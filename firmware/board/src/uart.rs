//! Drivers of the boards' serial ports: blocking, without interrupts, as `embedded-io`'s `Read` and `Write`.

mod cmsdk;
mod nrf51;
mod ns16550;

pub use cmsdk::Cmsdk;
pub use nrf51::Nrf51;
pub use ns16550::Ns16550;

/// A serial port, one byte at a time. `Read` and `Write` follow from it.
trait Port {
    /// Whether a byte has come in.
    fn readable(&self) -> bool;
    /// Takes the byte that has come in.
    fn read_byte(&mut self) -> u8;
    /// Sends a byte, waiting for room.
    fn write_byte(&mut self, byte: u8);
}

/// Implements `embedded-io`'s traits for a [`Port`].
macro_rules! embedded_io {
    ($port:ty) => {
        impl embedded_io::ErrorType for $port {
            type Error = core::convert::Infallible;
        }

        impl embedded_io::Read for $port {
            fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
                let mut n = 0;
                while n < buf.len() && (n == 0 || self.readable()) {
                    while !self.readable() {}
                    buf[n] = self.read_byte();
                    n += 1;
                }
                Ok(n)
            }
        }

        impl embedded_io::Write for $port {
            fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
                buf.iter().for_each(|&byte| self.write_byte(byte));
                Ok(buf.len())
            }

            fn flush(&mut self) -> Result<(), Self::Error> {
                Ok(())
            }
        }
    };
}
use embedded_io;
