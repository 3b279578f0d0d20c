//! What a student learns from a teacher: the teacher's distributions (Hinton, Vinyals and Dean 2015), mixed with the
//! text's own tokens.

use super::cross_entropy::IGNORED;
use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::math::{softmax, vectorized};
use super::real::Real;

/// `share * T^2 * KL(teacher || student)` of the softmax at temperature `T`, and `1 - share` of the cross-entropy,
/// summed over the rows. The logits become the gradient.
#[derive(Debug, Clone)]
struct Distillation {
    classes: usize,
    temperature: f64,
    share: f64,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// Ends a network with the loss of `logits` `[rows, classes]`, of which [`Given::values`](super::graph::Given::values)
    /// has the teacher's, and [`Given::targets`](super::graph::Given::targets) the tokens; rows whose target is
    /// [`IGNORED`] count nothing. The gradient of the divergence
    /// does not shrink with a `temperature` above 1; `share` is its part, the rest is the tokens'.
    pub fn distillation(&mut self, temperature: f64, share: f64, logits: Value) -> Value {
        assert!(temperature > 0.0 && (0.0..=1.0).contains(&share), "{temperature}, {share}");
        let classes = logits.width();
        self.record(Distillation { classes, temperature, share }, &[logits], logits.rows(), classes)
    }
}

impl Distillation {
    /// The loss of a row, which becomes its gradient. `spare` is memory for the probabilities of one row.
    #[inline(always)]
    fn row<R: Real>(&self, row: &mut [R], teacher: &[R], target: u16, [own, theirs]: [&mut [R]; 2]) -> f64 {
        if target == IGNORED {
            row.fill(R::ZERO);
            return 0.0;
        }
        let inverse = R::of(self.temperature.recip());
        own.copy_from_slice(row);
        theirs.copy_from_slice(teacher);
        let own_sum = softmax(own, inverse);
        let their_sum = softmax(theirs, inverse);
        let mut divergence = their_sum * R::of(-1.0) + own_sum;
        for ((&s, &t), &p) in row.iter().zip(teacher).zip(theirs.iter()) {
            divergence += p * (t - s) * inverse;
        }
        let logit = row[usize::from(target)];
        let hard = R::of(1.0 - self.share);
        let entropy = if self.share < 1.0 { softmax(row, R::ONE) - logit } else { R::ZERO };
        // Of T^2 KL by a logit: T (own - theirs).
        let soft = R::of(self.share * self.temperature);
        for ((x, &own), &theirs) in row.iter_mut().zip(own.iter()).zip(theirs.iter()) {
            *x = soft * (own - theirs) + if self.share < 1.0 { hard * *x } else { R::ZERO };
        }
        row[usize::from(target)] -= hard;
        self.share * self.temperature.powi(2) * divergence.wide() + (1.0 - self.share) * entropy.wide()
    }
}

impl<R: Real> Operation<R> for Distillation {
    fn in_place(&self) -> bool {
        true
    }

    fn is_loss(&self) -> bool {
        true
    }

    fn saved(&self) -> usize {
        2 * self.classes
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let (classes, given) = (self.classes, pass.given);
        assert_eq!(pass.output.len(), given.targets.len() * classes, "a target for each row");
        assert_eq!(pass.output.len(), given.values.len(), "the teacher's logits for each row");
        let (own, theirs) = pass.saved.split_at_mut(classes);
        let rows = pass.output.chunks_exact_mut(classes).zip(given.values.chunks_exact(classes));
        *pass.loss += vectorized(
            #[inline(always)]
            || {
                rows.zip(given.targets).fold(0.0, |loss, ((row, teacher), &target)| {
                    loss + self.row(row, teacher, target, [own, theirs])
                })
            },
        );
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let [dlogits, _] = pass.dinputs;
        let scale = pass.given.scale;
        dlogits.values.iter_mut().for_each(|d| *d *= scale);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::noise;
    use crate::nn::graph::{Given, Memory, Training};

    const CLASSES: usize = 7;

    fn run(logits: &[f64], teacher: &[f64], temperature: f64, share: f64) -> (f64, Vec<f64>) {
        run_with(logits, teacher, temperature, share, &vec![3; logits.len() / CLASSES])
    }

    fn run_with(
        logits: &[f64],
        teacher: &[f64],
        temperature: f64,
        share: f64,
        targets: &[u16],
    ) -> (f64, Vec<f64>) {
        let rows = targets.len();
        let mut net = Recorder::<Training, f64>::new(1, rows);
        let x = net.variable("logits", rows, CLASSES);
        let end = net.distillation(temperature, share, x);
        let network = net.finish(end);
        let given = Given { targets, values: teacher, ..Given::default() };
        let (mut memory, mut grad) = (Memory::new(&network), vec![0.0; logits.len()]);
        let loss = network.forward(logits, &given, &mut memory);
        network.backward(logits, &given, &mut memory, &mut grad);
        (loss, grad)
    }

    #[test]
    fn gradients() {
        let (logits, teacher) = (noise(1, 3 * CLASSES), noise(2, 3 * CLASSES));
        for (temperature, share) in [(1.0, 1.0), (2.0, 1.0), (1.5, 0.4), (1.0, 0.0)] {
            let (_, grad) = run(&logits, &teacher, temperature, share);
            for i in 0..logits.len() {
                let at = |d: f64| {
                    let mut logits = logits.clone();
                    logits[i] += d;
                    run(&logits, &teacher, temperature, share).0
                };
                let wanted = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!(
                    (grad[i] - wanted).abs() < 1e-8,
                    "{temperature}, {share}, {i}: {}, {wanted}",
                    grad[i]
                );
            }
        }
    }

    #[test]
    fn ignored_rows_count_nothing() {
        let (logits, teacher) = (noise(1, 3 * CLASSES), noise(2, 3 * CLASSES));
        let (loss, grad) = run_with(&logits, &teacher, 1.5, 0.4, &[3, IGNORED, 3]);
        let (all, _) = run(&logits, &teacher, 1.5, 0.4);
        let row = CLASSES..2 * CLASSES;
        let (one, _) = run(&logits[row.clone()], &teacher[row.clone()], 1.5, 0.4);
        assert!(one > 0.0 && (loss + one - all).abs() < 1e-12, "{loss} + {one}, {all}");
        assert!(grad[row].iter().all(|&g| g == 0.0));
    }

    #[test]
    fn a_student_like_its_teacher_has_nothing_to_learn() {
        let logits = noise(1, 2 * CLASSES);
        let shifted: Vec<f64> = logits.iter().map(|l| l + 5.0).collect();
        let (loss, grad) = run(&shifted, &logits, 2.0, 1.0);
        assert!(loss.abs() < 1e-12 && grad.iter().all(|g| g.abs() < 1e-12), "{loss}");
        assert!(run(&noise(3, 2 * CLASSES), &logits, 2.0, 1.0).0 > 1e-3);
    }
}
