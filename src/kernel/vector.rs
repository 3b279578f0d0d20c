//! Safe kernels for machines whose vector unit the compiler uses by itself: x86-64 and AArch64.
//!
//! One row at a time is the loop that it vectorises best.

use super::rows::rows;
#[cfg(thumbformer_kernel = "vector")]
use crate::format::Layout;

#[cfg(thumbformer_kernel = "vector")]
pub use super::attention::{arrange_pair, product_pair, scores, scores_pair, softmax, softmax_pair};
#[cfg(thumbformer_kernel = "vector")]
pub use super::passes::{
    activate_gated, add, divide_pair, magnitude, multiply, peak, rescale, rotate, round, scale, squares,
    store,
};

/// The kernels' name.
pub const NAME: &str = "vector";

/// The layout that is fastest with these kernels.
#[cfg(thumbformer_kernel = "vector")]
pub const LAYOUT: Layout = Layout::Rows;
/// Whether two query heads that share keys and values are faster together.
#[cfg(thumbformer_kernel = "vector")]
pub const PAIRS: bool = true;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    if x.is_empty() {
        return y.fill(0);
    }
    for (row, sum) in rows(weights, stride, x.len()).zip(y) {
        let products = row.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x));
        *sum = products.fold(0, i32::wrapping_add);
    }
}
