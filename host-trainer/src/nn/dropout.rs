//! Dropout (Srivastava et al. 2014), in the inverted form that leaves use alone.

use super::graph::{Backward, Forward, Freeze, Operation, Recorder, Training, Value};
use super::random::Random;
use super::real::Real;

/// Multiplies by a mask, which is drawn again from its key in the backward pass, so that none is stored.
#[derive(Debug, Clone)]
struct Dropout {
    rate: f32,
    place: u64,
}

impl<R: Real> Recorder<Training, R> {
    /// `x` `[rows, width]` with a fraction of its values, chosen anew at each call, zero and the others greater for it.
    pub fn dropout(&mut self, rate: f32, x: Value) -> Value {
        check_rate(rate);
        let place = self.place();
        if rate == 0.0 {
            return x;
        }
        self.record(Dropout { rate, place }, &[x], x.rows(), x.width())
    }
}

/// Panics if so much cannot be dropped.
pub(super) fn check_rate(rate: f32) {
    assert!((0.0..1.0).contains(&rate), "dropout: found {rate}, wanted 0 to less than 1");
}

/// Multiplies by the mask of a key. The map is diagonal, so this is the backward pass too.
pub(super) fn apply<R: Real>(rate: f32, key: &[u64], x: &mut [R]) {
    let mut random = Random::keyed(key);
    let scale = R::ONE / (R::ONE - R::of(f64::from(rate)));
    for x in x {
        *x *= if random.uniform() < rate { R::ZERO } else { scale };
    }
}

impl<R: Real> Operation<R> for Dropout {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        apply(self.rate, &[pass.given.key, self.place], pass.output);
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dx, _] = pass.dinputs;
        apply(self.rate, &[pass.given.key, self.place], dx.values);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{check, output};
    use crate::nn::graph::Given;

    #[test]
    fn gradients() {
        check(1, 5, |net| {
            let x = net.variable("x", 5, 10);
            net.dropout(0.3, x)
        });
    }

    #[test]
    fn masks_keep_the_mean_differ_by_key_and_are_gone_in_use() {
        let mut net = Recorder::<Training, f64>::new(1, 100);
        let x = net.variable("x", 100, 100);
        let y = net.dropout(0.3, x);
        let network = net.finish(y);
        let ones = [1.0; 10_000];
        let at = |key| output(&network, &ones, &Given { key, ..Given::default() });
        let mean = at(1).iter().sum::<f64>() / 1e4;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
        let frozen = network.freeze();
        let mut memory = crate::nn::graph::Memory::new(&frozen);
        frozen.infer(&ones, &Given::default(), &mut memory);
        assert_eq!(frozen.output(&memory), ones);
    }
}
