//! Kernels for the DSP extension of Armv7E-M and Armv8-M Mainline: Cortex-M4, M7, M33, M35P.
//!
//! SMLAD adds two 16 x 16 products to an accumulator, SXTB16 and UXTB16 widen bytes 0 and 2 of a word (after ROR #8,
//! bytes 1 and 3) to the halves of another. So a word of four weights meets the input as words of the elements 0 and 2
//! and of 1 and 3: [`arrange`] and [`prepare`] store it that way, once per vector instead of once per row.
//!
//! A loop whose rounds are unrolled is entered in its middle: what a row is short of whole rounds comes off the first
//! one, and there are no loops for the rest. Where the first round begins is a word of the frame, among those that one
//! LDM brings back at the start of each block of rows, into pc.

use crate::format::Layout;

pub mod int4;
mod pair;
mod passes;
mod rescale;
mod scores;
mod softmax;
pub mod sparse;
mod strided;
#[cfg(feature = "selftest")]
mod suite;
mod tiles;
mod together;

pub use pair::{arrange_pair, product_pair};
pub use passes::{
    activate_gated, add, divide_pair, magnitude, multiply, peak, rotate, round, scale, squares, store,
};
pub use rescale::{rescale, rescale_if};
pub use scores::{scores, scores_pair};
pub use softmax::{softmax, softmax_pair};
pub use strided::{arrange, matvec_strided};
#[cfg(feature = "selftest")]
pub use suite::check;
#[cfg(feature = "selftest")]
pub use tiles::operand_len;
pub use tiles::{prepare, prepare_scaled, tiles};
pub use together::{TOGETHER, done_together, gather, gathered};

/// The kernels' name.
pub const NAME: &str = "armv7em-dsp";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Halves;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = true;

/// A number in every byte, as a sum: what is added to a byte to keep it positive may be negative.
const fn in_every_byte(number: u32) -> u32 {
    number.wrapping_mul(0x0101_0101)
}
