//! Real numbers to int4: a number of four bits for each weight, a factor of 1 to 15 for each group of columns of a row,
//! and the row's scale.

use super::quantize::{Matrix, NextRow, exponent_of, peak};
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

/// Rounds a row-major matrix, every weight to the nearest number; returns its factors, too, group after group and row
/// after row.
pub fn round(values: &[f32], cols: usize) -> (Matrix, Vec<u8>) {
    let mut rows = values.chunks(cols);
    let mut next = |_: &[f64]| rows.next().unwrap_or_default().to_vec();
    round_with(values, cols, &vec![1.0; cols], &mut next, &mut |row, step, rounded| {
        let weights = row.iter().zip(rounded).enumerate();
        weights.fold(0.0, |error, (column, (&weight, rounded))| {
            let (weight, step) = (f64::from(weight), step(column));
            let found = nearest(weight, step);
            *rounded = found as i8;
            error + (found * step - weight).powi(2)
        })
    })
}

/// Rounds a row whose columns have these steps into integers of -8 to 7, and returns the error.
pub type RoundRow<'a> = dyn FnMut(&[f32], &dyn Fn(usize) -> f64, &mut [i8]) -> f64 + 'a;

/// Rounds a row-major matrix. For each scale of a row near the one that just holds its largest weight, a group gets the
/// factor with the least squared error, each column's times its `importance`; then the scale is taken that `round_row`
/// finds the least error for, and after that, factors that are one more or one less, as long as that error shrinks.
/// `next` gives the rows, which may be a little off those of `values`.
pub fn round_with(
    values: &[f32],
    cols: usize,
    importance: &[f64],
    next: &mut NextRow<'_>,
    round_row: &mut RoundRow<'_>,
) -> (Matrix, Vec<u8>) {
    // The largest weight would be 7.5 steps of its group.
    let step = |row: &[f32]| f64::from(peak(row)) / 7.5 / f64::from(LARGEST);
    let largest = step(values).max(f64::MIN_POSITIVE);
    // Candidates are up to 20 % above.
    let exponent = (exponent_of(1.25 * largest) - 14).clamp(-128, 127);
    let unit = libm::exp2(f64::from(exponent));
    let mut matrix = Matrix { weights: Vec::new(), scales: Vec::new(), exponent: exponent as i8 };
    let mut factors = Vec::new();
    let mut last = Vec::new();
    for _ in values.chunks(cols) {
        let row = &next(&last)[..];
        let step = step(row);
        let mut best = Row { scale: 1, factors: Vec::new(), weights: vec![0; cols], error: f64::INFINITY };
        for i in 0..=20 {
            let scale = libm::ceil(step / unit * (0.70 + 0.025 * f64::from(i))).clamp(1.0, 32767.0);
            let factors = nearest_factors(row, scale * unit, importance);
            best.improve(row, scale as i16, factors, unit, round_row);
        }
        while (0..best.factors.len()).any(|group| {
            [-1, 1].into_iter().any(|by| {
                let mut factors = best.factors.clone();
                factors[group] = factors[group].saturating_add_signed(by).clamp(1, LARGEST);
                factors != best.factors && best.improve(row, best.scale, factors, unit, round_row)
            })
        }) {}
        let factor = |column| f64::from(best.factors[group(cols, column)]) * f64::from(best.scale) * unit;
        last = best.weights.iter().enumerate().map(|(c, &w)| f64::from(w) * factor(c)).collect();
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
    error: f64,
}

impl Row {
    /// Rounds the row by other steps, and keeps that if its error is less.
    fn improve(
        &mut self,
        row: &[f32],
        scale: i16,
        factors: Vec<u8>,
        unit: f64,
        round_row: &mut RoundRow<'_>,
    ) -> bool {
        let mut weights = vec![0; row.len()];
        let step = |column| f64::from(factors[group(row.len(), column)]) * f64::from(scale) * unit;
        let error = round_row(row, &step, &mut weights);
        let better = error < self.error || self.factors.is_empty();
        if better {
            *self = Self { scale, factors, weights, error };
        }
        better
    }
}

/// The factor of each group with the least squared error, weights rounded to the nearest.
fn nearest_factors(row: &[f32], scale: f64, importance: &[f64]) -> Vec<u8> {
    let factor = |index| {
        let columns = (0..row.len()).filter(|&column| group(row.len(), column) == index);
        let weights: Vec<(f64, f64)> = columns.map(|c| (f64::from(row[c]), importance[c])).collect();
        let error = |factor: u8| {
            let step = f64::from(factor) * scale;
            weights.iter().map(|&(w, i)| i * (nearest(w, step) * step - w).powi(2)).sum::<f64>()
        };
        let errors = (1..=LARGEST).map(|factor| (error(factor), factor));
        errors.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1, |(_, factor)| factor)
    };
    (0..groups(row.len())).map(factor).collect()
}

/// A weight in steps, an integer of -8 to 7.
pub fn nearest(weight: f64, step: f64) -> f64 {
    libm::round(weight / step).clamp(-8.0, 7.0)
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
