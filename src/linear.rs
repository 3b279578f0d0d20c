//! A matrix of int8 weights with an f16 scale per row, times a vector.

use crate::format::InputWidth;
use crate::kernel;
use crate::shift::{ceil_log2, keep_rolled, round_shift, shift};
use crate::vector::{Scale, a16_bits};

/// A matrix `[rows, columns]` in flash.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'m> {
    /// int8, row after row, each padded with zeros to a multiple of four.
    pub weights: &'m [i8],
    /// The bits of an f16 per row, positive and normal.
    pub scales: &'m [u16],
    /// Per row, in units of the output; empty where there are none.
    pub bias: &'m [i32],
    /// The power of two that the row scales are relative to.
    pub exponent: i32,
    /// Columns.
    pub cols: usize,
    /// The width of the input.
    pub input: InputWidth,
}

/// The f16 with these bits as `mantissa * 2^exponent`, mantissa in `2^10..2^11`.
#[inline(always)]
pub const fn f16_parts(h: u16) -> (i32, i32) {
    ((h & 0x3ff | 0x400) as i32, ((h >> 10) & 31) as i32 - 25)
}

impl Linear<'_> {
    /// `y = W x + b` with `frac` fraction bits. `x` comes from `vector::quantize` or a norm and is in the
    /// order of [`kernel::arrange`].
    ///
    /// Each accumulator is shifted to at most 19 bits (a shift that depends on the shape only), multiplied
    /// by a 12-bit product of row scale and vector scale, and shifted to its place.
    pub fn forward(&self, x: &[i16], scale: Scale, frac: i32, y: &mut [i32]) {
        kernel::matvec(self.weights, x, y);
        let narrowing = self.narrowing();
        let base = -(narrowing as i32 + 15 + self.exponent + scale.exponent + frac);
        // The product of row scale and vector scale (without its 2^15), rounded to 12 bits. The f16's first bit
        // is not in the file: what it and the rounding add is the same for all rows.
        let fixed = (scale.mantissa << 10) + (1 << 14);
        let factor = |h: u16| ((u32::from(h & 0x3ff) * scale.mantissa + fixed) >> 15) as i32;
        // The f16's exponents are in -25..=6, so that from 7 on every shift is to the right: by base - 7, the
        // row's 6 - exponent in 0..=31, and one more that rounds. (Shifts that round down may be split.)
        if base >= 7 {
            let common = (base - 7).min(31);
            for (y, &h) in y.iter_mut().zip(self.scales) {
                let product = round_shift(*y, narrowing) * factor(h);
                *y = ((product >> common >> (6 - f16_parts(h).1)) + 1) >> 1;
                keep_rolled();
            }
        } else {
            for (y, &h) in y.iter_mut().zip(self.scales) {
                let product = round_shift(*y, narrowing) * factor(h);
                *y = shift(product, base - f16_parts(h).1);
                keep_rolled();
            }
        }
        for (y, b) in y.iter_mut().zip(self.bias) {
            *y = y.saturating_add(*b);
        }
    }

    /// The shift that takes an accumulator to 19 bits of magnitude: weights have 7 bits, the input its own,
    /// the sum `ceil(log2(columns))` more. It is at most 12, so that rounding cannot overflow: an a16 sum is
    /// at most 2^31 - 2^16, see [`a16_bits`].
    fn narrowing(&self) -> u32 {
        let input = match self.input {
            InputWidth::A8 => 7,
            InputWidth::A16 => a16_bits(self.cols),
        };
        (7 + input + ceil_log2(self.cols)).saturating_sub(19)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::quantize;

    #[test]
    fn products_are_near_the_real_ones() {
        for (rows, cols) in [(3usize, 5usize), (8, 64), (7, 172), (2, 1030)] {
            let stride = cols.next_multiple_of(4);
            let mut weights = vec![0i8; rows * stride];
            for r in 0..rows {
                for c in 0..cols {
                    weights[r * stride + c] = ((r * 31 + c * 17 + r * c) % 255) as i32 as u8 as i8;
                }
            }
            let scales: Vec<u16> =
                (0..rows).map(|r| half::f16::from_f32(100.0 + 77.0 * r as f32).to_bits()).collect();
            let bias: Vec<i32> = (0..rows).map(|r| r as i32 * 1000).collect();
            let values: Vec<i32> = (0..cols).map(|c| ((c * 7919) % 20011) as i32 * 50 - 500_000).collect();
            for (input, tolerance) in [(InputWidth::A16, 2e-3), (InputWidth::A8, 2e-2)] {
                let mut x = vec![0i16; stride];
                let scale = quantize(&values, -18, input, &mut x);
                kernel::arrange(&mut x);
                let linear =
                    Linear { weights: &weights, scales: &scales, bias: &bias, exponent: -20, cols, input };
                let mut y = vec![0; rows];
                linear.forward(&x, scale, 16, &mut y);
                for r in 0..rows {
                    let s = half::f16::from_bits(scales[r]).to_f64() * 2f64.powi(-20);
                    let exact: f64 = (0..cols)
                        .map(|c| {
                            f64::from(weights[r * stride + c]) * s * f64::from(values[c]) / 2f64.powi(18)
                        })
                        .sum();
                    let size: f64 = 127.0 * s * (cols as f64).sqrt();
                    let got = f64::from(y[r] - bias[r]) / 65536.0;
                    assert!(
                        (got - exact).abs() < tolerance * size + 1e-4,
                        "{input:?} {r}: {got} wanted {exact}"
                    );
                }
            }
        }
    }
}
