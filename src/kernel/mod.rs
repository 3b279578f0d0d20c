//! The inner loops: integer products, exact on every machine.
//!
//! The build script chooses one implementation for the target and [`NAME`] says which;
//! `--cfg thumbformer_kernel="portable"` in RUSTFLAGS forces the portable one. All compute the same numbers for all inputs:
//! sums of products modulo 2^32. These are the true sums where they fit an `i32`, which is so for up to 512 columns
//! with inputs of at most 32767 in magnitude (512 * 128 * 32767 < 2^31).

#[cfg(thumbformer_kernel = "armv6m")]
#[allow(unsafe_code)]
mod armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
#[allow(unsafe_code)]
mod armv7m;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
#[allow(unsafe_code)]
mod columns;
#[cfg(thumbformer_kernel = "dsp")]
#[allow(unsafe_code)]
mod dsp;
#[cfg(thumbformer_kernel = "mve")]
#[allow(unsafe_code)]
mod mve;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
mod offset_bytes;
#[cfg(any(thumbformer_kernel = "portable", test, feature = "selftest"))]
mod portable;
pub mod portable_tiles;
#[cfg(any(test, feature = "selftest"))]
mod reference;
#[cfg(thumbformer_kernel = "riscv")]
#[allow(unsafe_code)]
mod riscv;
mod rows;
#[cfg(any(test, feature = "selftest"))]
mod suite;
#[cfg(any(test, feature = "selftest"))]
mod tile_suite;
#[cfg(any(thumbformer_kernel = "vector", test, feature = "selftest"))]
mod vector;

#[cfg(thumbformer_kernel = "armv6m")]
use armv6m as chosen;
#[cfg(thumbformer_kernel = "armv7m")]
use armv7m as chosen;
#[cfg(thumbformer_kernel = "dsp")]
use dsp as chosen;
#[cfg(thumbformer_kernel = "mve")]
use mve as chosen;
#[cfg(thumbformer_kernel = "portable")]
use portable as chosen;
#[cfg(thumbformer_kernel = "riscv")]
use riscv as chosen;
#[cfg(thumbformer_kernel = "vector")]
use vector as chosen;

#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
use chosen as tiled;
#[cfg(not(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "riscv"
)))]
use portable_tiles::bytes as tiled;

use crate::format::InputWidth;

#[cfg(feature = "selftest")]
pub use suite::{Failure, selftest};

/// The kernels of this build: `"portable"`, `"vector"`, `"armv6m"`, `"armv7m"`, `"armv7em-dsp"`, `"armv81m-mve"` or
/// `"rv32m"`.
pub const NAME: &str = chosen::NAME;

/// Puts an input vector into the order in which [`matvec`] and [`matvec_strided`] want it.
///
/// Works in place and moves elements only within groups of four; a last group of fewer stays as it is.
#[inline]
pub fn arrange(x: &mut [i16]) {
    chosen::arrange(x);
}

/// Multiplies a matrix by a vector: `y[row]` becomes the sum over `column` of
/// `weights[row * x.len() + column] * x[column]`.
///
/// - `weights`: rows of `x.len()` elements, one after the other
/// - `x`: the input, in the order that [`arrange`] makes; its length is the number of columns
/// - `y`: one sum for each row
///
/// Where `weights` has fewer whole rows than `y` has elements, the other elements stay as they are. The fast path
/// needs `weights` and `x` at multiples of four bytes and a multiple of four columns; anything else gives the same
/// numbers, slowly.
#[inline]
pub fn matvec(weights: &[i8], x: &[i16], y: &mut [i32]) {
    chosen::matvec_strided(weights, x.len(), x, y);
}

/// [`matvec`] for rows that start `stride` elements apart: the scores of one query against a head's keys.
///
/// The last row may end before a whole stride. A stride that is less than the columns has no rows; the fast path
/// wants a multiple of four.
#[inline]
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    chosen::matvec_strided(weights, stride, x, y);
}

/// Adds weighted rows: to `sums[column]` the sum over `row` of `values[row * stride + column] * weights[row]`. The
/// output of one head of attention.
///
/// - `values`: rows of `sums.len()` elements, `stride` apart; the last one may end before a whole stride
/// - `weights`: one for each row, in natural order
///
/// Stops at the last whole row or the last weight, whichever comes first. The fast path wants what that of
/// [`matvec_strided`] wants, with `weights` in the place of `x`. The sums are true where
/// sum |weight| * 128 and what was in `sums` stay below 2^31 together.
#[inline]
pub fn add_weighted_rows(values: &[i8], stride: usize, weights: &[i16], sums: &mut [i32]) {
    chosen::add_weighted_rows(values, stride, weights, sums);
}

/// Words of the operand that [`prepare`] makes of an input vector of so many elements.
pub const fn operand_len(columns: usize) -> usize {
    tiled::operand_len(columns)
}

/// Puts an input vector into the form that [`tiles`] wants: the first [`operand_len`] words of `operand`.
///
/// - `x`: the vector in its natural order
/// - `width`: of its elements, at most 127 (A8) or 16384 (A16) in magnitude
#[inline]
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    tiled::prepare(x, width, operand);
}

/// Multiplies a matrix in this core's tiles by a vector: `y[row]` becomes 2^k times the sum over `column` of
/// `weight[row][column] * x[column]`, modulo 2^32; returns k.
///
/// - `tiles`: the matrix, as [`portable_tiles`] describes it
/// - `columns`: as many as the vector that [`prepare`] made `operand` of had elements
/// - `width`: the width that it was prepared for
/// - `y`: one sum for each row
///
/// Where `tiles` has fewer whole blocks of four rows than `y` needs, the other elements stay as they are. So do all where
/// `operand` is too short.
#[inline]
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    tiled::tiles(tiles, columns, operand, width, y)
}
