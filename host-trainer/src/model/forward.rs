//! The forward pass of one sequence.

use super::layout::{LayerLayout, heads, up_dim};
use super::{Model, ModelConfig};
use crate::nn::dropout::Dropout;
use crate::nn::matrix::{Multiply, matmul, matmul_portable};
use crate::nn::norm::Moments;
use crate::nn::{attention, embedding, mlp};
use std::fmt::Arguments;

/// What a forward pass over `t` tokens writes. The backward pass reads it.
#[derive(Debug)]
pub struct Activations {
    /// One a layer to train; a single one, used over and over, to evaluate.
    pub layers: Vec<LayerActivations>,
    /// The residual stream `[t, dim]`.
    pub x: Vec<f32>,
    /// What a half of a block adds to the stream `[t, dim]`.
    pub branch: Vec<f32>,
    pub norm_moments: Vec<Moments>,
    /// The head's input `[t, dim]`.
    pub norm: Vec<f32>,
    /// `[t, vocab_size]`
    pub logits: Vec<f32>,
}

/// The part of a block.
#[derive(Debug)]
pub struct LayerActivations {
    /// The residual stream before attention `[t, dim]`.
    pub attention_x: Vec<f32>,
    pub attention_moments: Vec<Moments>,
    /// `[t, dim]`
    pub attention_norm: Vec<f32>,
    /// Rotated queries and keys, and values `[t, dim + 2 kv_dim]`.
    pub qkv: Vec<f32>,
    /// `[n_heads, t, t]`
    pub probabilities: Vec<f32>,
    /// Attention's result `[t, dim]`.
    pub heads: Vec<f32>,
    /// The residual stream before the MLP `[t, dim]`.
    pub ffn_x: Vec<f32>,
    pub ffn_moments: Vec<Moments>,
    /// `[t, dim]`
    pub ffn_norm: Vec<f32>,
    /// `[t, hidden_dim]`, twice as wide when gated.
    pub up: Vec<f32>,
    /// `[t, hidden_dim]`
    pub hidden: Vec<f32>,
}

impl Activations {
    /// Memory for `t` tokens and the activations of `layers` layers.
    pub fn new(config: &ModelConfig, t: usize, layers: usize) -> Self {
        let c = &config.config;
        let rows = |width: usize| vec![0.0; t * width];
        let moments = || vec![Moments::default(); t];
        Self {
            layers: (0..layers)
                .map(|_| LayerActivations {
                    attention_x: rows(c.dim),
                    attention_moments: moments(),
                    attention_norm: rows(c.dim),
                    qkv: rows(heads(config).stride()),
                    probabilities: rows(c.n_heads * t),
                    heads: rows(c.dim),
                    ffn_x: rows(c.dim),
                    ffn_moments: moments(),
                    ffn_norm: rows(c.dim),
                    up: rows(up_dim(config)),
                    hidden: rows(c.hidden_dim),
                })
                .collect(),
            x: rows(c.dim),
            branch: rows(c.dim),
            norm_moments: moments(),
            norm: rows(c.dim),
            logits: rows(c.vocab_size),
        }
    }
}

/// Where dropout acts: on the embedding, and on both branches of every block.
pub const EMBEDDING_PLACE: u64 = 0;

/// The place of a block's attention branch; the MLP's is the next.
pub const fn attention_place(layer: usize) -> u64 {
    1 + 2 * layer as u64
}

impl Model {
    /// Runs a checked sequence of as many tokens as `a` was made for; leaves logits in `a`.
    pub(super) fn run_forward(
        &self,
        tokens: &[u16],
        dropout: Dropout,
        a: &mut Activations,
        mut observer: Observer<'_>,
    ) {
        let c = &self.config.config;
        let params = &self.params.values;
        let layout = &self.params.layout;
        assert!(tokens.len() <= c.seq_len, "longer than the context");
        assert_eq!(a.x.len(), tokens.len() * c.dim);

        let positions = layout.pos_embeddings.clone().map(|range| &params[range]);
        let embeddings = &params[layout.tok_embeddings.clone()];
        embedding::forward(c.dim, embeddings, positions, tokens, &mut a.x);
        dropout.apply(EMBEDDING_PLACE, &mut a.x);
        observer.see(format_args!("tok_embeddings"), &a.x);

        let kept = a.layers.len();
        for (l, layer) in layout.layers.iter().enumerate() {
            let memory = &mut a.layers[l % kept];

            memory.attention_x.copy_from_slice(&a.x);
            self.attention(l, layer, memory, &mut a.branch, &mut observer);
            dropout.apply(attention_place(l), &mut a.branch);
            sum(&memory.attention_x, &a.branch, &mut a.x);
            observer.see(format_args!("layers.{l}.attention.residual"), &a.x);

            memory.ffn_x.copy_from_slice(&a.x);
            self.feed_forward(l, layer, memory, &mut a.branch, &mut observer);
            dropout.apply(attention_place(l) + 1, &mut a.branch);
            sum(&memory.ffn_x, &a.branch, &mut a.x);
            observer.see(format_args!("layers.{l}.feed_forward.residual"), &a.x);
        }

        let eps = self.config.norm_eps;
        layout.norm.forward(params, eps, &a.x, &mut a.norm, &mut a.norm_moments);
        observer.see(format_args!("norm"), &a.norm);
        layout.output.forward(observer.multiply(), params, &a.norm, &mut a.logits);
        observer.see(format_args!("output"), &a.logits);
    }

    /// `wo(attention(rope(wqkv norm(x))))`
    fn attention(
        &self,
        l: usize,
        layer: &LayerLayout,
        a: &mut LayerActivations,
        branch: &mut [f32],
        observer: &mut Observer<'_>,
    ) {
        let params = &self.params.values;
        let (x, moments) = (&a.attention_x, &mut a.attention_moments);
        let (y, eps) = (&mut a.attention_norm, self.config.norm_eps);
        layer.attention_norm.forward(params, eps, x, y, moments);
        observer.see(format_args!("layers.{l}.attention_norm"), y);

        layer.qkv.forward(observer.multiply(), params, y, &mut a.qkv);
        let heads = heads(&self.config);
        let (dim, kv_dim, stride) = (heads.dim(), heads.kv_dim(), heads.stride());
        for (name, start, width) in [("wq", 0, dim), ("wk", dim, kv_dim), ("wv", dim + kv_dim, kv_dim)] {
            let site = format_args!("layers.{l}.attention.{name}");
            observer.see_columns(site, &a.qkv, stride, start, width);
        }
        if let Some(rope) = &self.rope {
            rope.forward(&mut a.qkv, stride, dim + kv_dim);
        }

        let t = a.qkv.len() / stride;
        attention::forward(observer.multiply(), heads, t, &a.qkv, &mut a.probabilities, &mut a.heads);
        observer.see(format_args!("layers.{l}.attention.heads"), &a.heads);
        layer.wo.forward(observer.multiply(), params, &a.heads, branch);
        observer.see(format_args!("layers.{l}.attention.wo"), branch);
    }

    /// `w2(act(w1 norm(x)) * w3 norm(x))`, or without `w3`
    fn feed_forward(
        &self,
        l: usize,
        layer: &LayerLayout,
        a: &mut LayerActivations,
        branch: &mut [f32],
        observer: &mut Observer<'_>,
    ) {
        let c = &self.config.config;
        let params = &self.params.values;
        let (x, moments) = (&a.ffn_x, &mut a.ffn_moments);
        let (y, eps) = (&mut a.ffn_norm, self.config.norm_eps);
        layer.ffn_norm.forward(params, eps, x, y, moments);
        observer.see(format_args!("layers.{l}.ffn_norm"), y);

        layer.up.forward(observer.multiply(), params, y, &mut a.up);
        let n = c.hidden_dim;
        for (i, name) in ["w1", "w3"].into_iter().enumerate().take(up_dim(&self.config) / n) {
            let site = format_args!("layers.{l}.feed_forward.{name}");
            observer.see_columns(site, &a.up, up_dim(&self.config), i * n, n);
        }
        mlp::forward(c.activation, c.gated, n, &a.up, &mut a.hidden);
        observer.see(format_args!("layers.{l}.feed_forward.hidden"), &a.hidden);
        layer.w2.forward(observer.multiply(), params, &a.hidden, branch);
        observer.see(format_args!("layers.{l}.feed_forward.w2"), branch);
    }
}

/// `out = x + y`
fn sum(x: &[f32], y: &[f32], out: &mut [f32]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = x + y;
    }
}

/// Someone who may want to see the tensors of a forward pass. Names are made only if so.
pub struct Observer<'a>(Option<Observe<'a>>);

type Observe<'a> = &'a mut dyn FnMut(&str, &[f32]);

impl<'a> Observer<'a> {
    pub fn none() -> Self {
        Self(None)
    }

    pub fn new(observe: Observe<'a>) -> Self {
        Self(Some(observe))
    }

    /// What is observed decides how a file is rounded, and must not depend on the processor.
    fn multiply(&self) -> Multiply {
        if self.0.is_some() { matmul_portable } else { matmul }
    }

    fn see(&mut self, site: Arguments<'_>, values: &[f32]) {
        if let Some(observe) = &mut self.0 {
            observe(&site.to_string(), values);
        }
    }

    /// Shows `width` columns from `start` of rows `stride` apart, gathered.
    fn see_columns(
        &mut self,
        site: Arguments<'_>,
        values: &[f32],
        stride: usize,
        start: usize,
        width: usize,
    ) {
        if self.0.is_some() {
            let rows = values.chunks_exact(stride);
            let columns: Vec<f32> = rows.flat_map(|row| &row[start..start + width]).copied().collect();
            self.see(site, &columns);
        }
    }
}
