//! Safe kernels for cores that multiply one pair of numbers at a time and have none of their own: Armv8-M Baseline, wasm.
//!
//! Four rows by four columns a step: the input is loaded once for four rows, and groups of fixed size leave no bounds
//! check. Of the safe loops tried, this one takes the fewest instructions a multiply-accumulate on Cortex-M0 (7.0)
//! and on RV32 (4.0), is near the best on Cortex-M3 (3.3), and keeps that at opt-level "s". The loops stay functions
//! of their own because the compiler spills more registers where they are inlined.

pub mod sparse;

use super::rows::rows;
#[cfg(thumbformer_kernel = "portable")]
use crate::format::Layout;

#[cfg(thumbformer_kernel = "portable")]
pub use super::attention::{arrange_pair, product_pair, scores, scores_pair, softmax, softmax_pair};
#[cfg(thumbformer_kernel = "portable")]
pub use super::passes::{
    activate_gated, add, divide_pair, magnitude, multiply, peak, rescale, rotate, round, scale, squares,
    store,
};

/// The kernels' name.
pub const NAME: &str = "portable";

/// The layout that is fastest with these kernels.
#[cfg(thumbformer_kernel = "portable")]
pub const LAYOUT: Layout = Layout::Rows;
/// Whether two query heads that share keys and values are faster together.
#[cfg(thumbformer_kernel = "portable")]
pub const PAIRS: bool = false;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let done = blocks(weights, stride, x, y);
    if let (Some(weights), Some(y)) = (weights.get(done * stride..), y.get_mut(done..)) {
        singles(weights, stride, x, y);
    }
}

/// Four rows at a time, and returns how many rows that were: none where columns or stride are no multiple of four.
#[inline(never)]
fn blocks(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) -> usize {
    let (x, odd) = x.as_chunks();
    let columns = x.len();
    if columns == 0 || stride == 0 || !odd.is_empty() || !stride.is_multiple_of(4) || stride / 4 < columns {
        return 0;
    }
    let mut done = 0;
    for (block, y) in weights.as_chunks().0.chunks(stride).zip(y.as_chunks_mut::<4>().0) {
        let Some((a, block)) = block.split_at_checked(stride / 4) else {
            break;
        };
        let Some((b, block)) = block.split_at_checked(stride / 4) else {
            break;
        };
        let Some((c, block)) = block.split_at_checked(stride / 4) else {
            break;
        };
        let Some((d, _)) = block.split_at_checked(columns) else {
            break;
        };
        let mut sums = [0; 4];
        for ((((x, a), b), c), d) in x.iter().zip(a).zip(b).zip(c).zip(d) {
            add4(&mut sums[0], a, x);
            add4(&mut sums[1], b, x);
            add4(&mut sums[2], c, x);
            add4(&mut sums[3], d, x);
        }
        *y = sums;
        done += 4;
    }
    done
}

/// One row at a time, whatever the number of columns.
#[inline(never)]
fn singles(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    if x.is_empty() {
        return y.fill(0);
    }
    for (row, y) in rows(weights, stride, x.len()).zip(y) {
        let mut sum = 0;
        for (&w, &x) in row.iter().zip(x) {
            add_product(&mut sum, w, x);
        }
        *y = sum;
    }
}

/// Adds four products.
#[inline(always)]
fn add4(sum: &mut i32, w: &[i8; 4], x: &[i16; 4]) {
    add_product(sum, w[0], x[0]);
    add_product(sum, w[1], x[1]);
    add_product(sum, w[2], x[2]);
    add_product(sum, w[3], x[3]);
}

/// Adds a product.
#[inline(always)]
fn add_product(sum: &mut i32, w: i8, x: i16) {
    *sum = sum.wrapping_add(i32::from(w) * i32::from(x));
}
