//! The sum of a stream and a branch of it.

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::math::add;
use super::real::Real;

/// Works where the branch lies, which nobody reads again.
#[derive(Debug, Clone)]
struct Residual;

impl<M: Mode, R: Real> Recorder<M, R> {
    /// `x + branch`, both `[rows, width]`.
    pub fn residual(&mut self, x: Value, branch: Value) -> Value {
        assert_eq!((x.rows(), x.width()), (branch.rows(), branch.width()), "a branch like its stream");
        self.record(Residual, &[branch, x], x.rows(), x.width())
    }
}

impl<R: Real> Operation<R> for Residual {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        add(pass.output, pass.inputs[1]);
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dy, dx] = pass.dinputs;
        dx.put(dy.values.iter().copied());
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::checks::check;

    #[test]
    fn gradients_of_both_ways() {
        check(1, 3, |net| {
            let x = net.variable("x", 3, 4);
            let branch = net.linear("branch", &[("a", 4)], false, x);
            net.residual(x, branch)
        });
    }

    #[test]
    fn a_branch_that_is_read_again_stays_as_it_was() {
        check(1, 3, |net| {
            let (x, y) = (net.variable("x", 3, 4), net.variable("y", 3, 4));
            let sum = net.residual(x, y);
            let product = net.linear("matrix", &[("a", 4)], false, y);
            net.residual(sum, product)
        });
    }
}
