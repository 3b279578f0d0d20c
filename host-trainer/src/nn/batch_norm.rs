//! Normalisation of columns over a batch (Ioffe and Szegedy 2015).
//!
//! In training the statistics are those of the rows of a call; in use they are running means, and what is left is a
//! factor and a term for each column, which an export folds into the next matrix.

use super::graph::{
    Backward, Forward, Freeze, Keeps, Network, Operation, Recorder, TensorRole, Training, Value,
};
use super::math::add;
use super::real::Real;
use std::iter::zip;
use std::ops::Range;

/// `y = (x - mean) / deviation * weight + bias` for each column of `x` `[rows, width]`. Saves a column's mean, its
/// variance, and the reciprocal of its deviation.
#[derive(Debug, Clone)]
struct BatchNorm {
    rows: usize,
    eps: f64,
    /// `[width]`, as are all.
    weight: Range<usize>,
    bias: Range<usize>,
    running_mean: Range<usize>,
    running_var: Range<usize>,
}

/// [`BatchNorm`] by running statistics.
#[derive(Debug, Clone)]
struct Affine(BatchNorm);

impl<R: Real> Recorder<Training, R> {
    /// BatchNorm of the columns of `x` `[rows, width]`, rows of one call. Declares `name.weight`, `name.bias`, and the
    /// statistics `name.running_mean` and `name.running_var`; shows `name`.
    pub fn batch_norm(&mut self, name: &str, eps: f64, x: Value) -> Value {
        let shape = [x.width()];
        let weight = self.tensor(&format!("{name}.weight"), &shape);
        let bias = self.tensor(&format!("{name}.bias"), &shape);
        let mut statistic = |what| self.declare(&format!("{name}.{what}"), &shape, TensorRole::Statistic);
        let (running_mean, running_var) = (statistic("running_mean"), statistic("running_var"));
        let norm = BatchNorm { rows: x.rows(), eps, weight, bias, running_mean, running_var };
        let y = self.record(norm, &[x], x.rows(), x.width());
        self.show(name, y);
        y
    }
}

/// What PyTorch calls momentum: the fraction of the way that running statistics go at a step.
pub const MOMENTUM: f64 = 0.1;

/// Moves the running statistics, by a fraction `momentum` of the way, towards the mean of those of `calls` batches.
/// Those of a norm that does not move, by its name, stay. Backward passes have added these to `grad`, where statistics have no gradient; they are taken out of it, so that
/// neither its norm nor an optimizer meets them.
pub fn follow<R: Real>(
    network: &Network<Training, R>,
    params: &mut [R],
    grad: &mut [R],
    calls: usize,
    momentum: f64,
    moves: impl Fn(&str) -> bool,
) {
    let (calls, momentum) = (R::of(calls as f64), R::of(momentum));
    for tensor in network.tensors().iter().filter(|tensor| tensor.role == TensorRole::Statistic) {
        let moves = moves(&tensor.name);
        for (running, sum) in zip(&mut params[tensor.range.clone()], &mut grad[tensor.range.clone()]) {
            if moves {
                *running += (*sum / calls - *running) * momentum;
            }
            *sum = R::ZERO;
        }
    }
}

impl<R: Real> Operation<R> for BatchNorm {
    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }

    fn has_parameters(&self) -> bool {
        true
    }

    fn saved(&self) -> usize {
        3 * self.weight.len()
    }

    fn scratch(&self) -> usize {
        2 * self.weight.len()
    }

    fn forward(&self, pass: Forward<'_, R>) {
        assert!(self.rows > 1, "found one row, wanted two or more to take statistics of");
        let width = self.weight.len();
        let (weight, bias) = (&pass.params[self.weight.clone()], &pass.params[self.bias.clone()]);
        let scale = R::ONE / R::of(self.rows as f64);
        let (mean, rest) = pass.saved.split_at_mut(width);
        let (variance, inverse) = rest.split_at_mut(width);
        let x = pass.inputs[0].chunks_exact(width);
        mean.fill(R::ZERO);
        x.clone().for_each(|x| add(mean, x));
        mean.iter_mut().for_each(|mean| *mean *= scale);
        variance.fill(R::ZERO);
        for x in x.clone() {
            for i in 0..width {
                variance[i] += (x[i] - mean[i]) * (x[i] - mean[i]);
            }
        }
        for (variance, inverse) in zip(variance, &mut *inverse) {
            *variance *= scale;
            *inverse = R::ONE / (*variance + R::of(self.eps)).sqrt();
        }
        for (x, y) in zip(x, pass.output.chunks_exact_mut(width)) {
            for i in 0..width {
                y[i] = (x[i] - mean[i]) * inverse[i] * weight[i] + bias[i];
            }
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let width = self.weight.len();
        let rows = R::of(self.rows as f64);
        let weight = &pass.params[self.weight.clone()];
        let (mean, rest) = pass.saved.split_at(width);
        let (variance, inverse) = rest.split_at(width);
        let [dx, _] = pass.dinputs;
        let pairs = || zip(pass.inputs[0].chunks_exact(width), pass.doutput.chunks_exact(width));

        // Of this call alone: the gradients of all calls add up in `grad`.
        let (dweight, dbias) = pass.scratch.split_at_mut(width);
        dweight.fill(R::ZERO);
        dbias.fill(R::ZERO);
        for (x, dy) in pairs() {
            for i in 0..width {
                dweight[i] += dy[i] * (x[i] - mean[i]) * inverse[i];
                dbias[i] += dy[i];
            }
        }
        let (dweight, dbias) = (&*dweight, &*dbias);
        if dx.is_wanted() {
            // With n = (x - mean) * inverse: dx = inverse * weight * (dy - mean(dy) - n * mean(dy * n)).
            dx.put(pairs().flat_map(|(x, dy)| {
                (0..width).map(move |i| {
                    let n = (x[i] - mean[i]) * inverse[i];
                    inverse[i] * weight[i] * (dy[i] - dbias[i] / rows - n * dweight[i] / rows)
                })
            }));
        }
        add(&mut pass.grad[self.weight.clone()], dweight);
        add(&mut pass.grad[self.bias.clone()], dbias);
        // What `follow` reads: the unbiased variance, as PyTorch has it.
        add(&mut pass.grad[self.running_mean.clone()], mean);
        for (sum, &variance) in zip(&mut pass.grad[self.running_var.clone()], variance) {
            *sum += variance * rows / (rows - R::ONE);
        }
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::Becomes(Box::new(Affine(self.clone())))
    }
}

impl<R: Real> Operation<R> for Affine {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let BatchNorm { eps, ref weight, ref bias, ref running_mean, ref running_var, .. } = self.0;
        let tensor = |range: &Range<usize>| &pass.params[range.clone()];
        let (weight, bias) = (tensor(weight), tensor(bias));
        let (mean, variance) = (tensor(running_mean), tensor(running_var));
        for y in pass.output.chunks_exact_mut(weight.len()) {
            for (i, y) in y.iter_mut().enumerate() {
                let factor = weight[i] / (variance[i] + R::of(eps)).sqrt();
                *y = (*y - mean[i]) * factor + bias[i];
            }
        }
    }

    fn backward(&self, _: Backward<'_, R>) {
        unreachable!("only frozen networks have it");
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{FEATURES, check, noise};
    use crate::nn::graph::{Given, Memory};

    #[test]
    fn gradients() {
        check(2, 3, |net| {
            let x = net.variable("x", 6, 5);
            net.batch_norm("norm", 1e-5, x)
        });
        check(2, 3, |net| {
            let x = net.input(FEATURES);
            net.batch_norm("norm", 1e-5, x)
        });
    }

    #[test]
    fn frozen_it_normalises_by_what_it_followed() {
        let (rows, width) = (50, 3);
        let mut net = Recorder::<Training, f64>::new(1, rows);
        let x = net.input(width);
        let y = net.batch_norm("norm", 1e-5, x);
        net.weighted(vec![1.0; rows * width], y);
        let network = net.finish(y);
        let mut params = vec![0.0; network.parameters()];
        params[..width].fill(1.0);
        let values: Vec<f64> = noise(1, rows * width).iter().map(|x| 3.0 * x + 2.0).collect();
        let given = Given { values: &values, ..Given::default() };
        let mut memory = Memory::new(&network);
        for _ in 0..100 {
            let mut grad = vec![0.0; params.len()];
            for _ in 0..2 {
                network.forward(&params, &given, &mut memory);
                network.backward(&params, &given, &mut memory, &mut grad);
            }
            follow(&network, &mut params, &mut grad, 2, MOMENTUM, |_| true);
            assert!(grad[2 * width..].iter().all(|&left| left == 0.0));
        }
        let trained = network.output(&memory).to_vec();
        let frozen = network.freeze();
        let mut memory = Memory::new(&frozen);
        frozen.infer(&params, &given, &mut memory);
        // The one divides by 50, the other by 49.
        let ratio = (49f64 / 50.0).sqrt();
        for (trained, frozen) in zip(trained, frozen.output(&memory)) {
            assert!((trained * ratio - frozen).abs() < 1e-4, "{trained} {frozen}");
        }
    }
}
