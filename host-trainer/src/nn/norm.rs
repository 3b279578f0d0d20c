//! Normalisation of rows, with a gain and, for LayerNorm, a bias.
//!
//! RMSNorm is Zhang and Sennrich 2019 (section 4), LayerNorm is Ba et al. 2016 (section 3). Both
//! put epsilon under the square root.

use super::graph::{Backward, Forward, Freeze, Keeps, Mode, Operation, Recorder, Value};
use super::math::{dot, reduce, sum, vectorized};
use super::real::Real;
use std::ops::Range;

/// `y = x / rms(x) * weight` for each row of `x` `[rows, dim]`. Saves the reciprocal of a row's root of mean square.
#[derive(Debug, Clone)]
struct RmsNorm {
    rows: usize,
    eps: f64,
    /// `[dim]`
    weight: Range<usize>,
}

/// `y = (x - mean(x)) / deviation(x) * weight + bias` for each row of `x` `[rows, dim]`. Saves a row's mean and the
/// reciprocal of its deviation.
#[derive(Debug, Clone)]
struct LayerNorm {
    rows: usize,
    eps: f64,
    /// `[dim]`
    weight: Range<usize>,
    /// `[dim]`
    bias: Range<usize>,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// RMSNorm of the rows of `x`. Declares `name.weight`; shows `name`.
    pub fn rms_norm(&mut self, name: &str, eps: f64, x: Value) -> Value {
        let weight = self.tensor(&format!("{name}.weight"), &[x.width()]);
        let y = self.record(RmsNorm { rows: x.rows(), eps, weight }, &[x], x.rows(), x.width());
        self.show(name, y);
        y
    }

    /// LayerNorm of the rows of `x`. Declares `name.weight` and `name.bias`; shows `name`.
    pub fn layer_norm(&mut self, name: &str, eps: f64, x: Value) -> Value {
        let weight = self.tensor(&format!("{name}.weight"), &[x.width()]);
        let bias = self.tensor(&format!("{name}.bias"), &[x.width()]);
        let y = self.record(LayerNorm { rows: x.rows(), eps, weight, bias }, &[x], x.rows(), x.width());
        self.show(name, y);
        y
    }
}

impl<R: Real> Operation<R> for RmsNorm {
    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }

    fn has_parameters(&self) -> bool {
        true
    }

    fn saved(&self) -> usize {
        self.rows
    }

    fn forward(&self, pass: Forward<'_, R>) {
        vectorized(
            #[inline(always)]
            || {
                let weight = &pass.params[self.weight.clone()];
                let (dim, eps) = (weight.len(), R::of(self.eps));
                let rows = pass.inputs[0].chunks_exact(dim).zip(pass.output.chunks_exact_mut(dim));
                for ((x, y), saved) in rows.zip(pass.saved) {
                    let inverse = R::ONE / (dot(x, x) / R::of(dim as f64) + eps).sqrt();
                    *saved = inverse;
                    for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                        *y = x * inverse * w;
                    }
                }
            },
        );
    }

    fn backward(&self, pass: Backward<'_, R>) {
        vectorized(
            #[inline(always)]
            || {
                let weight = &pass.params[self.weight.clone()];
                let dim = weight.len();
                let dweight = &mut pass.grad[self.weight.clone()];
                let [dx, _] = pass.dinputs;
                if !dx.is_wanted() {
                    let rows = pass.inputs[0].chunks_exact(dim).zip(pass.doutput.chunks_exact(dim));
                    for ((x, dy), &inverse) in rows.zip(pass.saved) {
                        (0..dim).for_each(|i| dweight[i] += dy[i] * x[i] * inverse);
                    }
                    return;
                }
                let dx = dx.cleared();
                let rows = pass.inputs[0].chunks_exact(dim).zip(pass.doutput.chunks_exact(dim));
                for (((x, dy), dx), &inverse) in rows.zip(dx.chunks_exact_mut(dim)).zip(pass.saved) {
                    // With g = dy * weight: dx = inverse * g - x * inverse^3 * mean(g * x).
                    let pull = reduce(dim, |i| dy[i] * weight[i] * x[i]) / R::of(dim as f64);
                    let pull = pull * inverse * inverse * inverse;
                    for i in 0..dim {
                        dweight[i] += dy[i] * x[i] * inverse;
                        dx[i] += dy[i] * weight[i] * inverse - x[i] * pull;
                    }
                }
            },
        );
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl<R: Real> Operation<R> for LayerNorm {
    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }

    fn has_parameters(&self) -> bool {
        true
    }

    fn saved(&self) -> usize {
        2 * self.rows
    }

    fn forward(&self, pass: Forward<'_, R>) {
        vectorized(
            #[inline(always)]
            || {
                let weight = &pass.params[self.weight.clone()];
                let bias = &pass.params[self.bias.clone()];
                let (dim, eps) = (weight.len(), R::of(self.eps));
                let width = R::of(dim as f64);
                let rows = pass.inputs[0].chunks_exact(dim).zip(pass.output.chunks_exact_mut(dim));
                for ((x, y), saved) in rows.zip(pass.saved.chunks_exact_mut(2)) {
                    let mean = sum(x) / width;
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = x - mean;
                    }
                    let inverse = R::ONE / (dot(y, y) / width + eps).sqrt();
                    saved.copy_from_slice(&[mean, inverse]);
                    for ((y, &w), &b) in y.iter_mut().zip(weight).zip(bias) {
                        *y = *y * inverse * w + b;
                    }
                }
            },
        );
    }

    fn backward(&self, pass: Backward<'_, R>) {
        vectorized(
            #[inline(always)]
            || {
                let weight = &pass.params[self.weight.clone()];
                let dim = weight.len();
                let width = R::of(dim as f64);
                // The bias lies right behind the weight.
                let (dweight, dbias) = pass.grad[self.weight.start..self.bias.end].split_at_mut(dim);
                let (dweight, dbias) = (&mut dweight[..dim], &mut dbias[..dim]);
                let [dx, _] = pass.dinputs;
                let wanted = dx.is_wanted();
                let dx = dx.cleared();
                let rows = pass.inputs[0].chunks_exact(dim).zip(pass.doutput.chunks_exact(dim));
                for (row, ((x, dy), saved)) in rows.zip(pass.saved.chunks_exact(2)).enumerate() {
                    let (mean, inverse) = (saved[0], saved[1]);
                    let n = |i: usize| (x[i] - mean) * inverse;
                    for i in 0..dim {
                        dweight[i] += dy[i] * n(i);
                        dbias[i] += dy[i];
                    }
                    if wanted {
                        // With g = dy * weight and n = (x - mean) * inverse:
                        // dx = inverse * (g - mean(g) - n * mean(g * n)).
                        let mean_g = dot(dy, weight) / width;
                        let mean_gn = reduce(dim, |i| dy[i] * weight[i] * n(i)) / width;
                        for (i, dx) in dx[row * dim..][..dim].iter_mut().enumerate() {
                            *dx += (dy[i] * weight[i] - mean_g - n(i) * mean_gn) * inverse;
                        }
                    }
                }
            },
        );
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::checks::{FEATURES, check};

    #[test]
    fn rms_gradients() {
        check(1, 3, |net| {
            let x = net.variable("x", 3, 11);
            net.rms_norm("norm", 1e-5, x)
        });
    }

    #[test]
    fn layer_gradients() {
        check(1, 3, |net| {
            let x = net.variable("x", 3, 11);
            net.layer_norm("norm", 1e-5, x)
        });
    }

    #[test]
    fn gradients_of_the_gain_alone() {
        check(1, 3, |net| {
            let x = net.input(FEATURES);
            net.rms_norm("norm", 1e-5, x)
        });
        check(1, 3, |net| {
            let x = net.input(FEATURES);
            net.layer_norm("norm", 1e-5, x)
        });
    }
}
