//! Cross-entropy of the softmax of logits, in nats.

use super::math::softmax;

/// The sum of `-ln p(target)` over the rows of `logits` `[t, vocab_size]`, whose values are
/// replaced by probabilities.
pub fn forward(vocab_size: usize, logits: &mut [f32], targets: &[u16]) -> f64 {
    assert_eq!(logits.len(), targets.len() * vocab_size);
    logits
        .chunks_exact_mut(vocab_size)
        .zip(targets)
        .map(|(row, &target)| {
            let logit = row[usize::from(target)];
            f64::from(softmax(row, 1.0) - logit)
        })
        .sum()
}

/// Turns the probabilities that [`forward`] left into the gradient, by the logits, of the loss
/// times `scale`.
pub fn backward(vocab_size: usize, probabilities: &mut [f32], targets: &[u16], scale: f32) {
    for (row, &target) in probabilities.chunks_exact_mut(vocab_size).zip(targets) {
        row[usize::from(target)] -= 1.0;
        for value in row {
            *value *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    #[test]
    fn gradients() {
        let (vocab_size, targets, scale) = (7, [3, 0, 6], 0.25);
        let logits = noise(1, targets.len() * vocab_size);
        let mut dlogits = logits.clone();
        forward(vocab_size, &mut dlogits, &targets);
        backward(vocab_size, &mut dlogits, &targets, scale);
        agree(&logits, &[scale], &dlogits, |logits| {
            vec![forward(vocab_size, &mut logits.to_vec(), &targets) as f32]
        });
    }

    #[test]
    fn equal_logits_give_the_log_of_their_number() {
        let loss = forward(8, &mut [5.0; 16], &[1, 2]);
        assert!((loss - 2.0 * 8f64.ln()).abs() < 1e-6);
    }
}
