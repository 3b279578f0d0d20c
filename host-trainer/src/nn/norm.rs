//! Normalisation of rows, with a gain and, for LayerNorm, a bias.
//!
//! RMSNorm is Zhang and Sennrich 2019 (section 4), LayerNorm is Ba et al. 2016 (section 3). Both
//! put epsilon under the square root.

use super::math::{dot, reduce, sum};

/// What the backward pass needs of a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    /// Mean of the row; zero in RMSNorm.
    pub mean: f32,
    /// Reciprocal of the root of mean square (or of the variance) plus epsilon.
    pub inverse: f32,
}

/// `y = x / rms(x) * weight` for each row of `x` `[rows, dim]`; one entry of `moments` a row.
pub fn rms_forward(weight: &[f32], eps: f32, x: &[f32], y: &mut [f32], moments: &mut [Moments]) {
    let dim = weight.len();
    let rows = x.chunks_exact(dim).zip(y.chunks_exact_mut(dim));
    for ((x, y), moments) in rows.zip(moments) {
        let inverse = 1.0 / (dot(x, x) / dim as f32 + eps).sqrt();
        *moments = Moments { mean: 0.0, inverse };
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * inverse * w;
        }
    }
}

/// Adds to `dx` `[rows, dim]` and `dweight` `[dim]`.
pub fn rms_backward(
    weight: &[f32],
    x: &[f32],
    moments: &[Moments],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let dim = weight.len();
    let dweight = &mut dweight[..dim];
    let rows = x.chunks_exact(dim).zip(dy.chunks_exact(dim));
    for (((x, dy), dx), moments) in rows.zip(dx.chunks_exact_mut(dim)).zip(moments) {
        let inverse = moments.inverse;
        // With g = dy * weight: dx = inverse * g - x * inverse^3 * mean(g * x).
        let pull = reduce(dim, |i| dy[i] * weight[i] * x[i]) / dim as f32;
        let pull = pull * inverse * inverse * inverse;
        for i in 0..dim {
            dweight[i] += dy[i] * x[i] * inverse;
            dx[i] += dy[i] * weight[i] * inverse - x[i] * pull;
        }
    }
}

/// `y = (x - mean(x)) / deviation(x) * weight + bias` for each row of `x` `[rows, dim]`.
pub fn layer_forward(
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    x: &[f32],
    y: &mut [f32],
    moments: &mut [Moments],
) {
    let dim = weight.len();
    let rows = x.chunks_exact(dim).zip(y.chunks_exact_mut(dim));
    for ((x, y), moments) in rows.zip(moments) {
        let mean = sum(x) / dim as f32;
        for (y, x) in y.iter_mut().zip(x) {
            *y = x - mean;
        }
        let inverse = 1.0 / (dot(y, y) / dim as f32 + eps).sqrt();
        *moments = Moments { mean, inverse };
        for ((y, w), b) in y.iter_mut().zip(weight).zip(bias) {
            *y = *y * inverse * w + b;
        }
    }
}

/// Adds to `dx` `[rows, dim]`, `dweight` `[dim]` and `dbias` `[dim]`.
pub fn layer_backward(
    weight: &[f32],
    x: &[f32],
    moments: &[Moments],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let dim = weight.len();
    let (dweight, dbias) = (&mut dweight[..dim], &mut dbias[..dim]);
    let rows = x.chunks_exact(dim).zip(dy.chunks_exact(dim));
    for (((x, dy), dx), moments) in rows.zip(dx.chunks_exact_mut(dim)).zip(moments) {
        let Moments { mean, inverse } = *moments;
        // With g = dy * weight and n = (x - mean) * inverse:
        // dx = inverse * (g - mean(g) - n * mean(g * n)).
        let n = |i: usize| (x[i] - mean) * inverse;
        let mean_g = dot(dy, weight) / dim as f32;
        let mean_gn = reduce(dim, |i| dy[i] * weight[i] * n(i)) / dim as f32;
        for i in 0..dim {
            dweight[i] += dy[i] * n(i);
            dbias[i] += dy[i];
            dx[i] += (dy[i] * weight[i] - mean_g - n(i) * mean_gn) * inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    const ROWS: usize = 3;
    const DIM: usize = 11;

    #[test]
    fn rms_gradients() {
        let (x, weight, dy) = (noise(1, ROWS * DIM), noise(2, DIM), noise(3, ROWS * DIM));
        let run = |x: &[f32], weight: &[f32]| {
            let mut y = vec![0.0; x.len()];
            let mut moments = [Moments::default(); ROWS];
            rms_forward(weight, 1e-5, x, &mut y, &mut moments);
            (y, moments)
        };
        let (_, moments) = run(&x, &weight);
        let (mut dx, mut dweight) = (vec![0.0; x.len()], vec![0.0; DIM]);
        rms_backward(&weight, &x, &moments, &dy, &mut dx, &mut dweight);
        agree(&x, &dy, &dx, |x| run(x, &weight).0);
        agree(&weight, &dy, &dweight, |w| run(&x, w).0);
    }

    #[test]
    fn layer_gradients() {
        let (x, dy) = (noise(1, ROWS * DIM), noise(2, ROWS * DIM));
        let (weight, bias) = (noise(3, DIM), noise(4, DIM));
        let run = |x: &[f32], weight: &[f32], bias: &[f32]| {
            let mut y = vec![0.0; x.len()];
            let mut moments = [Moments::default(); ROWS];
            layer_forward(weight, bias, 1e-5, x, &mut y, &mut moments);
            (y, moments)
        };
        let (_, moments) = run(&x, &weight, &bias);
        let mut dx = vec![0.0; x.len()];
        let (mut dweight, mut dbias) = (vec![0.0; DIM], vec![0.0; DIM]);
        layer_backward(&weight, &x, &moments, &dy, &mut dx, &mut dweight, &mut dbias);
        agree(&x, &dy, &dx, |x| run(x, &weight, &bias).0);
        agree(&weight, &dy, &dweight, |w| run(&x, w, &bias).0);
        agree(&bias, &dy, &dbias, |b| run(&x, &weight, b).0);
    }
}
