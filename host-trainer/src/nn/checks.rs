//! Checks the gradients of a recorded network against central differences, in f64.

use super::graph::{
    Backward, Forward, Freeze, Given, Memory, Network, Operation, Recorder, TensorRole, Training, Value,
};
use super::random::Random;
use super::real::Real;
use std::ops::Range;

/// Reproducible values of the order of one.
pub fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut random = Random::keyed(&[seed]);
    (0..len).map(|_| f64::from(random.normal())).collect()
}

/// The width of the features that a checked network is given.
pub const FEATURES: usize = 4;

/// Parameters as a value, so that their gradient is that of an operation's input.
#[derive(Debug, Clone)]
struct Variable(Range<usize>);

/// A loss: the inner product with fixed weights.
#[derive(Debug, Clone)]
struct Weighted<R>(Vec<R>);

impl<R: Real> Recorder<Training, R> {
    /// A value `[rows, width]` that is a parameter.
    pub fn variable(&mut self, name: &str, rows: usize, width: usize) -> Value {
        let range = self.tensor(name, &[rows, width]);
        self.record(Variable(range), &[], rows, width)
    }

    /// Adds the inner product of `x` and `weights` to the loss.
    pub fn weighted(&mut self, weights: Vec<R>, x: Value) -> Value {
        assert_eq!(weights.len(), x.rows() * x.width());
        self.record(Weighted(weights), &[x], x.rows(), x.width())
    }
}

impl<R: Real> Operation<R> for Variable {
    fn has_parameters(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        pass.output.copy_from_slice(&pass.params[self.0.clone()]);
    }

    fn backward(&self, pass: Backward<'_, R>) {
        super::math::add(&mut pass.grad[self.0.clone()], pass.doutput);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl<R: Real> Operation<R> for Weighted<R> {
    fn in_place(&self) -> bool {
        true
    }

    fn is_loss(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        *pass.loss += pass.output.iter().zip(&self.0).map(|(&x, &w)| (x * w).wide()).sum::<f64>();
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dx, _] = pass.dinputs;
        dx.values.iter_mut().zip(&self.0).for_each(|(dx, &w)| *dx = w * pass.given.scale);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

/// What a network makes of parameters.
pub fn output<R: Real>(network: &Network<Training, R>, params: &[R], given: &Given<'_, R>) -> Vec<R> {
    let mut memory = Memory::new(network);
    network.forward(params, given, &mut memory);
    network.output(&memory).to_vec()
}

/// Asserts that a network's gradients are the differences of its inner product with noise. `define` records it for
/// `sequences` of `tokens`; parameters are noise, tokens are below seven, features are noise, [`FEATURES`] wide.
pub fn check(sequences: usize, tokens: usize, define: impl Fn(&mut Recorder<Training, f64>) -> Value) {
    check_with(sequences, tokens, |net| {
        let y = define(net);
        net.weighted(noise(1, y.rows() * y.width()), y)
    });
}

/// [`check`] of a network that ends in a loss.
pub fn check_with(sequences: usize, tokens: usize, define: impl Fn(&mut Recorder<Training, f64>) -> Value) {
    let mut net = Recorder::new(sequences, tokens);
    let end = define(&mut net);
    let network = net.finish(end);
    let mut params = noise(2, network.parameters());
    let rows = sequences * tokens;
    let (ids, values) = ([3, 1, 3, 0, 6, 5, 2, 2, 4, 1], noise(3, rows * FEATURES));
    let ids: Vec<u16> = ids.into_iter().cycle().take(rows).collect();
    let targets: Vec<u16> = ids.iter().map(|id| (id + 2) % 7).collect();
    let given = Given { tokens: &ids, targets: &targets, values: &values, scale: 1.0, key: 9 };

    let mut memory = Memory::new(&network);
    let mut grad = vec![0.0; params.len()];
    network.forward(&params, &given, &mut memory);
    network.backward(&params, &given, &mut memory, &mut grad);
    let step = 1e-5;
    for tensor in network.tensors().iter().filter(|tensor| tensor.role == TensorRole::Weight) {
        for i in tensor.range.clone() {
            let mut at = |delta: f64| {
                let saved = params[i];
                params[i] = saved + delta;
                let loss = network.forward(&params, &given, &mut memory);
                params[i] = saved;
                loss
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            let error = (numeric - grad[i]).abs();
            assert!(
                error < 1e-7 * (1.0 + numeric.abs()),
                "{} at {}: differences give {numeric}, the backward pass {}",
                tensor.name,
                i - tensor.range.start,
                grad[i]
            );
        }
    }
}
