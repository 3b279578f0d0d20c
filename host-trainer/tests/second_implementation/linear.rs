//! Section 5: a matrix times a vector, and a row of an embedding.

use crate::arithmetic::{Int, a16_bits, clog2, i32_range, pow2, round_shift, sat, shift, within};
use crate::file::Tensor;
use crate::vector::Vector;

impl Tensor {
    /// `W x + b` with `frac` fraction bits.
    pub fn times(&self, x: &Vector, frac: Int) -> Vec<Int> {
        let columns = x.q.len() as Int;
        let input = if self.width == 8 { 7 } else { a16_bits(columns) };
        let narrowing = (7 + input + clog2(columns) - 19).max(0);
        let base = -(narrowing + 15 + self.exponent + x.exponent + frac);
        let rows = self.rows.iter().zip(&self.bias).enumerate();
        rows.map(|(r, (row, bias))| {
            let dot = i32_range(row.iter().zip(&x.q).map(|(w, q)| w * q).sum());
            let (mantissa, exponent) = self.scale(r);
            let factor = within(4094, round_shift(within(pow2(27), mantissa * x.mantissa), 15));
            let product = i32_range(within(pow2(19), round_shift(dot, narrowing)) * factor);
            sat(shift(product, base - exponent) + bias)
        })
        .collect()
    }

    /// Adds a row of an embedding to the residual stream.
    pub fn add_row(&self, row: usize, frac: Int, hidden: &mut [Int]) {
        let (mantissa, exponent) = self.scale(row);
        for (h, w) in hidden.iter_mut().zip(&self.rows[row]) {
            let product = within(pow2(18), w * mantissa);
            *h = sat(*h + shift(product, -(exponent + self.exponent + frac)));
        }
    }
}
