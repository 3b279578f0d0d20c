//! Linear layers: `y = x W^T + b` with `W` `[outputs, inputs]`.

use super::embedding::Table;
use super::graph::{Backward, Forward, Freeze, Keeps, Mode, Operation, Recorder, Value};
use super::math::add;
use super::matrix::{Matrix, MatrixMut, Write, matmul};
use super::real::Real;
use std::ops::Range;

/// `x` `[rows, inputs]` to `y` `[rows, outputs]`.
#[derive(Debug, Clone)]
struct Linear {
    inputs: usize,
    outputs: usize,
    /// `[outputs, inputs]`
    weight: Range<usize>,
    /// `[outputs]`
    bias: Option<Range<usize>>,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// `x` `[rows, inputs]` times matrices `[width, inputs]`, their results `[rows, width + width + ...]` beside one
    /// another. Declares `prefix.name.weight` of each, then `prefix.name.bias` of each if there are biases; shows each
    /// as `prefix.name`.
    pub fn linear(&mut self, prefix: &str, matrices: &[(&str, usize)], biases: bool, x: Value) -> Value {
        let inputs = x.width();
        let names = || matrices.iter().map(|&(name, width)| (format!("{prefix}.{name}"), width));
        let weights: Vec<_> =
            names().map(|(name, width)| self.tensor(&format!("{name}.weight"), &[width, inputs])).collect();
        let biases: Vec<_> = names()
            .filter(|_| biases)
            .map(|(name, width)| self.tensor(&format!("{name}.bias"), &[width]))
            .collect();
        let whole = |parts: &[Range<usize>]| Some(parts.first()?.start..parts.last()?.end);
        let weight = whole(&weights).expect("at least one matrix");
        let outputs = weight.len() / inputs;
        let linear = Linear { inputs, outputs, weight, bias: whole(&biases) };
        let y = self.record(linear, &[x], x.rows(), outputs);
        let mut start = 0;
        for (name, width) in names() {
            self.show_columns(name, y, start..start + width);
            start += width;
        }
        y
    }

    /// `x` `[rows, width]` times the rows of a table `[entries, width]`: a head, tied or not.
    pub fn project(&mut self, table: &Table, x: Value) -> Value {
        assert_eq!(x.width(), table.width, "the head's input");
        let weight = table.range.clone();
        let linear = Linear { inputs: table.width, outputs: table.entries, weight, bias: None };
        self.record(linear, &[x], x.rows(), table.entries)
    }
}

impl<R: Real> Operation<R> for Linear {
    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }

    fn has_parameters(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let [x, _] = pass.inputs;
        let rows = x.len() / inputs;
        let weight = &pass.params[self.weight.clone()];
        (pass.multiply)(
            MatrixMut::new(pass.output, rows, outputs),
            Write::Set,
            Matrix::new(x, rows, inputs),
            Matrix::new(weight, outputs, inputs).transposed(),
        );
        if let Some(bias) = self.bias.clone() {
            for y in pass.output.chunks_exact_mut(outputs) {
                add(y, &pass.params[bias.clone()]);
            }
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let ([x, _], dy, [dx, _]) = (pass.inputs, pass.doutput, pass.dinputs);
        let rows = x.len() / inputs;
        let dy_rows = Matrix::new(dy, rows, outputs);
        if dx.is_wanted() {
            let weight = &pass.params[self.weight.clone()];
            let dx_rows = MatrixMut::new(dx.values, rows, inputs);
            matmul(dx_rows, dx.write, dy_rows, Matrix::new(weight, outputs, inputs));
        }
        let dweight = MatrixMut::new(&mut pass.grad[self.weight.clone()], outputs, inputs);
        matmul(dweight, Write::Add, dy_rows.transposed(), Matrix::new(x, rows, inputs));
        if let Some(bias) = self.bias.clone() {
            let dbias = &mut pass.grad[bias];
            dy.chunks_exact(outputs).for_each(|dy| add(dbias, dy));
        }
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
        for biases in [false, true] {
            check(1, 3, |net| {
                let x = net.variable("x", 3, 5);
                net.linear("layer", &[("a", 4), ("b", 2)], biases, x)
            });
        }
    }

    #[test]
    fn a_table_read_twice_has_both_gradients() {
        check(1, 3, |net| {
            let table = net.table("table", 7, 4);
            let x = net.embedding(&table);
            net.project(&table, x)
        });
    }
}
