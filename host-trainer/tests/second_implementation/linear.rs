//! Section 5: a matrix times a vector, and a row of an embedding.

use crate::arithmetic::{Int, ceil_div, clog2, i32_range, multiply_high, pow2, sat, shift, within};
use crate::file::Tensor;
use crate::vector::Vector;

impl Tensor {
    /// `W x + b` with `frac` fraction bits.
    pub fn times(&self, x: &Vector, frac: Int) -> Vec<Int> {
        assert!((pow2(14)..pow2(15)).contains(&x.mantissa), "mantissa {}", x.mantissa);
        let up = if self.width == 8 { 8 - clog2(ceil_div(x.q.len() as Int, 512)) } else { 0 };
        let right = up - 32 - self.exponent - x.exponent - frac;
        let rows = self.rows.iter().zip(&self.scales).zip(&self.bias);
        rows.map(|((row, scale), bias)| {
            let dot: Int = row.iter().zip(&x.q).map(|(w, q)| w * q).sum();
            if self.width == 16 {
                within(pow2(30), dot);
            }
            let once = within(pow2(30), multiply_high(i32_range(dot * pow2(up)), *scale));
            let t = within(pow2(29), multiply_high(once, x.mantissa));
            let y = shift(t, right);
            assert!(right < 31 || y == 0);
            sat(y + bias)
        })
        .collect()
    }

    /// Adds a row of an embedding to the residual stream.
    pub fn add_row(&self, row: usize, frac: Int, hidden: &mut [Int]) {
        for (h, w) in hidden.iter_mut().zip(&self.rows[row]) {
            let product = within(pow2(22), w * self.scales[row]);
            *h = sat(*h + shift(product, -(self.exponent + frac)));
        }
    }
}
