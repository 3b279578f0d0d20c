//! Kernels for Armv6-M: Cortex-M0 and M0+.
//!
//! Only the registers up to r7 multiply, and only some instructions reach the others; nothing shifts and adds at once, and
//! most instructions set the flags. A shift to the right leaves in the carry the last bit that it cut off, so that ADCS
//! with a zero rounds half up. Loops of four elements a round enter the first one in the middle, where fewer are left over;
//! pointers that move once a round are moved back before by what this skips.

mod attention;
pub mod int4;
mod operand;
mod passes;
mod softmax;
pub mod sparse;
mod strided;
mod tiles;
mod vectors;
mod whole_words;

use crate::format::Layout;

pub use attention::{scores, weighted_sum};
#[cfg(feature = "selftest")]
pub use operand::operand_len;
pub use operand::{prepare, prepare_scaled};
pub use passes::{activate_gated, rescale};
pub use softmax::softmax;
pub use strided::matvec_strided;
pub use tiles::tiles;
pub use vectors::{add, multiply, peak, rotate, round, scale, store};

pub use super::attention::{arrange_pair, product_pair, scores_pair, softmax_pair};
pub use super::passes::{divide_pair, magnitude, squares};

/// The kernels' name.
pub const NAME: &str = "armv6m";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Bytes;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = false;
/// LDRB takes an offset, LDRSB none: the cache holds elements + 128.
pub const CACHE_OFFSET: u8 = 128;
/// The sums of all channels fit the registers, so that a weight is loaded once.
pub const VALUES_TRANSPOSED: bool = false;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}
