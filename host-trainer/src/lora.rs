//! Adapters of low rank (Hu et al. 2021), on a network that does not know of them.
//!
//! The network always runs with `W = W0 + scale B A`. By the chain rule the factors' gradients follow from that of `W`:
//! `dB = scale dW A^T`, `dA = scale B^T dW`. So every checkpoint is a plain one, with the adapters in it, and only the
//! state of a run has them apart. At the sizes of microcontrollers the full gradient is no burden.

use crate::model::HEAD;
use crate::nn::graph::{Tensor, TensorRole};
use crate::nn::matrix::{Matrix, MatrixMut, Write, matmul};
use crate::nn::random::Random;
use crate::optimizer::{LORA_A, LORA_B, Lora, check_pattern};
use anyhow::{Result, ensure};
use std::ops::Range;

/// Keeps the initial factors' random stream apart from any other of the same seed.
const ADAPTER_STREAM: u64 = 0x10fa;

/// The adapters of a model, and the model that they are added to.
#[derive(Debug, Clone)]
pub struct Adapters {
    /// The parameters without adapters.
    pub base: Vec<f32>,
    /// Both factors of each adapter, flat.
    pub values: Vec<f32>,
    /// Their gradient.
    pub grad: Vec<f32>,
    scale: f32,
    adapters: Vec<Adapter>,
}

/// A matrix and the factors of what is added to it.
#[derive(Debug, Clone)]
struct Adapter {
    name: String,
    /// `[rows, columns]`, in the parameters.
    matrix: Range<usize>,
    rows: usize,
    columns: usize,
    rank: usize,
    /// `[rank, columns]`, in the adapters' values.
    a: Range<usize>,
    /// `[rows, rank]`
    b: Range<usize>,
}

impl Adapters {
    /// Adapters that add nothing yet: `A` is normal with a deviation of `columns^-1/2`, `B` zero.
    pub fn new(lora: &Lora, tensors: &[Tensor], base: Vec<f32>, seed: u64) -> Result<Self> {
        let matrices = || tensors.iter().filter(|tensor| tensor.shape.len() == 2);
        for pattern in &lora.tensors {
            check_pattern("lora: tensors", pattern, matrices().map(|tensor| tensor.name.clone()))?;
        }
        let chosen = matrices()
            .filter(|tensor| lora.tensors.iter().any(|pattern| crate::glob::matches(pattern, &tensor.name)));
        let mut adapters = Vec::new();
        let mut end = 0;
        for tensor in chosen {
            let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
            // A head of few classes has no higher rank than all of it.
            let rank = if tensor.name == HEAD { lora.rank.min(rows) } else { lora.rank };
            ensure!(
                rank <= rows.min(columns),
                "lora: rank: found {rank}, wanted at most {} for {} {:?}",
                rows.min(columns),
                tensor.name,
                tensor.shape
            );
            let a = end..end + rank * columns;
            let b = a.end..a.end + rows * rank;
            end = b.end;
            let (name, matrix) = (tensor.name.clone(), tensor.range.clone());
            adapters.push(Adapter { name, matrix, rows, columns, rank, a, b });
        }
        ensure!(!adapters.is_empty(), "lora: tensors: found no pattern, wanted at least one");
        let mut values = vec![0.0; end];
        for (i, adapter) in adapters.iter().enumerate() {
            let mut random = Random::keyed(&[seed, ADAPTER_STREAM, i as u64]);
            let deviation = (adapter.columns as f32).sqrt().recip();
            values[adapter.a.clone()].fill_with(|| random.normal() * deviation);
        }
        let scale = lora.alpha() / lora.rank as f32;
        Ok(Self { base, grad: vec![0.0; values.len()], values, scale, adapters })
    }

    /// The factors by name, in their order in memory.
    pub fn tensors(&self) -> Vec<Tensor> {
        let factor = |name: String, shape: [usize; 2], range: &Range<usize>| Tensor {
            name,
            shape: shape.to_vec(),
            range: range.clone(),
            role: TensorRole::Weight,
        };
        let both = |adapter: &Adapter| {
            let Adapter { name, rows, columns, rank, a, b, .. } = adapter;
            [
                factor(format!("{name}{LORA_A}"), [*rank, *columns], a),
                factor(format!("{name}{LORA_B}"), [*rows, *rank], b),
            ]
        };
        self.adapters.iter().flat_map(both).collect()
    }

    /// Sets the factors' gradient from that of the parameters.
    pub fn follow(&mut self, full: &[f32]) {
        for adapter in &self.adapters {
            let &Adapter { rows, columns, rank, .. } = adapter;
            let dw = Matrix::new(&full[adapter.matrix.clone()], rows, columns);
            let a = Matrix::new(&self.values[adapter.a.clone()], rank, columns);
            let b = Matrix::new(&self.values[adapter.b.clone()], rows, rank);
            let db = MatrixMut::new(&mut self.grad[adapter.b.clone()], rows, rank);
            matmul(db, Write::Set, dw, a.transposed());
            let da = MatrixMut::new(&mut self.grad[adapter.a.clone()], rank, columns);
            matmul(da, Write::Set, b.transposed(), dw);
        }
        self.grad.iter_mut().for_each(|g| *g *= self.scale);
    }

    /// Sets the parameters to those of the base with the adapters in them.
    pub fn merge(&self, params: &mut [f32]) {
        params.copy_from_slice(&self.base);
        for adapter in &self.adapters {
            let &Adapter { rows, columns, rank, .. } = adapter;
            let scaled: Vec<f32> = self.values[adapter.b.clone()].iter().map(|b| b * self.scale).collect();
            let matrix = MatrixMut::new(&mut params[adapter.matrix.clone()], rows, columns);
            let a = Matrix::new(&self.values[adapter.a.clone()], rank, columns);
            matmul(matrix, Write::Add, Matrix::new(&scaled, rows, rank), a);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, Params};

    fn adapters(tensors: &[&str]) -> (Adapters, Params) {
        let config: ModelConfig = toml::from_str(
            "dim = 8\nhidden_dim = 12\nn_layers = 2\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 5\nseq_len = 4\n",
        )
        .unwrap();
        let params = Params::init(&config, 1);
        let tensors = tensors.iter().map(|&pattern| pattern.into()).collect();
        let lora = Lora { rank: 3, alpha: Some(6.0), tensors };
        (Adapters::new(&lora, params.tensors(), params.values.clone(), 1).unwrap(), params)
    }

    #[test]
    fn they_begin_as_nothing_and_change_only_what_was_chosen() {
        let (mut adapters, mut params) = adapters(&["*.wq.weight", "*.w2.weight"]);
        let base = params.values.clone();
        adapters.merge(&mut params.values);
        assert_eq!(params.values, base);
        adapters.values.iter_mut().for_each(|value| *value += 0.1);
        adapters.merge(&mut params.values);
        for tensor in params.tensors() {
            let same = params.values[tensor.range.clone()] == base[tensor.range.clone()];
            let chosen = tensor.name.ends_with("wq.weight") || tensor.name.ends_with("w2.weight");
            assert_eq!(same, !chosen, "{}", tensor.name);
        }
        let names: Vec<_> = adapters.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[1], "layers.0.attention.wq.weight.lora_b");
    }

    /// The loss `sum(c * W)` has the gradient `c`; that of a factor is found by differences.
    #[test]
    fn the_gradient_is_that_of_what_is_merged() {
        let (mut adapters, mut params) = adapters(&["*.wv.weight", "*.w1.weight"]);
        let mut random = Random::new(2);
        adapters.values.fill_with(|| random.normal());
        let c: Vec<f32> = params.values.iter().map(|_| random.normal()).collect();
        adapters.follow(&c);
        let grad = adapters.grad.clone();
        let mut loss = |adapters: &Adapters| -> f64 {
            adapters.merge(&mut params.values);
            params.values.iter().zip(&c).map(|(&w, &c)| f64::from(w) * f64::from(c)).sum()
        };
        for i in (0..grad.len()).step_by(7) {
            let value = adapters.values[i];
            adapters.values[i] = value + 0.125;
            let above = loss(&adapters);
            adapters.values[i] = value - 0.125;
            let below = loss(&adapters);
            adapters.values[i] = value;
            let found = (above - below) / 0.25;
            assert!((found - f64::from(grad[i])).abs() < 1e-3, "{i}: {found}, wanted {}", grad[i]);
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let (adapters, params) = adapters(&["*.wq.weight"]);
        let error = |rank, pattern: &str| {
            let lora = Lora { rank, alpha: None, tensors: vec![pattern.into()] };
            Adapters::new(&lora, params.tensors(), adapters.base.clone(), 1).unwrap_err().to_string()
        };
        let found = error(5, "*.wk.weight");
        assert!(
            found.contains("rank: found 5, wanted at most 4 for layers.0.attention.wk.weight"),
            "{found}"
        );
        let found = error(1, "*norm*");
        assert!(found.contains("lora: tensors: found \"*norm*\", wanted a pattern"), "{found}");
    }
}
