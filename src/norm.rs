//! RMSNorm and LayerNorm: the residual stream to a normalised vector that a matrix can read. Of BatchNorm nothing is left
//! in use but a gain, or not even that.

use crate::format::NormKind;
use crate::kernel;
use crate::shift::{bits, isqrt, round_shift, rsqrt};
use crate::vector::{BITS, Scale, a16_bits, block_shift, round_all};

/// A norm of the model.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'m> {
    /// Which one.
    pub kind: NormKind,
    /// int16 gains times `2^exponent`; none where they are folded into the matrices that follow.
    pub gain: Option<(&'m [i16], i32)>,
    /// Epsilon as mantissa and exponent.
    pub epsilon: (u32, i32),
}

impl Norm<'_> {
    /// `q * scale = gain * hidden / sqrt(mean(hidden^2) + epsilon)`, for LayerNorm after the mean is taken
    /// off. BatchNorm does not divide: `q * scale = gain * hidden`. `hidden` has `frac` fraction bits and this [`magnitude`](crate::kernel::magnitude); `q` is as long as
    /// `hidden`, but for padding.
    ///
    /// The vector's own scale cancels out of the quotient, so that without gains the block-shifted residual
    /// stream itself is the result and only its scale is computed.
    #[inline(never)]
    pub fn forward(&self, hidden: &[i32], magnitude: u32, frac: i32, q: &mut [i16]) -> Scale {
        let n = hidden.len() as u32;
        // LayerNorm keeps a bit for what taking off the mean may add.
        let s = block_shift(
            magnitude,
            match self.kind {
                NormKind::Rms | NormKind::Batch => BITS,
                NormKind::Layer => BITS - 1,
            },
        );
        round_all(hidden, s, q);
        let (vector, _) = q.split_at_mut_checked(hidden.len()).unwrap_or_default();
        if matches!(self.kind, NormKind::Layer) {
            take_off_mean(vector);
        }
        let mut scale = if matches!(self.kind, NormKind::Batch) {
            Scale::power(s - frac)
        } else {
            let squares = kernel::squares(vector);
            // epsilon * n in units of the squares, whose unit is 2^(2 (s - frac)).
            let epsilon =
                shift_u64(u64::from(self.epsilon.0) * u64::from(n), self.epsilon.1 - 2 * (s - frac));
            inverse_root(squares.saturating_add(epsilon), n)
        };
        if let Some((gain, exponent)) = self.gain {
            // Gains have 15 bits, so that the products keep the 14 bits of the vector.
            kernel::multiply(vector, gain);
            scale.exponent += exponent + 15;
        }
        // Longer vectors may have fewer bits, see a16_bits.
        let less = BITS - a16_bits(hidden.len());
        if less > 0 {
            for x in vector.iter_mut() {
                *x = round_shift(i32::from(*x), less) as i16;
            }
            scale.exponent += less as i32;
        }
        scale
    }
}

/// Takes the mean, rounded half up, off each element; 13 bits of magnitude become at most 14.
fn take_off_mean(x: &mut [i16]) {
    let n = x.len().max(1) as u32;
    // The sum of x + 2^15 is positive, so that the division is unsigned.
    let sum = x.iter().fold(0u32, |sum, &x| sum + (i32::from(x) + (1 << 15)) as u32);
    let mean = ((sum + n / 2) / n) as i32 - (1 << 15);
    for x in x {
        *x = (i32::from(*x) - mean) as i16;
    }
}

/// `v * 2^s`, truncated to the right, saturated to the left at 2^62.
const fn shift_u64(v: u64, s: i32) -> u64 {
    if s <= 0 {
        if s > -64 { v >> -s } else { 0 }
    } else if v == 0 {
        0
    } else if s as u32 + (64 - v.leading_zeros()) <= 62 {
        v << s
    } else {
        1 << 62
    }
}

/// `sqrt(n / sum)` as a scale, for the reciprocal of a root mean square. A sum of 0 counts as 1.
fn inverse_root(sum: u64, n: u32) -> Scale {
    // sum = x * 2^(2 half) with x in 2^14..2^16.
    let sum = sum.max(1);
    let high = (sum >> 32) as u32;
    let length = if high != 0 { 32 + bits(high) } else { bits(sum as u32) } as i32;
    let half = (length - 15) >> 1;
    let x = if half >= 0 { sum >> (2 * half) } else { sum << (-2 * half) } as u32;
    // 1 / sqrt(sum) = rsqrt(x) * 2^-23 * 2^-half
    let y = rsqrt(x);
    // sqrt(n) = root * 2^-shift with root in 2^15..2^16: n * 2^(2 shift) in 2^30..2^32.
    let shift = (32 - bits(n) as i32) >> 1;
    let root = isqrt(n << (2 * shift));
    // 16 by 16 bits.
    Scale::new(y * root, -23 - half - shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::InputWidth;
    use crate::kernel::magnitude;
    use crate::vector::narrow;

    fn check(kind: NormKind, gain: Option<(&[i16], i32)>, hidden: &[i32], frac: i32) {
        let epsilon = (10_995_116, -40);
        let norm = Norm { kind, gain, epsilon };
        let mut q = [0i16; 64];
        let q = &mut q[..hidden.len()];
        for (width, tolerance) in [(InputWidth::A16, 3e-4), (InputWidth::A8, 0.03)] {
            let scale = norm.forward(hidden, magnitude(hidden), frac, q);
            let (factor, scale) = narrow(q, scale, width);
            if let Some(factor) = factor {
                kernel::scale(q, factor);
            }
            let h: Vec<f64> = hidden.iter().map(|&h| f64::from(h) / 2f64.powi(frac)).collect();
            let n = h.len() as f64;
            let mean = if kind == NormKind::Layer { h.iter().sum::<f64>() / n } else { 0.0 };
            let square = match kind {
                NormKind::Batch => 1.0,
                _ => h.iter().map(|h| (h - mean).powi(2)).sum::<f64>() / n + 9.999_999e-6,
            };
            let largest = h.iter().fold(0f64, |m, h| m.max(h.abs()));
            let tolerance = tolerance * if kind == NormKind::Batch { largest } else { 1.0 };
            for (i, h) in h.iter().enumerate() {
                let g = gain.map_or(1.0, |(g, e)| f64::from(g[i]) * 2f64.powi(e));
                let exact = (h - mean) / square.sqrt() * g;
                let got = f64::from(q[i]) * f64::from(scale.mantissa) * 2f64.powi(scale.exponent);
                assert!((got - exact).abs() < tolerance * n.sqrt(), "{width:?} {i}: {got} wanted {exact}");
            }
        }
    }

    #[test]
    fn norms_are_near_the_real_ones() {
        let gain: Vec<i16> = (0..64).map(|i| 16384 + 200 * (i % 7)).collect();
        for amplitude in [1, 40, 3_000, 1 << 20, 1 << 24] {
            let hidden: Vec<i32> = (0i32..64).map(|i| ((i * 37 + 11) % 97 - 40) * amplitude).collect();
            for kind in [NormKind::Rms, NormKind::Layer, NormKind::Batch] {
                check(kind, None, &hidden, 18);
                check(kind, Some((&gain, -14)), &hidden, 18);
            }
        }
        check(NormKind::Rms, None, &[0; 64], 18);
        check(NormKind::Layer, None, &[i32::MIN, i32::MAX, 0, 5], 18);
    }
}
