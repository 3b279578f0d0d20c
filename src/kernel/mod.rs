//! The inner loops: integer products, exact on every machine.
//!
//! The build script chooses one implementation for the target and [`NAME`] says which;
//! `--cfg thumbformer_kernel="portable"` in RUSTFLAGS forces the portable one. All compute the same numbers for all inputs:
//! sums of products modulo 2^32. These are the true sums where they fit an `i32`, which is so for up to 512 columns
//! with inputs of at most 32767 in magnitude (512 * 128 * 32767 < 2^31).

#[cfg(thumbformer_kernel = "dsp")]
#[allow(unsafe_code)]
mod dsp;
#[cfg(thumbformer_kernel = "mve")]
#[allow(unsafe_code)]
mod mve;
#[cfg(any(thumbformer_kernel = "portable", test, feature = "selftest"))]
mod portable;
#[cfg(any(test, feature = "selftest"))]
mod reference;
mod rescale;
mod rows;
#[cfg(any(test, feature = "selftest"))]
mod suite;
#[cfg(any(thumbformer_kernel = "vector", test, feature = "selftest"))]
mod vector;

#[cfg(thumbformer_kernel = "dsp")]
use dsp as chosen;
#[cfg(thumbformer_kernel = "mve")]
use mve as chosen;
#[cfg(thumbformer_kernel = "portable")]
use portable as chosen;
#[cfg(thumbformer_kernel = "vector")]
use vector as chosen;

#[cfg(feature = "selftest")]
pub use suite::{Failure, selftest};

use crate::format::{InputWidth, Layout};
pub use rescale::rescale;

/// The weights of a matrix, in the order of the file.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'m> {
    /// Rows, each padded to a multiple of four.
    Rows(&'m [i8]),
    /// Tiles of this layout.
    Tiles(Layout, &'m [u32]),
}

/// A vector in the form that the kernel for its matrices wants.
#[derive(Debug)]
pub struct Input<'a> {
    /// For rows: in the order of [`arrange`]; otherwise in its natural order.
    vector: &'a [i16],
    /// For tiles.
    operand: &'a [u32],
    width: InputWidth,
}

/// Words that [`prepare`] may need for a vector.
pub const fn operand_len(columns: usize) -> usize {
    columns.next_multiple_of(4) + 4
}

/// Puts a vector, padded with zeros to a multiple of four, into the form that the kernel for these weights wants.
pub fn prepare<'a>(
    weights: &Weights<'_>,
    width: InputWidth,
    vector: &'a mut [i16],
    operand: &'a mut [u32],
) -> Input<'a> {
    match weights {
        Weights::Rows(_) => arrange(vector),
        Weights::Tiles(..) => {}
    }
    Input { vector, operand, width }
}

/// Multiplies a matrix by a vector: `y[row]` becomes `2^k` times the sum over `column` of `weight * x`, and k is
/// returned: 0, or 8 for some kernels with 8-bit inputs and at most 512 columns.
pub fn product(weights: &Weights<'_>, columns: usize, x: &Input<'_>, y: &mut [i32]) -> u32 {
    match weights {
        Weights::Rows(weights) => {
            matvec_strided(weights, x.vector.len(), x.vector, y);
            0
        }
        Weights::Tiles(..) => 0,
    }
}

/// The kernels of this build: `"portable"`, `"vector"`, `"armv7em-dsp"` or `"armv81m-mve"`.
pub const NAME: &str = chosen::NAME;

/// Puts an input vector into the order in which [`matvec`] and [`matvec_strided`] want it.
///
/// Works in place and moves elements only within groups of four; a last group of fewer stays as it is.
#[inline]
pub fn arrange(x: &mut [i16]) {
    chosen::arrange(x);
}

/// Multiplies rows that start `stride` elements apart by a vector: `y[row]` becomes the sum over `column` of
/// `weights[row * stride + column] * x[column]`.
///
/// - `weights`: rows of `x.len()` elements; the last one may end before a whole stride
/// - `x`: the input, in the order that [`arrange`] makes; its length is the number of columns
/// - `y`: one sum for each row
///
/// Where `weights` has fewer whole rows than `y` has elements, the other elements stay as they are. A stride that is
/// less than the columns has no rows. The fast path needs `weights` and `x` at multiples of four bytes, and columns and
/// stride that are multiples of four; anything else gives the same numbers, slowly.
#[inline]
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    chosen::matvec_strided(weights, stride, x, y);
}
