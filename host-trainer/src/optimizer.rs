//! AdamW (Loshchilov and Hutter 2019) and clipping by the global norm.

use crate::model::Params;

/// Optimizer and its moments.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Decay rate of the first moment.
    pub beta1: f32,
    /// Decay rate of the second moment.
    pub beta2: f32,
    /// Keeps the denominator from zero.
    pub eps: f32,
    /// Fraction of a matrix, times the learning rate, that a step takes away. Gains and biases do
    /// not decay.
    pub weight_decay: f32,
    /// First moments, flat like the parameters.
    pub m: Vec<f32>,
    /// Second moments.
    pub v: Vec<f32>,
}

impl AdamW {
    /// The usual rates for language models, 0.9 and 0.95, with moments of zero.
    pub fn new(len: usize, weight_decay: f32) -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay, m: vec![0.0; len], v: vec![0.0; len] }
    }

    /// Takes step number `step`, counted from one, along a gradient of the parameters' layout.
    pub fn update(&mut self, params: &mut Params, grad: &[f32], learning_rate: f32, step: u64) {
        let correction = |beta: f32| (1.0 - libm::pow(f64::from(beta), step as f64)) as f32;
        let (first, second) = (correction(self.beta1), correction(self.beta2));
        let tensors: Vec<_> =
            params.tensors().iter().map(|tensor| (tensor.range.clone(), tensor.is_matrix())).collect();
        for (range, is_matrix) in tensors {
            let decay = if is_matrix { self.weight_decay } else { 0.0 };
            let keep = 1.0 - learning_rate * decay;
            let values = params.values[range.clone()].iter_mut();
            let grad = &grad[range.clone()];
            let moments = self.m[range.clone()].iter_mut().zip(&mut self.v[range]);
            for ((value, g), (m, v)) in values.zip(grad).zip(moments) {
                *m = self.beta1 * *m + (1.0 - self.beta1) * g;
                *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
                let direction = (*m / first) / ((*v / second).sqrt() + self.eps);
                *value = *value * keep - learning_rate * direction;
            }
        }
    }
}

/// Scales a gradient down to a norm of at most `limit`; returns the norm it had.
pub fn clip_norm(grad: &mut [f32], limit: f32) -> f32 {
    let square: f64 = grad.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    let norm = square.sqrt() as f32;
    if norm > limit {
        let scale = limit / norm;
        grad.iter_mut().for_each(|g| *g *= scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;

    fn params() -> Params {
        let config: ModelConfig = toml::from_str(
            "dim = 4\nhidden_dim = 4\nn_layers = 1\nn_heads = 1\nn_kv_heads = 1\n\
             vocab_size = 3\nseq_len = 2\n",
        )
        .unwrap();
        Params::init(&config, 1)
    }

    #[test]
    fn a_first_step_is_the_learning_rate_long_and_only_matrices_decay() {
        let before = params();
        let mut after = before.clone();
        let grad: Vec<f32> = (0..before.values.len()).map(|i| if i % 2 == 0 { 3.0 } else { -0.01 }).collect();
        AdamW::new(grad.len(), 0.5).update(&mut after, &grad, 0.1, 1);
        for tensor in before.tensors() {
            for i in tensor.range.clone() {
                let kept = if tensor.is_matrix() { 0.95 } else { 1.0 };
                let expected = before.values[i] * kept - 0.1 * grad[i].signum();
                assert!((after.values[i] - expected).abs() < 1e-5, "{} {i}", tensor.name);
            }
        }
    }

    #[test]
    fn finds_the_minimum_of_a_parabola() {
        let mut params = params();
        let len = params.values.len();
        let mut optimizer = AdamW::new(len, 0.0);
        for step in 1..=2000 {
            let grad: Vec<f32> = params.values.iter().map(|x| x - 0.3).collect();
            optimizer.update(&mut params, &grad, 0.01, step);
        }
        assert!(params.values.iter().all(|x| (x - 0.3).abs() < 1e-3));
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut grad = [3.0, -4.0];
        assert_eq!(clip_norm(&mut grad, 1.0), 5.0);
        assert_eq!(grad, [0.6, -0.8]);
        assert!((clip_norm(&mut grad, 2.0) - 1.0).abs() < 1e-6);
        assert_eq!(grad, [0.6, -0.8]);
    }
}
