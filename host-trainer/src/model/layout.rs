//! Where each layer's tensors lie in the flat parameters, and how operations read them.

use super::ModelConfig;
use crate::nn::attention::Heads;
use crate::nn::linear::{self, Linear};
use crate::nn::matrix::Multiply;
use crate::nn::norm::{self, Moments};
use std::ops::Range;
use thumbformer::{NormKind, Positions};

/// Offsets of the whole model.
#[derive(Debug, Clone)]
pub struct Layout {
    pub tok_embeddings: Range<usize>,
    pub pos_embeddings: Option<Range<usize>>,
    pub layers: Vec<LayerLayout>,
    pub norm: NormLayout,
    /// The head; its weight is `tok_embeddings` when the two are tied.
    pub output: LinearLayout,
}

/// Offsets of a block.
#[derive(Debug, Clone)]
pub struct LayerLayout {
    pub attention_norm: NormLayout,
    /// `wq`, `wk` and `wv`, which lie behind one another and act as one matrix.
    pub qkv: LinearLayout,
    pub wo: LinearLayout,
    pub ffn_norm: NormLayout,
    /// `w1` and, in a gated MLP, `w3`, as one matrix.
    pub up: LinearLayout,
    pub w2: LinearLayout,
}

/// Offsets of a norm: a bias makes it a LayerNorm.
#[derive(Debug, Clone)]
pub struct NormLayout {
    weight: Range<usize>,
    bias: Option<Range<usize>>,
}

/// Offsets of a linear layer.
#[derive(Debug, Clone)]
pub struct LinearLayout {
    weight: Range<usize>,
    bias: Option<Range<usize>>,
    inputs: usize,
}

/// Declares tensors one behind the other; `(name, shape)` goes to `declare`.
struct Builder<F> {
    declare: F,
    biases: bool,
    norm: NormKind,
    dim: usize,
}

impl<F: FnMut(String, Vec<usize>) -> Range<usize>> Builder<F> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Range<usize> {
        (self.declare)(name.to_string(), shape.to_vec())
    }

    fn norm(&mut self, name: &str) -> NormLayout {
        let dim = self.dim;
        NormLayout {
            weight: self.tensor(&format!("{name}.weight"), &[dim]),
            bias: (self.norm == NormKind::Layer).then(|| self.tensor(&format!("{name}.bias"), &[dim])),
        }
    }

    /// Matrices of the same input, all weights before all biases.
    fn linear(&mut self, prefix: &str, outputs: &[(&str, usize)], inputs: usize) -> LinearLayout {
        let biases = self.biases;
        let mut declare = |suffix: &str, shape: fn(usize, usize) -> Vec<usize>| {
            let ranges: Vec<_> = outputs
                .iter()
                .map(|&(name, rows)| self.tensor(&format!("{prefix}.{name}.{suffix}"), &shape(rows, inputs)))
                .collect();
            ranges[0].start..ranges[ranges.len() - 1].end
        };
        let weight = declare("weight", |rows, inputs| vec![rows, inputs]);
        let bias = biases.then(|| declare("bias", |rows, _| vec![rows]));
        LinearLayout { weight, bias, inputs }
    }
}

impl Layout {
    /// Lays a model out. `declare` takes the name and shape of each tensor in order and returns
    /// its range.
    pub fn new(config: &ModelConfig, declare: impl FnMut(String, Vec<usize>) -> Range<usize>) -> Self {
        let c = &config.config;
        let (dim, hidden_dim) = (c.dim, c.hidden_dim);
        let mut b = Builder { declare, biases: c.biases, norm: c.norm, dim };
        let tok_embeddings = b.tensor("tok_embeddings.weight", &[c.vocab_size, dim]);
        let pos_embeddings =
            (c.positions == Positions::Learned).then(|| b.tensor("pos_embeddings.weight", &[c.seq_len, dim]));
        let qkv = [("wq", dim), ("wk", c.kv_dim()), ("wv", c.kv_dim())];
        let up = [("w1", hidden_dim), ("w3", hidden_dim)];
        let up = if c.gated { &up[..] } else { &up[..1] };
        let layers = (0..c.n_layers)
            .map(|l| {
                let attention = format!("layers.{l}.attention");
                let feed_forward = format!("layers.{l}.feed_forward");
                LayerLayout {
                    attention_norm: b.norm(&format!("layers.{l}.attention_norm")),
                    qkv: b.linear(&attention, &qkv, dim),
                    wo: b.linear(&attention, &[("wo", dim)], dim),
                    ffn_norm: b.norm(&format!("layers.{l}.ffn_norm")),
                    up: b.linear(&feed_forward, up, dim),
                    w2: b.linear(&feed_forward, &[("w2", dim)], hidden_dim),
                }
            })
            .collect();
        let norm = b.norm("norm");
        let output =
            if c.tied { tok_embeddings.clone() } else { b.tensor("output.weight", &[c.vocab_size, dim]) };
        Self {
            tok_embeddings,
            pos_embeddings,
            layers,
            norm,
            output: LinearLayout { weight: output, bias: None, inputs: dim },
        }
    }
}

impl NormLayout {
    pub fn forward(&self, params: &[f32], eps: f32, x: &[f32], y: &mut [f32], moments: &mut [Moments]) {
        let weight = &params[self.weight.clone()];
        match &self.bias {
            None => norm::rms_forward(weight, eps, x, y, moments),
            Some(bias) => {
                norm::layer_forward(weight, &params[bias.clone()], eps, x, y, moments);
            }
        }
    }

    /// Adds to `dx` and to the parameters' gradient.
    pub fn backward(
        &self,
        params: &[f32],
        x: &[f32],
        moments: &[Moments],
        dy: &[f32],
        dx: &mut [f32],
        grad: &mut [f32],
    ) {
        let weight = &params[self.weight.clone()];
        match &self.bias {
            None => norm::rms_backward(weight, x, moments, dy, dx, &mut grad[self.weight.clone()]),
            Some(bias) => {
                let both = &mut grad[self.weight.start..bias.end];
                let (dweight, dbias) = both.split_at_mut(weight.len());
                norm::layer_backward(weight, x, moments, dy, dx, dweight, dbias);
            }
        }
    }
}

impl LinearLayout {
    fn borrow<'a>(&self, params: &'a [f32]) -> Linear<'a> {
        Linear {
            weight: &params[self.weight.clone()],
            bias: self.bias.clone().map(|bias| &params[bias]),
            inputs: self.inputs,
        }
    }

    pub fn forward(&self, multiply: Multiply, params: &[f32], x: &[f32], y: &mut [f32]) {
        linear::forward(multiply, self.borrow(params), x, y);
    }

    /// Overwrites `dx`, adds to the parameters' gradient.
    pub fn backward(&self, params: &[f32], x: &[f32], dy: &[f32], dx: &mut [f32], grad: &mut [f32]) {
        linear::backward_input(self.borrow(params), dy, dx);
        linear::backward_weight(self.inputs, x, dy, &mut grad[self.weight.clone()]);
        if let Some(bias) = &self.bias {
            linear::backward_bias(dy, &mut grad[bias.clone()]);
        }
    }
}

/// How attention divides the rows of `qkv`.
pub fn heads(config: &ModelConfig) -> Heads {
    let c = &config.config;
    Heads { n_heads: c.n_heads, n_kv_heads: c.n_kv_heads, head_dim: c.head_dim() }
}

/// Width of what `up` makes of a row.
pub fn up_dim(config: &ModelConfig) -> usize {
    config.config.hidden_dim * if config.config.gated { 2 } else { 1 }
}
