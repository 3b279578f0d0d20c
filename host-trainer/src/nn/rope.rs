//! Rotary position embedding of adjacent pairs (Su et al. 2021, section 3.4).

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::real::Real;
use std::iter::zip;
use std::sync::Arc;

/// Cosines and sines of every position and pair.
#[derive(Debug)]
pub struct RopeTable<R> {
    pairs: usize,
    cos: Vec<R>,
    sin: Vec<R>,
}

impl<R: Real> RopeTable<R> {
    /// Pair `i` at position `t` turns by `t * theta^(-2i / head_dim)`.
    pub fn new(positions: usize, head_dim: usize, theta: f32) -> Self {
        let pairs = head_dim / 2;
        let angle = |position: usize, pair: usize| {
            let exponent = 2.0 * pair as f64 / head_dim as f64;
            position as f64 / libm::pow(f64::from(theta), exponent)
        };
        let table = |f: fn(f64) -> f64| {
            (0..positions).flat_map(|t| (0..pairs).map(move |i| R::of(f(angle(t, i))))).collect()
        };
        Self { pairs, cos: table(libm::cos), sin: table(libm::sin) }
    }
}

/// Rotates the first `width` values of each row `[stride]`, head by head.
#[derive(Debug, Clone)]
struct Rope<R> {
    table: Arc<RopeTable<R>>,
    stride: usize,
    width: usize,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// Rotates the first `width` columns of `x` `[rows, stride]`, a whole number of heads; a sequence's first row stands
    /// at position zero. The table must have a position for each token.
    pub fn rope(&mut self, table: &Arc<RopeTable<R>>, width: usize, x: Value) -> Value {
        let rope = Rope { table: Arc::clone(table), stride: x.width(), width };
        let positions = table.cos.len() / table.pairs;
        assert_eq!(positions, x.rows() / self.sequences(), "positions of the table, and of a sequence");
        self.record(rope, &[x], x.rows(), x.width())
    }
}

impl<R: Real> Rope<R> {
    /// Turning back is the transpose, since the rotation is orthogonal.
    fn rotate(&self, x: &mut [R], back: bool) {
        let RopeTable { pairs, ref cos, ref sin } = *self.table;
        let angles = zip(cos.chunks_exact(pairs), sin.chunks_exact(pairs)).cycle();
        for (row, (cos, sin)) in zip(x.chunks_exact_mut(self.stride), angles) {
            for head in row[..self.width].chunks_exact_mut(2 * pairs) {
                let (pairs, _) = head.as_chunks_mut::<2>();
                for ([a, b], (&cos, &sin)) in zip(pairs, zip(cos, sin)) {
                    let sin = if back { -sin } else { sin };
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }
}

impl<R: Real> Operation<R> for Rope<R> {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        self.rotate(pass.output, false);
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dx, _] = pass.dinputs;
        self.rotate(dx.values, true);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{check, output};
    use crate::nn::graph::{Given, Training};

    #[test]
    fn gradients() {
        check(2, 3, |net| {
            let x = net.variable("x", 6, 10);
            net.rope(&Arc::new(RopeTable::new(3, 4, 10_000.0)), 8, x)
        });
    }

    #[test]
    fn the_first_pair_turns_by_the_position_in_its_sequence() {
        let mut net = Recorder::<Training, f32>::new(2, 2);
        let x = net.variable("x", 4, 2);
        let y = net.rope(&Arc::new(RopeTable::new(2, 2, 10_000.0)), 2, x);
        let y = output(&net.finish(y), &[1.0, 0.0].repeat(4), &Given::default());
        assert_eq!(y, [1.0, 0.0, 1f32.cos(), 1f32.sin()].repeat(2));
    }
}
