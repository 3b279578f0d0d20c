//! Real numbers to int4: a number of four bits for each weight, a factor of 1 to 15 for each group of columns of a row,
//! and the row's scale.

use super::quantize::{Matrix, exponent_of, peak};
use thumbformer::format::TensorKind;
pub use thumbformer::format::nibbles::{group, groups};

/// The types of the matrices' weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Weights {
    /// Eight bits everywhere
    #[default]
    #[value(name = "8")]
    Int8,
    /// Four bits in the blocks, eight in embedding and head
    #[value(name = "4")]
    Int4,
    /// Eight bits where they are worth the most, four where that is needed to keep a budget
    Mixed,
}

impl Weights {
    /// Whether matrices of this kind have four bits.
    pub fn are_int4(self, kind: TensorKind) -> bool {
        self == Self::Int4 && kind.is_block_part() && kind.is_matrix()
    }
}

/// A largest factor, for the group with the largest weights.
const LARGEST: u8 = 15;

/// Rounds a row-major matrix; returns its factors, too, group after group and row after row.
///
/// A row's scale and its factors are those with the least squared error: for each scale near the one that just holds
/// the row's largest weight, every factor of each group.
pub fn round(values: &[f32], cols: usize) -> (Matrix, Vec<u8>) {
    // The largest weight would be 7.5 steps of its group.
    let steps: Vec<f64> =
        values.chunks(cols).map(|row| f64::from(peak(row)) / 7.5 / f64::from(LARGEST)).collect();
    let largest = steps.iter().fold(f64::MIN_POSITIVE, |m, &s| m.max(s));
    // Candidates are up to 20 % above.
    let exponent = (exponent_of(1.25 * largest) - 14).clamp(-128, 127);
    let unit = libm::exp2(f64::from(exponent));
    let mut matrix = Matrix { weights: Vec::new(), scales: Vec::new(), exponent: exponent as i8 };
    let mut factors = Vec::new();
    for (row, step) in values.chunks(cols).zip(steps) {
        let candidates =
            (0..=20).map(|i| libm::ceil(step / unit * (0.70 + 0.025 * f64::from(i))).clamp(1.0, 32767.0));
        let rows = candidates.map(|scale| Row::round(row, scale as i16, unit));
        let Some(best) = rows.min_by(|a, b| a.error.total_cmp(&b.error)) else {
            continue;
        };
        matrix.weights.extend(best.weights);
        matrix.scales.push(best.scale);
        factors.extend(best.factors);
    }
    (matrix, factors)
}

/// A row, rounded.
struct Row {
    scale: i16,
    factors: Vec<u8>,
    weights: Vec<i8>,
    /// The sum of the squares of what was rounded away.
    error: f64,
}

impl Row {
    fn round(row: &[f32], scale: i16, unit: f64) -> Self {
        let mut rounded =
            Self { scale, factors: Vec::new(), weights: Vec::with_capacity(row.len()), error: 0.0 };
        for index in 0..groups(row.len()) {
            let columns = (0..row.len()).filter(|&column| group(row.len(), column) == index);
            let weights: Vec<f64> = columns.map(|column| f64::from(row[column])).collect();
            let step = |factor: u8| f64::from(factor) * f64::from(scale) * unit;
            let errors = (1..=LARGEST).map(|factor| (error(&weights, step(factor)), factor));
            let (error, factor) = errors.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, 1));
            rounded.error += error;
            rounded.factors.push(factor);
            rounded.weights.extend(weights.iter().map(|&w| nearest(w, step(factor)) as i8));
        }
        rounded
    }
}

/// A weight in steps, an integer of -8 to 7.
pub fn nearest(weight: f64, step: f64) -> f64 {
    libm::round(weight / step).clamp(-8.0, 7.0)
}

fn error(weights: &[f64], step: f64) -> f64 {
    weights.iter().map(|&w| (nearest(w, step) * step - w).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_back_within_their_steps() {
        // Groups of one row differ by up to eight times.
        let cols = 100;
        let value = |i: usize| ((i * 37 % 101) as f32 / 50.0 - 1.0) * (1 << (i % cols / 32)) as f32;
        let values: Vec<f32> = (0..3 * cols).map(value).collect();
        let (matrix, factors) = round(&values, cols);
        assert_eq!((matrix.weights.len(), matrix.scales.len(), factors.len()), (300, 3, 12));
        assert!(matrix.weights.iter().all(|w| (-8..=7).contains(w)));
        for (i, &value) in values.iter().enumerate() {
            let (row, column) = (i / cols, i % cols);
            let others = (0..cols).filter(|&c| group(cols, c) == group(cols, column));
            let largest = others.fold(0f32, |m, c| m.max(values[row * cols + c].abs()));
            let factor = factors[row * 4 + group(cols, column)];
            let step =
                f64::from(matrix.scales[row]) * f64::from(factor) * libm::exp2(f64::from(matrix.exponent));
            let got = f64::from(matrix.weights[i]) * step;
            // Half a step of 7 or 8, and what a factor of few bits adds to it.
            let tolerance = f64::from(largest) * 0.15;
            assert!((got - f64::from(value)).abs() <= tolerance, "{i}: {got}, wanted {value}");
        }
    }

    #[test]
    fn nothing_is_nothing() {
        let (matrix, factors) = round(&[0.0; 40], 40);
        assert_eq!(matrix.weights, [0; 40]);
        assert_eq!((matrix.scales[0] > 0, factors.len()), (true, 2));
    }
}
