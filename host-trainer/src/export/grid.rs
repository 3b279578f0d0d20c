//! int4 as training rounds it, once a step: the search of [`int4`](super::int4) in few passes.
//!
//! A group's step is sought first, the row's scale comes from the largest of them. A model that was trained with this
//! rounding is exported by it too, so that the device has the very numbers that were trained.

use super::Options;
use super::fold::Norms;
use super::int4::{Weights, group, groups};
use super::parts::{self, Part, source_name};
use super::quantize::{Matrix, exponent_of, peak};
use crate::model::{Model, Quantization, WeightBits};
use crate::nn::math::{reduce, vectorized};
use anyhow::{Result, ensure};
use thumbformer::format::TensorSpec;

impl Weights {
    /// The weights that a model was trained to have, if it was.
    pub fn trained(model: &Model) -> Option<Self> {
        Some(match model.quantization()?.weights? {
            WeightBits::Int8 => Self::Int8,
            WeightBits::Int4 => Self::Int4,
            WeightBits::Mixed => Self::Mixed,
        })
    }
}

/// Refuses what would change the numbers that a model was trained with.
pub fn check(model: &Model, options: &Options) -> Result<()> {
    let Some(wanted) = Weights::trained(model) else {
        return Ok(());
    };
    ensure!(
        options.weights == wanted,
        "weights: found {:?}, wanted {wanted:?}, which the model was trained to have",
        options.weights
    );
    ensure!(
        !options.fold_gains,
        "folded norms: found a model that was trained to be rounded, wanted gains apart"
    );
    Ok(())
}

/// Rounds a tensor of a model that was trained to be rounded, as its training did.
pub fn part(model: &Model, trained: &Quantization, spec: TensorSpec, frac: u8) -> Result<Part> {
    parts::round(model, &Norms::new(model, false), spec, frac, &|spec, weights| {
        if trained.is_int4(&source_name(model, spec)) {
            let (matrix, factors) = round(weights, spec.cols);
            return (matrix, Some(factors));
        }
        (Matrix::round(weights, spec.cols), None)
    })
}

/// The largest factor of a group.
const LARGEST: f32 = 15.0;

/// Rounds a row-major matrix; returns the factors of its groups, too, group after group and row after row.
///
/// A group's step is the one of the least squared error among a few below and above that which just holds its largest
/// weight.
pub fn round(values: &[f32], cols: usize) -> (Matrix, Vec<u8>) {
    vectorized(
        #[inline(always)]
        || round_rows(values, cols),
    )
}

#[inline(always)]
fn round_rows(values: &[f32], cols: usize) -> (Matrix, Vec<u8>) {
    let largest = f64::from(peak(values)) / 7.5 / f64::from(LARGEST);
    // Candidates are up to 10 % above.
    let exponent = (exponent_of(1.25 * largest.max(f64::MIN_POSITIVE)) - 14).clamp(-128, 127);
    let unit = libm::exp2(f64::from(exponent)) as f32;
    let mut matrix =
        Matrix { weights: Vec::with_capacity(values.len()), scales: Vec::new(), exponent: exponent as i8 };
    let mut factors = Vec::new();
    let ranges: Vec<_> = (0..groups(cols))
        .map(|index| {
            let first = (0..cols).find(|&c| group(cols, c) == index).unwrap_or_default();
            let len = (first..cols).take_while(|&c| group(cols, c) == index).count();
            first..first + len
        })
        .collect();
    let mut steps = vec![0.0; ranges.len()];
    for row in values.chunks_exact(cols) {
        for (step, range) in steps.iter_mut().zip(&ranges) {
            *step = best_step(&row[range.clone()]);
        }
        let largest = steps.iter().fold(0f32, |m, &s| m.max(s));
        let scale = (largest / LARGEST / unit).ceil().clamp(1.0, 32767.0);
        matrix.scales.push(scale as i16);
        for (&step, range) in steps.iter().zip(&ranges) {
            let group = &row[range.clone()];
            let below = (step / (scale * unit)).floor().clamp(1.0, LARGEST);
            let above = (below + 1.0).min(LARGEST);
            let error_with = |factor: f32| error(group, factor * (scale * unit));
            let factor = if error_with(above) < error_with(below) { above } else { below };
            factors.push(factor as u8);
            let inverse = (factor * (scale * unit)).recip();
            matrix.weights.extend(group.iter().map(|&w| nearest(w, inverse) as i8));
        }
    }
    (matrix, factors)
}

/// The step of the least squared error.
#[inline(always)]
fn best_step(group: &[f32]) -> f32 {
    let holding = peak(group) / 7.5;
    let mut best = (0.0, f32::INFINITY);
    for i in 0..9 {
        let step = holding * (0.70 + 0.05 * i as f32);
        let error = error(group, step);
        if error < best.1 {
            best = (step, error);
        }
    }
    best.0
}

#[inline(always)]
fn error(group: &[f32], step: f32) -> f32 {
    let inverse = step.max(f32::MIN_POSITIVE).recip();
    reduce(group.len(), |i| {
        let off = nearest(group[i], inverse) * step - group[i];
        off * off
    })
}

/// A weight in steps, an integer of -8 to 7, rounded to even without a call to a library.
#[inline(always)]
fn nearest(weight: f32, inverse: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
    ((weight * inverse).clamp(-8.0, 7.0) + MAGIC) - MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::int4;
    use crate::nn::random::Random;

    fn squares(values: &[f32], cols: usize, (matrix, factors): &(Matrix, Vec<u8>)) -> f64 {
        let unit = libm::exp2(f64::from(matrix.exponent));
        let off = |(i, &value): (usize, &f32)| {
            let (row, column) = (i / cols, i % cols);
            let factor = f64::from(factors[row * groups(cols) + group(cols, column)]);
            let found = f64::from(matrix.weights[i]) * factor * f64::from(matrix.scales[row]) * unit;
            (found - f64::from(value)).powi(2)
        };
        values.iter().enumerate().map(off).sum()
    }

    #[test]
    fn the_quick_search_is_nearly_as_good_as_the_long_one() {
        let mut random = Random::new(3);
        for cols in [20, 64, 172] {
            let values: Vec<f32> =
                (0..40 * cols).map(|i| random.normal() * 0.01 * (1 + i / cols % 7) as f32).collect();
            let quick = squares(&values, cols, &round(&values, cols));
            let long = squares(&values, cols, &int4::round(&values, cols));
            assert!(quick < 1.08 * long, "{cols} columns: {quick}, the long search {long}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut values = vec![0.0; 80];
        values[45] = 3.0;
        let (matrix, factors) = round(&values, 40);
        assert!(matrix.weights[..40].iter().all(|&w| w == 0));
        assert!(matrix.scales.iter().all(|&s| s > 0) && factors.iter().all(|&f| f > 0));
        let restored = f64::from(matrix.weights[45]) * f64::from(factors[2]) * f64::from(matrix.scales[1]);
        assert!((restored * libm::exp2(f64::from(matrix.exponent)) - 3.0).abs() < 0.2);
    }
}
