//! Token embeddings, and features in their place.

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::math::add;
use super::real::Real;
use std::ops::Range;

/// A matrix `[entries, width]` whose rows belong to tokens, to read from or to project on.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) entries: usize,
    pub(super) width: usize,
    pub(super) range: Range<usize>,
}

/// The tokens' rows of a table, `[rows, width]`.
#[derive(Debug, Clone)]
struct Embedding(Table);

/// [`Given::values`](super::graph::Given::values) `[rows, width]`.
#[derive(Debug, Clone)]
struct Input;

impl<M: Mode, R: Real> Recorder<M, R> {
    /// Declares a matrix `[entries, width]`.
    pub fn table(&mut self, name: &str, entries: usize, width: usize) -> Table {
        Table { entries, width, range: self.tensor(name, &[entries, width]) }
    }

    /// Row `i` is the table's row of token `i`.
    pub fn embedding(&mut self, table: &Table) -> Value {
        let rows = self.sequences() * self.tokens();
        self.record(Embedding(table.clone()), &[], rows, table.width)
    }

    /// The features that a call is given, `[rows, width]`.
    pub fn input(&mut self, width: usize) -> Value {
        let rows = self.sequences() * self.tokens();
        self.record(Input, &[], rows, width)
    }
}

impl<R: Real> Operation<R> for Embedding {
    fn has_parameters(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let Table { width, ref range, .. } = self.0;
        assert_eq!(pass.given.tokens.len() * width, pass.output.len(), "as many tokens as were recorded");
        let table = &pass.params[range.clone()];
        for (x, &token) in pass.output.chunks_exact_mut(width).zip(pass.given.tokens) {
            x.copy_from_slice(&table[usize::from(token) * width..][..width]);
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let Table { width, ref range, .. } = self.0;
        let dtable = &mut pass.grad[range.clone()];
        for (dx, &token) in pass.doutput.chunks_exact(width).zip(pass.given.tokens) {
            add(&mut dtable[usize::from(token) * width..][..width], dx);
        }
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl<R: Real> Operation<R> for Input {
    fn forward(&self, pass: Forward<'_, R>) {
        pass.output.copy_from_slice(pass.given.values);
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
    fn gradients() {
        check(2, 3, |net| {
            let table = net.table("table", 7, 3);
            net.embedding(&table)
        });
    }

    #[test]
    fn features_have_no_gradient_but_what_reads_them_has() {
        check(2, 3, |net| {
            let x = net.input(FEATURES);
            net.linear("layer", &[("a", 2)], true, x)
        });
    }
}
