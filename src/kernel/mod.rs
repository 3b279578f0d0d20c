//! The inner loops: products of matrices, attention, and the passes over vectors between them, exact on every machine.
//!
//! The build script chooses one implementation for the target and [`NAME`] says which;
//! `--cfg thumbformer_kernel="portable"` in RUSTFLAGS forces the portable one. Its module exports everything that a core
//! can do in its own way, or the safe function where it has none. All compute the same numbers for all inputs: sums of
//! products are modulo 2^32, which are the true sums wherever the runtime asks for them.

#[cfg(thumbformer_kernel = "armv6m")]
#[allow(unsafe_code)]
mod armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
#[allow(unsafe_code)]
mod armv7m;
// The safe versions, here and below: what of them a core does in its own way is not used there.
#[cfg_attr(not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector")), allow(dead_code))]
mod attention;
#[cfg(any(test, feature = "selftest"))]
mod attention_suite;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
#[allow(unsafe_code)]
mod columns;
#[cfg(thumbformer_kernel = "dsp")]
#[allow(unsafe_code)]
mod dsp;
mod int4;
#[cfg(any(test, feature = "selftest"))]
mod int4_suite;
#[cfg(thumbformer_kernel = "mve")]
#[allow(unsafe_code)]
mod mve;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
#[cfg_attr(
    any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"),
    allow(dead_code, reason = "their operands are others")
)]
mod offset_bytes;
#[cfg(any(test, feature = "selftest"))]
mod pass_suite;
#[cfg_attr(not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector")), allow(dead_code))]
mod passes;
#[cfg(any(thumbformer_kernel = "portable", test, feature = "selftest"))]
mod portable;
#[cfg_attr(not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector")), allow(dead_code))]
mod portable_tiles;
mod product;
#[cfg(any(test, feature = "selftest"))]
mod products_suite;
#[cfg(any(test, feature = "selftest"))]
mod reference;
#[cfg(thumbformer_kernel = "riscv")]
#[allow(unsafe_code)]
mod riscv;
mod rows;
#[cfg(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "dsp",
    thumbformer_kernel = "portable",
    test,
    feature = "selftest"
))]
mod sparse;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m"))]
mod sparse_bytes;
#[cfg(any(test, feature = "selftest"))]
mod sparse_suite;
#[cfg(any(test, feature = "selftest"))]
mod suite;
#[cfg(any(test, feature = "selftest"))]
mod tile_suite;
#[cfg(any(thumbformer_kernel = "vector", test, feature = "selftest"))]
mod vector;
#[cfg(all(
    any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"),
    feature = "selftest"
))]
mod whole_words_suite;

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
#[cfg(thumbformer_kernel = "mve")]
use chosen::rows as row_matrix;
#[cfg(not(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "riscv"
)))]
use portable_tiles::bytes;
#[cfg(not(thumbformer_kernel = "dsp"))]
use portable_tiles::halves;
#[cfg(not(thumbformer_kernel = "mve"))]
use rows as row_matrix;

#[cfg(thumbformer_kernel = "armv6m")]
use armv6m::int4 as nibbles;
#[cfg(thumbformer_kernel = "armv7m")]
use armv7m::int4 as nibbles;
#[cfg(thumbformer_kernel = "dsp")]
use dsp::int4 as nibbles;
#[cfg(not(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "dsp",
    thumbformer_kernel = "riscv"
)))]
use int4 as nibbles;
#[cfg(thumbformer_kernel = "riscv")]
use riscv::int4 as nibbles;

#[cfg(feature = "selftest")]
pub use suite::Failure;

pub use attention::narrowing;
#[cfg(not(thumbformer_kernel = "armv6m"))]
pub use attention::{CACHE_OFFSET, VALUES_TRANSPOSED, weighted_sum};
#[cfg(thumbformer_kernel = "armv6m")]
pub use chosen::{CACHE_OFFSET, VALUES_TRANSPOSED, weighted_sum};
pub use chosen::{
    LAYOUT, PAIRS, activate_gated, add, arrange_pair, divide_pair, magnitude, multiply, peak, product_pair,
    rescale, rotate, round, scale, scores, scores_pair, softmax, softmax_pair, squares, store,
};
pub use int4::Nibbles;
pub use passes::{BlockShift, Divisor, Gate, Openings, activate};
pub use product::{Inputs, Weights, operand_len, product, products_together};

/// The kernels of this build: `"portable"`, `"vector"`, `"armv6m"`, `"armv7m"`, `"armv7em-dsp"`, `"armv81m-mve"` or
/// `"rv32m"`.
pub const NAME: &str = chosen::NAME;

/// Runs the suite on every kernel that this target can run; returns the number of products compared.
#[cfg(feature = "selftest")]
pub fn selftest() -> Result<u32, Failure> {
    let products = suite::selftest()? + products_suite::run()? + sparse_suite::run()?;
    let compared = products + attention_suite::run()? + pass_suite::run()?;
    #[cfg(any(thumbformer_kernel = "dsp", thumbformer_kernel = "mve"))]
    let compared = compared + chosen::check()?;
    #[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
    let compared = compared + whole_words_suite::run()?;
    Ok(compared)
}

/// [`rescale`]; where it is not `measured`, nobody asks for the magnitude.
#[inline(always)]
pub fn rescale_if(measured: bool, y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    #[cfg(thumbformer_kernel = "dsp")]
    return chosen::rescale_if(measured, y, scales, up, scale, right);
    #[cfg(not(thumbformer_kernel = "dsp"))]
    {
        let _ = measured;
        rescale(y, scales, up, scale, right)
    }
}

/// A number in every byte, as a sum: what is added to a byte to keep it positive may be negative.
#[cfg(thumbformer_kernel = "armv7m")]
const fn in_every_byte(number: u32) -> u32 {
    number.wrapping_mul(0x0101_0101)
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
