//! The `.thumb` file: one description that the const reader, the emitter and docs/format.md share.
//!
//! A file is a [header], a directory of [tensors](Tensor), their data, a tokenizer section and
//! metadata. Everything is little-endian, found by offsets from the start of the file, and aligned to four
//! bytes, so that a device reads it in place, wherever it lies. The header and the directory are read by
//! `const fn`: a model that is embedded in firmware is checked while rustc runs.

/// Declares the fields of a record: for each a range of bytes, and all together the table of docs/format.md.
macro_rules! fields {
    ($($(#[doc = $meaning:literal])+ $name:ident: $type:literal = $range:expr;)+) => {
        use core::ops::Range;
        $($(#[doc = $meaning])+ pub const $name: Range<usize> = $range;)+
        /// Name, type, place and meaning of each.
        #[cfg(test)]
        pub(in crate::format) const ALL: &[(&str, &str, Range<usize>, &str)] =
            &[$((stringify!($name), $type, $range, concat!($($meaning),+))),+];
    };
}
use fields;

mod config;
mod crc;
#[cfg(test)]
mod document;
mod emit;
mod error;
pub mod header;
pub mod nibbles;
mod tensor;
pub mod tokenizer;

pub use config::{Activation, Config, NormKind, Positions};
pub use crc::crc32;
pub use emit::{Emitter, TensorPlan};
pub use error::FormatError;
pub use header::{Header, Section};
pub use tensor::{Dtype, InputWidth, Layout, Tensor, TensorKind, TensorSpec};

/// The first four bytes of every model file.
pub const MAGIC: [u8; 4] = *b"THMB";
/// The version of the layout of the file.
pub const VERSION: u16 = 2;
/// The version of the arithmetic (docs/numerics.md) for which the integers in the file were made.
pub const NUMERICS: u16 = 2;
/// Alignment in bytes of the file and of every part of it.
pub const ALIGN: usize = 4;

/// `n` rounded up to the alignment of the file.
pub const fn align(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}

/// The two bytes at `at`, or `None` past the end.
pub(crate) const fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => match rest.first_chunk::<2>() {
            Some(b) => Some(u16::from_le_bytes(*b)),
            None => None,
        },
        None => None,
    }
}

/// The four bytes at `at`, or `None` past the end.
pub(crate) const fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => match rest.first_chunk::<4>() {
            Some(b) => Some(u32::from_le_bytes(*b)),
            None => None,
        },
        None => None,
    }
}

/// `len` bytes from `at`, or nothing where the file does not have them.
pub(crate) const fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => match rest.split_at_checked(len) {
            Some((part, _)) => part,
            None => &[],
        },
        None => &[],
    }
}
