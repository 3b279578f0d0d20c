//! One row for a sequence: the mean of its rows, or that of a token of its own (Devlin et al. 2019, section 3).

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::math::add;
use super::real::Real;
use std::ops::Range;

/// The mean of the rows of each sequence `[tokens, width]`.
#[derive(Debug, Clone)]
struct Mean {
    tokens: usize,
    width: usize,
}

/// Puts parameters `[width]` before each sequence, `len` values long.
#[derive(Debug, Clone)]
struct ClassToken {
    len: usize,
    token: Range<usize>,
}

/// The first row of each sequence, `len` values long.
#[derive(Debug, Clone)]
struct First {
    len: usize,
    width: usize,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// `x` `[sequences * tokens, width]` to the means of the sequences `[sequences, width]`.
    pub fn mean(&mut self, x: Value) -> Value {
        let (sequences, width) = (self.sequences(), x.width());
        self.record(Mean { tokens: x.rows() / sequences, width }, &[x], sequences, width)
    }

    /// `x` `[sequences * tokens, width]` to `[sequences * (tokens + 1), width]`, with a learned row in front of each
    /// sequence. Declares `name` `[width]`.
    pub fn class_token(&mut self, name: &str, x: Value) -> Value {
        let (sequences, width) = (self.sequences(), x.width());
        let token = self.tensor(name, &[width]);
        let len = x.rows() / sequences * width;
        self.record(ClassToken { len, token }, &[x], x.rows() + sequences, width)
    }

    /// `x` `[sequences * tokens, width]` to the first rows of the sequences `[sequences, width]`.
    pub fn first(&mut self, x: Value) -> Value {
        let (sequences, width) = (self.sequences(), x.width());
        self.record(First { len: x.rows() / sequences * width, width }, &[x], sequences, width)
    }
}

impl<R: Real> Operation<R> for Mean {
    fn forward(&self, pass: Forward<'_, R>) {
        let scale = R::ONE / R::of(self.tokens as f64);
        let sequences = pass.inputs[0].chunks_exact(self.tokens * self.width);
        for (y, sequence) in pass.output.chunks_exact_mut(self.width).zip(sequences) {
            y.fill(R::ZERO);
            sequence.chunks_exact(self.width).for_each(|x| add(y, x));
            y.iter_mut().for_each(|y| *y *= scale);
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let scale = R::ONE / R::of(self.tokens as f64);
        let [dx, _] = pass.dinputs;
        let rows = pass.doutput.chunks_exact(self.width);
        dx.put(rows.flat_map(|dy| (0..self.tokens).flat_map(move |_| dy.iter().map(move |&dy| dy * scale))));
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl<R: Real> Operation<R> for ClassToken {
    fn has_parameters(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let token = &pass.params[self.token.clone()];
        let sequences = pass.output.chunks_exact_mut(self.len + token.len());
        for (y, x) in sequences.zip(pass.inputs[0].chunks_exact(self.len)) {
            let (first, rest) = y.split_at_mut(token.len());
            first.copy_from_slice(token);
            rest.copy_from_slice(x);
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dx, _] = pass.dinputs;
        let width = self.token.len();
        let sequences = || pass.doutput.chunks_exact(self.len + width);
        let dtoken = &mut pass.grad[self.token.clone()];
        sequences().for_each(|dy| add(dtoken, &dy[..width]));
        dx.put(sequences().flat_map(|dy| dy[width..].iter().copied()));
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl<R: Real> Operation<R> for First {
    fn forward(&self, pass: Forward<'_, R>) {
        let sequences = pass.inputs[0].chunks_exact(self.len);
        for (y, x) in pass.output.chunks_exact_mut(self.width).zip(sequences) {
            y.copy_from_slice(&x[..self.width]);
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dx, _] = pass.dinputs;
        let sequences = dx.cleared().chunks_exact_mut(self.len);
        sequences.zip(pass.doutput.chunks_exact(self.width)).for_each(|(dx, dy)| add(dx, dy));
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::checks::check;

    #[test]
    fn gradients() {
        check(2, 3, |net| {
            let x = net.variable("x", 6, 4);
            net.mean(x)
        });
        check(2, 3, |net| {
            let x = net.variable("x", 6, 4);
            let x = net.class_token("class", x);
            net.linear("matrix", &[("a", 2)], false, x)
        });
        check(2, 3, |net| {
            let x = net.variable("x", 6, 4);
            net.first(x)
        });
    }

    #[test]
    fn a_value_pooled_twice_has_both_gradients() {
        check(2, 3, |net| {
            let x = net.variable("x", 6, 4);
            let (mean, first) = (net.mean(x), net.first(x));
            net.residual(mean, first)
        });
    }
}
