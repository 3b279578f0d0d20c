//! The inner loops: integer products, exact on every machine.
//!
//! The build script chooses one implementation for the target and [`NAME`] says which;
//! `--cfg thumbformer_kernel="portable"` in RUSTFLAGS forces the portable one. All compute the same numbers for all inputs:
//! sums of products modulo 2^32, which are the true sums wherever the runtime asks for them.

#[cfg(thumbformer_kernel = "armv6m")]
#[allow(unsafe_code)]
mod armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
#[allow(unsafe_code)]
mod armv7m;
mod attention;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
#[allow(unsafe_code)]
mod columns;
#[cfg(thumbformer_kernel = "dsp")]
#[allow(unsafe_code)]
mod dsp;
mod int4;
#[cfg(thumbformer_kernel = "armv6m")]
#[allow(unsafe_code)]
mod int4_armv6m;
#[cfg(any(test, feature = "selftest"))]
mod int4_suite;
#[cfg(thumbformer_kernel = "mve")]
#[allow(unsafe_code)]
mod mve;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
mod offset_bytes;
mod passes;
#[cfg(any(thumbformer_kernel = "portable", test, feature = "selftest"))]
mod portable;
mod portable_tiles;
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
use chosen as bytes;
#[cfg(thumbformer_kernel = "dsp")]
use chosen as halves;
#[cfg(not(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "riscv"
)))]
use portable_tiles::bytes;
#[cfg(not(thumbformer_kernel = "dsp"))]
use portable_tiles::halves;

#[cfg(thumbformer_kernel = "dsp")]
use dsp::int4 as nibbles;
#[cfg(not(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "dsp")))]
use int4 as nibbles;
#[cfg(thumbformer_kernel = "armv6m")]
use int4_armv6m as nibbles;

use crate::format::{InputWidth, Layout};
#[cfg(feature = "selftest")]
pub use suite::Failure;

pub use attention::narrowing;
#[cfg(not(thumbformer_kernel = "dsp"))]
pub use attention::{arrange_pair, product_pair, scores, scores_pair, softmax, softmax_pair};
#[cfg(thumbformer_kernel = "dsp")]
pub use chosen::{
    activate_gated, add, arrange_pair, magnitude, peak, product_pair, rescale, rotate, round, scale, scores,
    scores_pair, softmax, softmax_pair,
};
pub use int4::Nibbles;
pub use passes::{BlockShift, Gate, Openings, activate};
#[cfg(not(thumbformer_kernel = "dsp"))]
pub use passes::{activate_gated, add, magnitude, peak, rescale, rotate, round, scale};

/// The kernels of this build: `"portable"`, `"vector"`, `"armv6m"`, `"armv7m"`, `"armv7em-dsp"`, `"armv81m-mve"` or
/// `"rv32m"`.
pub const NAME: &str = chosen::NAME;

/// Runs the suite on every kernel that this target can run; returns the number of products compared.
#[cfg(feature = "selftest")]
pub fn selftest() -> Result<u32, Failure> {
    let compared = suite::selftest()?;
    #[cfg(thumbformer_kernel = "dsp")]
    let compared = compared + dsp::check()?;
    Ok(compared)
}

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = match NAME.as_bytes() {
    b"armv6m" | b"armv7m" | b"rv32m" => Layout::Bytes,
    b"armv7em-dsp" => Layout::Halves,
    _ => Layout::Rows,
};

/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = cfg!(any(thumbformer_kernel = "dsp", thumbformer_kernel = "vector"));

/// The weights of a matrix, in the order of the file.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'m> {
    /// Rows, each padded to a multiple of four.
    Rows(&'m [i8]),
    /// [`Layout::Bytes`].
    Bytes(&'m [u32]),
    /// [`Layout::Halves`].
    Halves(&'m [u32]),
    /// [`Layout::Nibbles`].
    Nibbles(Nibbles<'m>),
}

/// A vector in the form that the kernel for its matrices wants.
#[derive(Debug)]
pub struct Input<'a> {
    /// For rows, in the order of [`arrange`].
    vector: &'a [i16],
    /// For tiles.
    operand: &'a [u32],
    width: InputWidth,
}

/// Words that [`prepare`] may need for a vector, whatever the layout.
pub const fn operand_len(columns: usize) -> usize {
    columns.next_multiple_of(4) + 4
}

/// Puts a vector into the form that the kernel for these weights wants.
///
/// - `vector`: in its natural order, padded with zeros to a multiple of four; of at most 127 (A8) or 16384 (A16) in
///   magnitude
/// - `operand`: of [`operand_len`] words or more
pub fn prepare<'a>(
    weights: &Weights<'_>,
    width: InputWidth,
    vector: &'a mut [i16],
    operand: &'a mut [u32],
) -> Input<'a> {
    match weights {
        Weights::Rows(_) => arrange(vector),
        Weights::Bytes(_) => bytes::prepare(vector, width, operand),
        Weights::Halves(_) => halves::prepare(vector, width, operand),
        Weights::Nibbles(_) => nibbles::prepare(vector, width, operand),
    }
    Input { vector, operand, width }
}

/// Multiplies a matrix by a vector: `y[row]` becomes 2^k times the sum over `column` of
/// `weight[row][column] * x[column]` (for int4 also times the group's factor), modulo 2^32; returns k: 0, or 8 for some kernels with 8-bit inputs and at most 512
/// columns.
///
/// `x` comes from [`prepare`] for the layout of these weights. Where there are fewer whole rows (in tiles, blocks of four
/// rows) than `y` has elements, the other elements stay as they are.
pub fn product(weights: &Weights<'_>, x: &Input<'_>, y: &mut [i32]) -> u32 {
    let columns = x.vector.len();
    match weights {
        Weights::Rows(rows) => {
            chosen::matvec_strided(rows, columns, x.vector, y);
            0
        }
        Weights::Bytes(tiles) => bytes::tiles(tiles, columns, x.operand, x.width, y),
        Weights::Halves(tiles) => halves::tiles(tiles, columns, x.operand, x.width, y),
        Weights::Nibbles(weights) => {
            nibbles::product(weights, columns, x.operand, x.width, y);
            0
        }
    }
}

/// Puts an input vector into the order in which [`matvec_strided`] wants it.
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
