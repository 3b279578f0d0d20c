//! Positions that are added to a sequence: learned, or sines of many periods (Vaswani et al. 2017, section 3.5).

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::math::add;
use super::real::Real;
use std::ops::Range;
use std::sync::Arc;

/// Adds row `t` of parameters `[positions, width]` to row `t` of each sequence `[tokens, width]`.
#[derive(Debug, Clone)]
struct Learned {
    /// Values of a sequence.
    len: usize,
    table: Range<usize>,
}

/// Adds fixed rows `[tokens, width]` to each sequence.
#[derive(Debug, Clone)]
struct Fixed<R>(Arc<[R]>);

impl<M: Mode, R: Real> Recorder<M, R> {
    /// Adds a learned row for each position to `x` `[sequences * tokens, width]`. Declares `name` `[positions, width]`,
    /// of which the first `tokens` are used.
    pub fn learned_positions(&mut self, name: &str, positions: usize, x: Value) -> Value {
        let len = x.rows() / self.sequences() * x.width();
        let table = self.tensor(name, &[positions, x.width()]);
        assert!(len <= table.len(), "{name}: found {positions} positions, wanted one for each token");
        self.record(Learned { len, table }, &[x], x.rows(), x.width())
    }

    /// Adds `sin(t / 10000^(2i / width))` to column `2i` of row `t`, and the cosine to the next column.
    pub fn sinusoidal_positions(&mut self, x: Value) -> Value {
        let (width, tokens) = (x.width(), x.rows() / self.sequences());
        let value = |t: usize, column: usize| {
            let angle = t as f64 / libm::pow(10_000.0, (column / 2 * 2) as f64 / width as f64);
            R::of(if column.is_multiple_of(2) { libm::sin(angle) } else { libm::cos(angle) })
        };
        let table = (0..tokens).flat_map(|t| (0..width).map(move |column| value(t, column))).collect();
        self.record(Fixed(table), &[x], x.rows(), width)
    }
}

impl<R: Real> Operation<R> for Learned {
    fn in_place(&self) -> bool {
        true
    }

    fn has_parameters(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let table = &pass.params[self.table.clone()][..self.len];
        pass.output.chunks_exact_mut(self.len).for_each(|sequence| add(sequence, table));
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dx, _] = pass.dinputs;
        let dtable = &mut pass.grad[self.table.clone()];
        dx.values.chunks_exact(self.len).for_each(|sequence| add(dtable, sequence));
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl<R: Real> Operation<R> for Fixed<R> {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        pass.output.chunks_exact_mut(self.0.len()).for_each(|sequence| add(sequence, &self.0));
    }

    fn backward(&self, _: Backward<'_, R>) {}

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::checks::{FEATURES, check};

    #[test]
    fn gradients_of_learned_positions() {
        check(2, 3, |net| {
            let x = net.variable("x", 6, 4);
            net.learned_positions("positions", 5, x)
        });
        check(2, 3, |net| {
            let x = net.input(FEATURES);
            net.learned_positions("positions", 5, x)
        });
    }

    #[test]
    fn gradients_through_sinusoidal_positions() {
        check(2, 3, |net| {
            let x = net.variable("x", 6, 5);
            net.sinusoidal_positions(x)
        });
    }
}
