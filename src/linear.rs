//! A matrix of int8 or int4 weights with a scale per row, times the vectors of some positions.

use crate::format::InputWidth;
use crate::kernel::{self, Weights};
use crate::shift::{ceil_log2, keep_rolled, shift_left};
use crate::vector::{Scale, narrow, next};

/// A matrix `[rows, columns]` in flash.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'m> {
    /// int8 in one of its layouts, or int4.
    pub weights: Weights<'m>,
    /// The scale of each row, a positive integer times `2^exponent`.
    pub scales: &'m [i16],
    /// Per row, in units of the output; empty where there are none.
    pub bias: &'m [i32],
    /// The power of two that the row scales are relative to.
    pub exponent: i32,
    /// Columns.
    pub cols: usize,
    /// The width of the input.
    pub input: InputWidth,
    /// Whether much of the input may be 0.
    pub sparse: bool,
}

/// The vectors of some positions as matrices want them.
#[derive(Debug)]
pub struct Inputs<'v> {
    vectors: kernel::Inputs<'v>,
    scales: &'v [Scale],
}

#[cfg(any(test, feature = "selftest"))]
impl Inputs<'_> {
    /// The number of positions.
    pub fn count(&self) -> usize {
        self.vectors.count()
    }
}

impl Linear<'_> {
    /// The vectors of `count` positions as this matrix wants them. They are 14-bit integers, one vector after the other, each
    /// padded to whole groups of four, at these scales, which become those of the inputs.
    #[inline(never)]
    pub fn inputs<'v>(
        &self,
        count: usize,
        vectors: &'v mut [i16],
        operands: &'v mut [u32],
        scales: &'v mut [Scale],
    ) -> Inputs<'v> {
        let (form, shape) = ((self.input, self.sparse), (self.cols.next_multiple_of(4), count));
        let mut each = scales.iter_mut();
        let vectors = kernel::Inputs::new(&self.weights, form, shape, (vectors, operands), |x| {
            let scale = each.next()?;
            let factor;
            (factor, *scale) = narrow(x, *scale, self.input);
            factor
        });
        Inputs { vectors, scales }
    }

    /// `y = W x + b` with `frac` fraction bits for each position, one after the other in `y`; their
    /// [`magnitude`](kernel::magnitude)s go to `sizes`, which is empty where nobody asks for them. `x` comes from [`Linear::inputs`] of this matrix or of one with the
    /// same layout and width.
    ///
    /// Each sum, of at most 31 bits, is multiplied by the row's scale and by the vector's, 15 bits each, of which 16 are
    /// cut off each time, and shifted to its place.
    #[inline(always)]
    pub fn forward(&self, x: &Inputs<'_>, frac: i32, y: &mut [i32], sizes: &mut [u32]) {
        let measured = !sizes.is_empty();
        match (x.scales, x.vectors.count()) {
            // Each token that is written comes this way.
            ([scale, ..], 1) => {
                let size = self.forward_one(&x.vectors, 0, *scale, frac, y, measured);
                if let Some(place) = sizes.first_mut() {
                    *place = size;
                }
            }
            _ => self.forward_several(x, frac, y, sizes),
        }
    }

    #[inline(never)]
    fn forward_several(&self, x: &Inputs<'_>, frac: i32, y: &mut [i32], sizes: &mut [u32]) {
        let rows = self.scales.len();
        kernel::products_together(&self.weights, &x.vectors, rows, y);
        let mut ys = y;
        for (i, &scale) in x.scales.iter().enumerate().take(x.vectors.count()) {
            let place = sizes.get_mut(i);
            let size = self.forward_one(&x.vectors, i, scale, frac, next(&mut ys, rows), place.is_some());
            if let Some(place) = place {
                *place = size;
            }
        }
    }

    /// [`Linear::forward`] of position i. The only copy of it: one position and several come here.
    #[inline(never)]
    fn forward_one(
        &self,
        x: &kernel::Inputs<'_>,
        i: usize,
        scale: Scale,
        frac: i32,
        y: &mut [i32],
        measured: bool,
    ) -> u32 {
        let done = kernel::product(&self.weights, x, i, y);
        self.finish(y, done, scale, frac, measured)
    }

    /// The sums alone; returns the power of two by which they are too large.
    #[cfg(any(test, feature = "selftest"))]
    pub fn products(&self, x: &Inputs<'_>, y: &mut [i32]) -> u32 {
        let rows = self.scales.len();
        kernel::products_together(&self.weights, &x.vectors, rows, y);
        let (mut ys, mut done) = (y, 0);
        for i in 0..x.count() {
            done = kernel::product(&self.weights, &x.vectors, i, next(&mut ys, rows));
        }
        done
    }

    /// From the sums of one vector, 2^`done` times as large as they are, to `y`.
    #[inline(always)]
    fn finish(&self, y: &mut [i32], done: u32, scale: Scale, frac: i32, measured: bool) -> u32 {
        let up = self.headroom().saturating_sub(done);
        let right = self.headroom() as i32 - 32 - self.exponent - scale.exponent - frac;
        let mut size = kernel::rescale_if(measured, y, self.scales, up, scale.mantissa, right.clamp(-2, 31));
        if right < -2 {
            size = shift_further(y, right.unsigned_abs() - 2);
        }
        if self.bias.is_empty() { size } else { kernel::add(y, self.bias) }
    }

    /// The bits by which a sum can be shifted up: an a16 sum is at most 2^30, see
    /// [`a16_bits`](crate::vector::a16_bits), an a8 sum at most `columns * 128 * 127`, and 512 of these are below 2^23.
    fn headroom(&self) -> u32 {
        match self.input {
            InputWidth::A16 => 0,
            InputWidth::A8 if self.cols <= 512 => 8,
            InputWidth::A8 => 8 - ceil_log2(self.cols.div_ceil(512)).min(8),
        }
    }
}

/// `y * 2^left`, saturated; returns the magnitude. Few matrices ask for it.
#[inline(never)]
fn shift_further(y: &mut [i32], left: u32) -> u32 {
    for y in y.iter_mut() {
        *y = shift_left(*y, left);
        keep_rolled();
    }
    kernel::magnitude(y)
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
            let scales: Vec<i16> = (0..rows).map(|r| 3000 + 2310 * r as i16).collect();
            let bias: Vec<i32> = (0..rows).map(|r| r as i32 * 1000).collect();
            let values: Vec<i32> = (0..cols).map(|c| ((c * 7919) % 20011) as i32 * 50 - 500_000).collect();
            for (input, tolerance) in [(InputWidth::A16, 2e-3), (InputWidth::A8, 2e-2)] {
                let mut x = vec![0i16; stride];
                let linear = Linear {
                    weights: Weights::Rows(&weights),
                    scales: &scales,
                    bias: &bias,
                    exponent: -25,
                    cols,
                    input,
                    sparse: false,
                };
                let (mut y, mut scale) = (vec![0; rows], [Scale::power(0)]);
                let mut operand = vec![0; kernel::operand_len(cols)];
                scale[0] = quantize(&values, kernel::magnitude(&values), -18, &mut x);
                let x = linear.inputs(1, &mut x, &mut operand, &mut scale);
                linear.forward(&x, 16, &mut y, &mut [0]);
                for r in 0..rows {
                    let s = f64::from(scales[r]) * 2f64.powi(-25);
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
