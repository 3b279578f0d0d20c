//! AdamW (Loshchilov and Hutter 2019), Muon, and clipping by the global norm.

mod muon;
mod rules;

pub use rules::{Finetune, Lora, Rule, rules};
pub(crate) use rules::{LORA_A, LORA_B, check_pattern};

use serde::{Deserialize, Serialize};

/// Which optimizer takes the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Method {
    /// Adam with decoupled weight decay
    #[default]
    AdamW,
    /// Orthogonalized momentum for the matrices of the blocks, AdamW for everything else
    Muon,
}

impl Method {
    /// Its name in configurations and states.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::Muon => "muon",
        }
    }
}

/// What all tensors share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Decay rate of AdamW's first moment.
    pub beta1: f32,
    /// Decay rate of AdamW's second moment.
    pub beta2: f32,
    /// Decay rate of Muon's momentum.
    pub momentum: f32,
    /// Fraction of a tensor that decays, times the learning rate, that a step takes away.
    pub weight_decay: f32,
}

/// Keeps AdamW's denominator from zero.
const EPS: f32 = 1e-8;

/// An optimizer: what it does with each tensor, and what it remembers.
#[derive(Debug, Clone)]
pub struct Optimizer {
    settings: Settings,
    rules: Vec<Rule>,
    /// First moments of the gradient, or momentum, flat like the parameters.
    pub m: Vec<f32>,
    /// Second moments; Muon's matrices leave them zero.
    pub v: Vec<f32>,
}

impl Optimizer {
    /// An optimizer of `len` parameters with moments of zero. Rules stand in the order of their tensors; what none is
    /// about does not change.
    pub fn new(len: usize, settings: Settings, rules: Vec<Rule>) -> Self {
        Self { settings, rules, m: vec![0.0; len], v: vec![0.0; len] }
    }

    /// Takes what does not learn out of a gradient, so that its norm is that of the rest.
    pub fn mask(&self, grad: &mut [f32]) {
        let mut start = 0;
        for rule in &self.rules {
            grad[start..rule.range.start].fill(0.0);
            start = rule.range.end;
        }
        grad[start..].fill(0.0);
    }

    /// Takes step number `step`, counted from one, along a gradient of the parameters' layout.
    pub fn update(&mut self, params: &mut [f32], grad: &[f32], learning_rate: f32, step: u64) {
        for rule in &self.rules {
            let rate = learning_rate * rule.rate;
            let range = rule.range.clone();
            let decay = if rule.decays { self.settings.weight_decay } else { 0.0 };
            let tensor = Slices {
                values: &mut params[range.clone()],
                grad: &grad[range.clone()],
                m: &mut self.m[range.clone()],
                v: &mut self.v[range],
            };
            match rule.muon {
                None => tensor.adam(&self.settings, rate, 1.0 - rate * decay, step),
                Some(columns) => tensor.muon(&self.settings, rate, 1.0 - rate * decay, columns),
            }
        }
    }
}

/// A tensor with all that a step reads and writes.
struct Slices<'a> {
    values: &'a mut [f32],
    grad: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Slices<'_> {
    fn adam(self, settings: &Settings, rate: f32, keep: f32, step: u64) {
        let Settings { beta1, beta2, .. } = *settings;
        let correction = |beta: f32| (1.0 - libm::pow(f64::from(beta), step as f64)) as f32;
        let (first, second) = (correction(beta1), correction(beta2));
        let moments = self.m.iter_mut().zip(self.v);
        for ((value, g), (m, v)) in self.values.iter_mut().zip(self.grad).zip(moments) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let direction = (*m / first) / ((*v / second).sqrt() + EPS);
            *value = *value * keep - rate * direction;
        }
    }

    fn muon(self, settings: &Settings, rate: f32, keep: f32, columns: usize) {
        let beta = settings.momentum;
        // Nesterov: one step of the momentum ahead.
        let mut direction: Vec<f32> = Vec::with_capacity(self.grad.len());
        for (m, g) in self.m.iter_mut().zip(self.grad) {
            *m = beta * *m + g;
            direction.push(g + beta * *m);
        }
        let rows = direction.len() / columns;
        muon::orthogonalize(&mut direction, rows, columns);
        let rate = rate * muon::scale(rows, columns);
        for (value, direction) in self.values.iter_mut().zip(direction) {
            *value = *value * keep - rate * direction;
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
    use std::ops::Range;

    fn whole(range: Range<usize>) -> Rule {
        Rule { range, rate: 1.0, decays: false, muon: None }
    }

    const SETTINGS: Settings = Settings { beta1: 0.9, beta2: 0.95, momentum: 0.95, weight_decay: 0.5 };

    #[test]
    fn a_first_step_is_the_learning_rate_long_and_only_what_decays_is_kept_less() {
        let rules = vec![
            Rule { decays: true, ..whole(0..4) },
            whole(4..6),
            // 6..8 is frozen
            Rule { rate: 0.1, ..whole(8..10) },
        ];
        let grad: Vec<f32> = (0..10).map(|i| if i % 2 == 0 { 3.0 } else { -0.01 }).collect();
        let mut values = [2.0f32; 10];
        Optimizer::new(10, SETTINGS, rules).update(&mut values, &grad, 0.1, 1);
        for (i, value) in values.into_iter().enumerate() {
            let expected = match i {
                0..4 => 2.0 * 0.95 - 0.1 * grad[i].signum(),
                4..6 => 2.0 - 0.1 * grad[i].signum(),
                6..8 => 2.0,
                _ => 2.0 - 0.01 * grad[i].signum(),
            };
            assert!((value - expected).abs() < 1e-5, "{i}: {value}, wanted {expected}");
        }
    }

    #[test]
    fn both_find_the_minimum_of_a_parabola() {
        for muon in [None, Some(4)] {
            let mut values: Vec<f32> = (0..12).map(|i| (i * 7 % 5) as f32 / 5.0).collect();
            let mut optimizer = Optimizer::new(12, SETTINGS, vec![Rule { muon, ..whole(0..12) }]);
            for step in 1..=3000 {
                let grad: Vec<f32> = values.iter().map(|x| x - 0.3).collect();
                optimizer.update(&mut values, &grad, 0.02 * (1.0 - step as f32 / 3001.0), step);
            }
            assert!(values.iter().all(|x| (x - 0.3).abs() < 1e-2), "{muon:?}: {values:?}");
        }
    }

    #[test]
    fn a_mask_leaves_what_learns() {
        let optimizer = Optimizer::new(6, SETTINGS, vec![whole(1..2), whole(3..5)]);
        let mut grad = [1.0; 6];
        optimizer.mask(&mut grad);
        assert_eq!(grad, [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
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
