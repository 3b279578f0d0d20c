//! The oracle: the definition, written as loops.
//!
//! Never optimised, and it shares no line with the kernels that are checked against it.

/// One element of a matrix-vector product, with `x` in its natural order: the sum over `column` of
/// `weights[row * stride + column] * x[column]`, taken as a 64-bit number and cut to its low 32 bits.
pub fn product(weights: &[i8], stride: usize, x: &[i16], row: usize) -> i32 {
    let mut sum: i64 = 0;
    for column in 0..x.len() {
        sum += weights[row * stride + column] as i64 * x[column] as i64;
    }
    sum as i32
}

/// One element of a sum of weighted rows: `start` plus the sum over `row` of
/// `values[row * stride + column] * weights[row]`, cut in the same way.
pub fn weighted_sum(values: &[i8], stride: usize, weights: &[i16], column: usize, start: i32) -> i32 {
    let mut sum = start as i64;
    for row in 0..weights.len() {
        sum += values[row * stride + column] as i64 * weights[row] as i64;
    }
    sum as i32
}
