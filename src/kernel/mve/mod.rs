//! Kernels for Helium, the vector extension of Armv8.1-M Mainline: Cortex-M52, M55, M85.
//!
//! The low-overhead loop (DLSTP, LETP) switches off the lanes after the last element, so that no loop has a rest. Where a
//! vector of results is a matter of a table, a gathering load reads the entries; shifts by a register or by a vector go to
//! the left or, rounded where they are VRSHL, to the right.

use crate::format::Layout;

mod attention;
mod gate;
mod long;
mod passes;
mod resident;
pub mod rows;
#[cfg(feature = "selftest")]
mod suite;

pub use attention::{scores, softmax};
pub use gate::activate_gated;
pub use passes::{peak, rescale, rotate, round, scale};
pub use rows::{arrange, matvec_strided};
#[cfg(feature = "selftest")]
pub use suite::check;

pub use super::attention::{arrange_pair, product_pair, scores_pair, softmax_pair};
pub use super::passes::{add, divide_pair, magnitude, multiply, squares, store};

/// The kernels' name.
pub const NAME: &str = "armv81m-mve";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Rows;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = false;
