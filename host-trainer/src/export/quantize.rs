//! Real numbers to the integers of the format: the one place where weights are rounded.

/// A matrix in the integers of the format.
#[derive(Debug)]
pub struct Matrix {
    /// int8, row after row.
    pub weights: Vec<i8>,
    /// A scale per row, positive, relative to `2^exponent`.
    pub scales: Vec<i16>,
    /// See `scales`.
    pub exponent: i8,
}

impl Matrix {
    /// Rounds a row-major matrix, every weight to the nearest integer.
    pub fn round(values: &[f32], cols: usize) -> Self {
        let mut rows = values.chunks(cols);
        let mut next = |_: &[f64]| rows.next().unwrap_or_default().to_vec();
        Self::round_with(values, cols, &mut next, &mut |row, step, rounded| {
            let pairs = row.iter().zip(rounded);
            pairs.fold(0.0, |error, (&weight, rounded)| {
                let found = round_by(f64::from(weight), step);
                *rounded = found as i8;
                error + (found * step - f64::from(weight)).powi(2)
            })
        })
    }

    /// Rounds a row-major matrix, each row by its own scale: an integer of at most 15 bits times a power of two that all
    /// rows share. The largest row's has 15 bits; a row that is much smaller has fewer, and its weights are rounded by
    /// the scale as it is stored, so that nothing but a little resolution is lost.
    ///
    /// `round_row` rounds a row by a step and tells its error. Of the scales from the one that just holds the largest
    /// weight to 5 % less, which cut that weight and are finer for all others, the one of the least error is taken.
    /// `next` gives the rows, which may be a little off those of `values`.
    pub fn round_with(
        values: &[f32],
        cols: usize,
        next: &mut NextRow<'_>,
        round_row: &mut RoundRow<'_>,
    ) -> Self {
        let largest = f64::max(f64::from(peak(values)) / 127.0, f64::MIN_POSITIVE);
        let exponent = (exponent_of(largest) - 14).clamp(-128, 127);
        let unit = libm::exp2(f64::from(exponent));
        let (mut weights, mut scales) = (vec![0; values.len()], vec![1; values.len() / cols]);
        let (mut rounded, mut last) = (vec![0; cols], Vec::new());
        for (weights, scale) in weights.chunks_mut(cols).zip(&mut scales) {
            let row = &next(&last)[..];
            let step = f64::from(peak(row)) / 127.0;
            let mut least = f64::INFINITY;
            for i in 0..=10 {
                let candidate = libm::ceil(step / unit * (1.0 - 0.005 * f64::from(i))).clamp(1.0, 32767.0);
                let error = round_row(row, candidate * unit, &mut rounded);
                if error < least {
                    (least, *scale) = (error, candidate as i16);
                    weights.copy_from_slice(&rounded);
                }
            }
            let step = f64::from(*scale) * unit;
            last = weights.iter().map(|&w| f64::from(w) * step).collect();
        }
        Self { weights, scales, exponent: exponent as i8 }
    }
}

/// The next row to round, and the one before as it was rounded; empty at the start.
pub type NextRow<'a> = dyn FnMut(&[f64]) -> Vec<f32> + 'a;

/// Rounds a row by a step into integers of -127 to 127, and returns the error.
pub type RoundRow<'a> = dyn FnMut(&[f32], f64, &mut [i8]) -> f64 + 'a;

/// A weight in steps, an integer of -127 to 127.
pub fn round_by(weight: f64, step: f64) -> f64 {
    libm::round(weight / step).clamp(-127.0, 127.0)
}

/// A norm's gains as int16 times a power of two, the largest with 15 bits.
pub fn gains(values: &[f32]) -> (Vec<i16>, i8) {
    let exponent = (exponent_of(f64::from(peak(values)).max(f64::MIN_POSITIVE)) - 14).clamp(-128, 127);
    let unit = libm::exp2(f64::from(exponent));
    let round = |&g: &f32| libm::round(f64::from(g) / unit).clamp(-32767.0, 32767.0) as i16;
    (values.iter().map(round).collect(), exponent as i8)
}

/// The rotary table `[seq_len, head_dim]`: cosine and sine of `position * theta^(-2 i / head_dim)`, Q14.
pub fn rope_table(seq_len: usize, head_dim: usize, theta: f32) -> (Vec<i16>, i8) {
    let mut table = Vec::with_capacity(seq_len * head_dim);
    for position in 0..seq_len {
        for i in (0..head_dim).step_by(2) {
            let frequency = libm::pow(f64::from(theta), -(i as f64) / head_dim as f64);
            let angle = position as f64 * frequency;
            table.extend([libm::cos(angle), libm::sin(angle)].map(|v| libm::round(v * 16384.0) as i16));
        }
    }
    (table, -14)
}

/// Biases in units of the residual stream.
pub fn rounded_bias(bias: &[f32], frac: u8) -> Vec<i32> {
    let unit = libm::exp2(f64::from(frac));
    // `as` saturates.
    bias.iter().map(|&b| libm::round(f64::from(b) * unit) as i32).collect()
}

/// A positive f32 as an integer below 2^24 times a power of two.
pub fn mantissa_and_exponent(v: f32) -> (u32, i32) {
    if v <= 0.0 {
        return (0, 0);
    }
    let exponent = (exponent_of(f64::from(v)) - 23).clamp(-200, 0);
    (libm::round(f64::from(v) / libm::exp2(f64::from(exponent))) as u32, exponent)
}

/// `floor(log2(v))` of a positive normal number.
pub fn exponent_of(v: f64) -> i32 {
    ((v.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// The largest magnitude.
pub fn peak(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_within_half_a_step() {
        let values: Vec<f32> =
            (0..7 * 5).map(|i| ((i * 37 % 23) as f32 - 11.0) * 0.01 * (i / 5) as f32).collect();
        let matrix = Matrix::round(&values, 5);
        assert_eq!((matrix.weights.len(), matrix.scales.len()), (7 * 5, 7));
        for (r, row) in values.chunks(5).enumerate() {
            assert!(matrix.scales[r] > 0);
            let step = f64::from(matrix.scales[r]) * libm::exp2(f64::from(matrix.exponent));
            for (c, &w) in row.iter().enumerate() {
                let got = f64::from(matrix.weights[r * 5 + c]) * step;
                assert!((got - f64::from(w)).abs() <= step * 0.57, "{got}, wanted {w}");
            }
        }
    }

    #[test]
    fn epsilon_is_exact() {
        for v in [1e-5f32, 1e-6, 1e-12, 0.1, 0.0] {
            let (mantissa, exponent) = mantissa_and_exponent(v);
            assert!(mantissa < 1 << 24);
            assert_eq!(f64::from(mantissa) * libm::exp2(f64::from(exponent)), f64::from(v));
        }
    }
}
