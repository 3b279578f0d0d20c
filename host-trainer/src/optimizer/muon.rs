//! Muon (Jordan et al. 2024): the step of a matrix is its momentum with all singular values made about one.

use crate::nn::matrix::{Matrix, MatrixMut, Write, matmul};

/// The quintic `a x + b x^3 + c x^5` whose iteration brings singular values between 0.7 and 1.2 fastest (Jordan et al.).
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;

/// A matrix of singular values one times this has elements as large as AdamW's steps, 0.2 in the mean square (Liu et al.
/// 2025): one learning rate and one weight decay serve both.
pub fn scale(rows: usize, columns: usize) -> f32 {
    0.2 * (rows.max(columns) as f32).sqrt()
}

/// Brings the singular values of a matrix near one, by Newton-Schulz iterations; zero stays zero. One thread, so that
/// the bits do not depend on their number.
pub fn orthogonalize(values: &mut [f32], rows: usize, columns: usize) {
    let square: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let norm = square.sqrt() as f32;
    if norm == 0.0 {
        return;
    }
    values.iter_mut().for_each(|x| *x /= norm);
    let side = rows.min(columns);
    let [a, b, c] = QUINTIC;
    let (mut gram, mut factor) = (vec![0.0; side * side], vec![0.0; side * side]);
    let mut next = vec![0.0; values.len()];
    for _ in 0..ITERATIONS {
        let x = Matrix::new(values, rows, columns);
        // The Gram matrix of the shorter side.
        let (left, right) = if rows <= columns { (x, x.transposed()) } else { (x.transposed(), x) };
        matmul(MatrixMut::new(&mut gram, side, side), Write::Set, left, right);
        let g = Matrix::new(&gram, side, side);
        matmul(MatrixMut::new(&mut factor, side, side), Write::Set, g, g);
        for (i, (f, g)) in factor.iter_mut().zip(&gram).enumerate() {
            *f = c * *f + b * g + if i % (side + 1) == 0 { a } else { 0.0 };
        }
        let f = Matrix::new(&factor, side, side);
        let (left, right) = if rows <= columns { (f, x) } else { (x, f) };
        matmul(MatrixMut::new(&mut next, rows, columns), Write::Set, left, right);
        values.copy_from_slice(&next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::random::Random;

    /// `X X^T` of the shorter side.
    fn gram(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        let x = Matrix::new(values, rows, columns);
        let side = rows.min(columns);
        let mut gram = vec![0.0; side * side];
        let (a, b) = if rows <= columns { (x, x.transposed()) } else { (x.transposed(), x) };
        matmul(MatrixMut::new(&mut gram, side, side), Write::Set, a, b);
        gram
    }

    #[test]
    fn singular_values_come_near_one_in_every_shape() {
        for (rows, columns) in [(6, 6), (4, 20), (20, 4), (1, 9)] {
            let mut random = Random::new(rows as u64);
            let mut values: Vec<f32> = (0..rows * columns).map(|_| 1e-3 * random.normal()).collect();
            orthogonalize(&mut values, rows, columns);
            let side = rows.min(columns);
            let gram = gram(&values, rows, columns);
            // The trace is the sum of the squares of the singular values.
            let trace: f32 = (0..side).map(|i| gram[i * (side + 1)]).sum();
            assert!((0.4..1.5).contains(&(trace / side as f32)), "{rows} x {columns}: {trace}");
            // The square of a matrix with singular values s has a trace of the sum of s^4.
            let fourth: f32 = gram.iter().map(|x| x * x).sum();
            assert!((0.2..2.2).contains(&(fourth / side as f32)), "{rows} x {columns}: {fourth}");
        }
    }

    #[test]
    fn directions_are_kept_and_zero_stays_zero() {
        // A diagonal matrix stays one, with signs.
        let mut values = [0.5, 0.0, 0.0, -2.0];
        orthogonalize(&mut values, 2, 2);
        assert!((0.6..1.3).contains(&values[0]) && (-1.3..-0.6).contains(&values[3]), "{values:?}");
        assert!(values[1].abs() < 1e-6 && values[2].abs() < 1e-6);
        let mut nothing = [0.0; 6];
        orthogonalize(&mut nothing, 2, 3);
        assert_eq!(nothing, [0.0; 6]);
    }
}
