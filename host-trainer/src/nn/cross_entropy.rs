//! Cross-entropy of the softmax of logits, in nats.

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::math::{softmax, sum, vectorized};
use super::real::Real;
use std::iter::zip;

/// The target of a row that does not count, such as padding.
pub const IGNORED: u16 = u16::MAX;

/// The sum of `-ln p(target)` over the rows of logits `[rows, classes]`, which become probabilities and, in the
/// backward pass, their gradient. With a smoothing of `s` the target is `1 - s` of the one class and `s / classes` of
/// every class (Szegedy et al. 2016, section 7).
#[derive(Debug, Clone)]
struct CrossEntropy {
    classes: usize,
    smoothing: f64,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// Ends a network with the loss of `logits` `[rows, classes]`, of which
    /// [`Given::targets`](super::graph::Given::targets) has one for each row; rows whose target is [`IGNORED`] count
    /// nothing. The output is the probabilities.
    pub fn cross_entropy(&mut self, smoothing: f64, logits: Value) -> Value {
        let classes = logits.width();
        assert!(classes <= usize::from(IGNORED), "found {classes} classes, wanted at most {IGNORED}");
        self.record(CrossEntropy { classes, smoothing }, &[logits], logits.rows(), classes)
    }
}

impl CrossEntropy {
    /// The loss of a row, which becomes probabilities.
    #[inline(always)]
    fn row<R: Real>(&self, row: &mut [R], target: u16) -> f64 {
        let mean = if self.smoothing > 0.0 { (sum(row) / R::of(self.classes as f64)).wide() } else { 0.0 };
        let logit = row.get(usize::from(target)).copied();
        let log_sum = softmax(row, R::ONE);
        // With smoothing the logit gives way to the mean of all. A target that is ignored has no logit.
        logit.map_or(0.0, |logit| (log_sum - logit).wide() + self.smoothing * (logit.wide() - mean))
    }
}

impl<R: Real> Operation<R> for CrossEntropy {
    fn in_place(&self) -> bool {
        true
    }

    fn is_loss(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let (classes, targets) = (self.classes, pass.given.targets);
        assert_eq!(pass.output.len(), targets.len() * classes, "a target for each row");
        let known = |&target: &u16| usize::from(target) < classes || target == IGNORED;
        assert!(targets.iter().all(known), "targets of the classes, or ignored");
        let loss = vectorized(
            #[inline(always)]
            || {
                let rows = zip(pass.output.chunks_exact_mut(classes), targets);
                rows.fold(*pass.loss, |loss, (row, &target)| loss + self.row(row, target))
            },
        );
        *pass.loss = loss;
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dlogits, _] = pass.dinputs;
        let scale = pass.given.scale;
        let everywhere = R::of(self.smoothing / self.classes as f64);
        let there = R::of(1.0 - self.smoothing);
        for (row, &target) in zip(dlogits.values.chunks_exact_mut(self.classes), pass.given.targets) {
            if target == IGNORED {
                row.fill(R::ZERO);
                continue;
            }
            row[usize::from(target)] -= there;
            for value in row {
                *value = (*value - everywhere) * scale;
            }
        }
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::check_with;
    use crate::nn::graph::{Given, Memory, Training};

    #[test]
    fn gradients() {
        for smoothing in [0.0, 0.1] {
            check_with(1, 3, |net| {
                let logits = net.variable("logits", 3, 7);
                net.cross_entropy(smoothing, logits)
            });
        }
    }

    fn run(logits: &[f64], classes: usize, targets: &[u16]) -> (f64, Vec<f64>) {
        let mut net = Recorder::<Training, f64>::new(1, targets.len());
        let x = net.variable("logits", targets.len(), classes);
        let end = net.cross_entropy(0.0, x);
        let network = net.finish(end);
        let (mut memory, mut grad) = (Memory::new(&network), vec![0.0; logits.len()]);
        let given = Given { targets, ..Given::default() };
        let loss = network.forward(logits, &given, &mut memory);
        network.backward(logits, &given, &mut memory, &mut grad);
        (loss, grad)
    }

    #[test]
    fn equal_logits_give_the_log_of_their_number() {
        let (loss, _) = run(&[5.0; 16], 8, &[1, 2]);
        assert!((loss - 2.0 * 8f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn ignored_rows_count_nothing() {
        let (two, _) = run(&[1.0, 2.0, 3.0, 4.0, 6.0, 9.0], 2, &[1, 0, 0]);
        let (one, grad) = run(&[1.0, 2.0, 3.0, 4.0, 6.0, 9.0], 2, &[1, IGNORED, 0]);
        let (alone, _) = run(&[3.0, 4.0], 2, &[0]);
        assert!((two - alone - one).abs() < 1e-12);
        assert_eq!(grad[2..4], [0.0, 0.0]);
    }
}
