//! Checks analytic gradients against central differences.

use super::random::Random;
use std::iter::zip;

/// Reproducible values of the order of one.
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::keyed(&[seed]);
    (0..len).map(|_| random.normal()).collect()
}

/// Asserts that `dx` is the gradient at `x` of the inner product of `dy` and `f(x)`.
///
/// The step is large because the arithmetic is f32; the tolerance covers its rounding and the
/// third derivatives of smooth operations of order one.
pub fn agree(x: &[f32], dy: &[f32], dx: &[f32], f: impl Fn(&[f32]) -> Vec<f32>) {
    let step = 1e-2f32;
    let loss = |x: &[f32]| -> f64 {
        let y = f(x);
        assert_eq!(y.len(), dy.len());
        zip(y, dy).map(|(y, &dy)| f64::from(y) * f64::from(dy)).sum()
    };
    let mut x = x.to_vec();
    for i in 0..x.len() {
        let saved = x[i];
        x[i] = saved + step;
        let above = loss(&x);
        x[i] = saved - step;
        let below = loss(&x);
        x[i] = saved;
        let numeric = ((above - below) / f64::from(2.0 * step)) as f32;
        let tolerance = 2e-3 * (1.0 + numeric.abs());
        assert!(
            (numeric - dx[i]).abs() < tolerance,
            "element {i}: differences give {numeric}, the backward pass {}",
            dx[i]
        );
    }
}
