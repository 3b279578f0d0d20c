//! Sums to the units of the residual stream, in two products by 15 bits.

use crate::shift::{keep_rolled, mul_w};

/// `y = (W(W(y * 2^up, scales[row]), scale) + half) / 2^right`, rounded down, with `W(a, b) = floor(a * b / 2^16)` and
/// `half = 2^(right - 1)`; returns the magnitude of `y`, see [`magnitude`](crate::vector::magnitude).
///
/// `y * 2^up` fits an i32, `right` is below 32. Nothing overflows: after the products a number has 30 bits.
#[inline(never)]
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: u32) -> u32 {
    let half = (1u32 << (right & 31) >> 1) as i32;
    let mut size = 0;
    for (y, &row) in y.iter_mut().zip(scales) {
        let v = (mul_w(mul_w(*y << (up & 31), row), scale) + half) >> (right & 31);
        size |= (v ^ (v >> 31)) as u32;
        *y = v;
        keep_rolled();
    }
    size
}
