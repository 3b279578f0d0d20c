//! The non-linearity between the two matrices of an MLP, plain or gated (Shazeer 2020).

use super::math::{exp, sigmoid};
use thumbformer::Activation;

/// `up` to `hidden` `[rows, hidden_dim]`. Gated, a row of `up` is `[a | b]` and gives
/// `act(a) * b`; plain, it is `[a]` and gives `act(a)`.
pub fn forward(activation: Activation, gated: bool, hidden_dim: usize, up: &[f32], hidden: &mut [f32]) {
    match activation {
        Activation::Silu => apply(silu, gated, hidden_dim, up, hidden),
        Activation::Gelu => apply(gelu, gated, hidden_dim, up, hidden),
        Activation::GeluTanh => apply(gelu_tanh, gated, hidden_dim, up, hidden),
        Activation::Relu => apply(relu, gated, hidden_dim, up, hidden),
        Activation::ReluSquared => apply(relu_squared, gated, hidden_dim, up, hidden),
    }
}

/// `dhidden` `[rows, hidden_dim]` to `dup`, of the shape of `up`.
pub fn backward(
    activation: Activation,
    gated: bool,
    hidden_dim: usize,
    up: &[f32],
    dhidden: &[f32],
    dup: &mut [f32],
) {
    match activation {
        Activation::Silu => unapply(silu, gated, hidden_dim, up, dhidden, dup),
        Activation::Gelu => unapply(gelu, gated, hidden_dim, up, dhidden, dup),
        Activation::GeluTanh => unapply(gelu_tanh, gated, hidden_dim, up, dhidden, dup),
        Activation::Relu => unapply(relu, gated, hidden_dim, up, dhidden, dup),
        Activation::ReluSquared => unapply(relu_squared, gated, hidden_dim, up, dhidden, dup),
    }
}

/// `f` gives a value and its derivative; what is not used is not computed.
#[inline(always)]
fn apply(f: impl Fn(f32) -> (f32, f32), gated: bool, n: usize, up: &[f32], hidden: &mut [f32]) {
    if !gated {
        for (hidden, a) in hidden.iter_mut().zip(up) {
            *hidden = f(*a).0;
        }
        return;
    }
    for (up, hidden) in up.chunks_exact(2 * n).zip(hidden.chunks_exact_mut(n)) {
        let (a, b) = up.split_at(n);
        for i in 0..n {
            hidden[i] = f(a[i]).0 * b[i];
        }
    }
}

#[inline(always)]
fn unapply(
    f: impl Fn(f32) -> (f32, f32),
    gated: bool,
    n: usize,
    up: &[f32],
    dhidden: &[f32],
    dup: &mut [f32],
) {
    if !gated {
        for ((dup, a), dhidden) in dup.iter_mut().zip(up).zip(dhidden) {
            *dup = dhidden * f(*a).1;
        }
        return;
    }
    let rows = up.chunks_exact(2 * n).zip(dhidden.chunks_exact(n));
    for ((up, dhidden), dup) in rows.zip(dup.chunks_exact_mut(2 * n)) {
        let (a, b) = up.split_at(n);
        let (da, db) = dup.split_at_mut(n);
        for i in 0..n {
            let (value, slope) = f(a[i]);
            da[i] = dhidden[i] * b[i] * slope;
            db[i] = dhidden[i] * value;
        }
    }
}

/// Hendrycks and Gimpel 2016, section 2; Ramachandran et al. 2017.
#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// Hendrycks and Gimpel 2016, section 2. The distribution function comes from Abramowitz and
/// Stegun 7.1.26, whose error is below 1.5e-7.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp(-z * z);
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let tail = 1.061_405_4;
    let tail = tail * t - 1.453_152;
    let tail = tail * t + 1.421_413_8;
    let tail = tail * t - 0.284_496_72;
    let tail = tail * t + 0.254_829_6;
    let upper = 0.5 * tail * t * bell;
    let phi = if x < 0.0 { upper } else { 1.0 - upper };
    const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
    (x * phi, phi + x * DENSITY * bell)
}

/// The tanh approximation of the same paper, `0.5 (1 + tanh u)` written as `sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    const TWICE_ROOT: f32 = 1.595_769; // 2 sqrt(2 / pi)
    const CUBIC: f32 = 0.044_715;
    let s = sigmoid(TWICE_ROOT * (x + CUBIC * x * x * x));
    let slope = TWICE_ROOT * (1.0 + 3.0 * CUBIC * x * x);
    (x * s, s + x * s * (1.0 - s) * slope)
}

#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 })
}

/// So et al. 2021, section 3.
#[inline(always)]
fn relu_squared(x: f32) -> (f32, f32) {
    let x = x.max(0.0);
    (x * x, 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    const ALL: [Activation; 5] =
        [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::ReluSquared];

    #[test]
    fn gradients() {
        let (rows, n) = (3, 5);
        for activation in ALL {
            for gated in [false, true] {
                let mut up = noise(1, rows * n * if gated { 2 } else { 1 });
                if activation == Activation::Relu {
                    // Away from the kink, which a difference would straddle.
                    up.iter_mut().for_each(|x| *x += 0.1 * x.signum());
                }
                let dhidden = noise(2, rows * n);
                let mut dup = vec![0.0; up.len()];
                backward(activation, gated, n, &up, &dhidden, &mut dup);
                agree(&up, &dhidden, &dup, |up| {
                    let mut hidden = vec![0.0; rows * n];
                    forward(activation, gated, n, up, &mut hidden);
                    hidden
                });
            }
        }
    }

    #[test]
    fn values_equal_their_definitions() {
        for i in -600..=600 {
            let x = i as f32 * 0.01;
            let wide = f64::from(x);
            let exact = [
                wide / (1.0 + (-wide).exp()),
                0.5 * wide * (1.0 + libm::erf(wide / 2f64.sqrt())),
                0.5 * wide
                    * (1.0
                        + ((2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide * wide * wide))
                            .tanh()),
                wide.max(0.0),
                wide.max(0.0) * wide.max(0.0),
            ];
            for (activation, exact) in ALL.into_iter().zip(exact) {
                let mut y = [0.0];
                forward(activation, false, 1, &[x], &mut y);
                let error = (f64::from(y[0]) - exact).abs();
                assert!(error < 2e-6, "{activation:?}({x}) is off by {error}");
            }
        }
    }
}
