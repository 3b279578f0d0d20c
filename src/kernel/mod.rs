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

// What the other kernels do not have yet.
#[cfg(thumbformer_kernel = "dsp")]
pub use dsp::{
    arrange_pair, mul_w, operand_len, prepare, product_pair, rescale, scores, scores_pair, softmax,
    softmax_pair, tiles,
};
#[cfg(feature = "selftest")]
pub use suite::Failure;

/// The kernels of this build: `"portable"`, `"vector"`, `"armv7em-dsp"` or `"armv81m-mve"`.
pub const NAME: &str = chosen::NAME;

/// Runs the suite on every kernel that this target can run; returns the number of products compared.
#[cfg(feature = "selftest")]
pub fn selftest() -> Result<u32, Failure> {
    let compared = suite::selftest()?;
    #[cfg(thumbformer_kernel = "dsp")]
    let compared = compared + dsp::check()?;
    Ok(compared)
}

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
