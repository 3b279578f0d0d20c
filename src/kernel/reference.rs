//! The oracle: the definition, written as loops.
//!
//! Never optimised, and it shares no line with the kernels that are checked against it.

/// The matrix-vector product as the definition says it, with `x` in its natural order.
///
/// Element `row` of the product is the sum over `column` of
/// `weights[row * x.len() + column] * x[column]`, taken as a 64-bit number and cut to its low 32 bits.
pub fn product(weights: &[i8], x: &[i16], row: usize) -> i32 {
    let mut sum: i64 = 0;
    for column in 0..x.len() {
        sum += weights[row * x.len() + column] as i64 * x[column] as i64;
    }
    sum as i32
}
