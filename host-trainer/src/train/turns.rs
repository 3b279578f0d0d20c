//! Sums of gradients whose order does not depend on the number of threads.

use crate::nn::math::{add, vectorized};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// A gradient and the loss that it belongs to.
#[derive(Debug)]
pub struct Sum {
    /// Flat like the parameters.
    pub grad: Vec<f32>,
    /// Sum over all rows.
    pub loss: f64,
}

impl Sum {
    /// Nothing, for as many parameters.
    pub fn zeros(len: usize) -> Self {
        Self { grad: vec![0.0; len], loss: 0.0 }
    }

    fn clear(&mut self) {
        self.grad.fill(0.0);
        self.loss = 0.0;
    }
}

/// What has been added up so far, and whose turn it is.
struct Turns<'a> {
    total: &'a mut Sum,
    next: usize,
    failed: bool,
}

/// Sets `total` to the sum of what `work` adds for the groups `0..groups`. Each worker, a thread of its own, has a sum
/// of one group at a time and adds it to the total when all groups before it are there: threads hardly wait, since they
/// take groups in order, and the result is the same for any number of them.
pub fn sum_in_turns<W: Send>(
    workers: &mut [(W, Sum)],
    groups: usize,
    total: &mut Sum,
    work: impl Fn(usize, &mut W, &mut Sum) + Sync,
) {
    total.clear();
    let taken = AtomicUsize::new(0);
    let turns = Mutex::new(Turns { total, next: 0, failed: false });
    let changed = Condvar::new();
    let (taken, turns, changed, work) = (&taken, &turns, &changed, &work);
    let run = move |(worker, sum): &mut (W, Sum)| {
        let _failure = Failure { turns, changed };
        loop {
            let group = taken.fetch_add(1, Ordering::Relaxed);
            if group >= groups {
                return;
            }
            sum.clear();
            work(group, worker, sum);
            let turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = |turns: &mut Turns<'_>| turns.next != group && !turns.failed;
            let mut turn = changed.wait_while(turn, waiting).unwrap_or_else(PoisonError::into_inner);
            if turn.failed {
                return;
            }
            vectorized(
                #[inline(always)]
                || add(&mut turn.total.grad, &sum.grad),
            );
            turn.total.loss += sum.loss;
            turn.next += 1;
            changed.notify_all();
        }
    };
    thread::scope(|scope| {
        let Some((main, others)) = workers.split_first_mut() else {
            return;
        };
        for other in others {
            scope.spawn(move || run(other));
        }
        run(main);
    });
}

/// Tells the others when a thread panics, so that none waits for it.
struct Failure<'a, 'b> {
    turns: &'a Mutex<Turns<'b>>,
    changed: &'a Condvar,
}

impl Drop for Failure<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.turns.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(threads: usize) -> (Vec<f32>, f64) {
        let mut workers: Vec<_> = (0..threads).map(|_| ((), Sum::zeros(3))).collect();
        let mut total = Sum::zeros(3);
        sum_in_turns(&mut workers, 20, &mut total, |group, (), sum| {
            // In another order, the small would be lost in the great.
            let value = if group % 3 == 1 { 1e8 } else { 0.1 * group as f32 };
            sum.grad.fill(if group % 3 == 2 { -value } else { value });
            sum.loss += 1.0;
        });
        (total.grad, total.loss)
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let (grad, loss) = sum(1);
        assert_eq!(loss, 20.0);
        for threads in [2, 3, 7] {
            assert_eq!(sum(threads), (grad.clone(), loss));
        }
    }

    #[test]
    #[should_panic]
    fn a_panic_on_any_thread_ends_all() {
        let mut workers: Vec<_> = (0..3).map(|_| ((), Sum::zeros(1))).collect();
        sum_in_turns(&mut workers, 20, &mut Sum::zeros(1), |group, (), _| assert_ne!(group, 5));
    }
}
