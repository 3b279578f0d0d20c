//! The backward pass of one sequence: the forward pass read from its end.

use super::forward::{Activations, EMBEDDING_PLACE, LayerActivations, attention_place};
use super::layout::{LayerLayout, heads, up_dim};
use super::{Model, ModelConfig};
use crate::nn::attention::{self, Saved};
use crate::nn::dropout::Dropout;
use crate::nn::{embedding, mlp};

/// The memory of one thread that trains on sequences of one length.
#[derive(Debug)]
pub struct TrainingMemory {
    pub(super) activations: Activations,
    pub(super) gradients: Gradients,
}

impl TrainingMemory {
    /// Memory for sequences of `t` tokens.
    pub fn new(config: &ModelConfig, t: usize) -> Self {
        Self {
            activations: Activations::new(config, t, config.config.n_layers),
            gradients: Gradients::new(config, t),
        }
    }
}

/// Gradients of activations, used over and over from layer to layer.
#[derive(Debug)]
pub struct Gradients {
    /// Of the residual stream `[t, dim]`.
    x: Vec<f32>,
    /// Of what a half of a block adds to it `[t, dim]`.
    branch: Vec<f32>,
    /// `[t, dim]`
    norm: Vec<f32>,
    /// `[t, dim]`
    heads: Vec<f32>,
    /// `[t, dim + 2 kv_dim]`
    qkv: Vec<f32>,
    scores: Vec<f32>,
    /// `[t, hidden_dim]`, twice as wide when gated.
    up: Vec<f32>,
    /// `[t, hidden_dim]`
    hidden: Vec<f32>,
}

impl Gradients {
    fn new(config: &ModelConfig, t: usize) -> Self {
        let c = &config.config;
        let rows = |width: usize| vec![0.0; t * width];
        Self {
            x: rows(c.dim),
            branch: rows(c.dim),
            norm: rows(c.dim),
            heads: rows(c.dim),
            qkv: rows(heads(config).stride()),
            scores: vec![0.0; attention::scratch_len(t)],
            up: rows(up_dim(config)),
            hidden: rows(c.hidden_dim),
        }
    }
}

impl Model {
    /// Adds to `grad`; `a` holds the gradient of the logits in their place.
    pub(super) fn run_backward(
        &self,
        tokens: &[u16],
        dropout: Dropout,
        a: &Activations,
        d: &mut Gradients,
        grad: &mut [f32],
    ) {
        let params = &self.params.values;
        let layout = &self.params.layout;

        let (output, norm) = (&layout.output, &layout.norm);
        output.backward(params, &a.norm, &a.logits, &mut d.norm, grad);
        d.x.fill(0.0);
        norm.backward(params, &a.x, &a.norm_moments, &d.norm, &mut d.x, grad);

        let layers = layout.layers.iter().zip(&a.layers).enumerate();
        for (l, (layer, a)) in layers.rev() {
            d.branch.copy_from_slice(&d.x);
            dropout.apply(attention_place(l) + 1, &mut d.branch);
            self.feed_forward_backward(layer, a, d, grad);

            d.branch.copy_from_slice(&d.x);
            dropout.apply(attention_place(l), &mut d.branch);
            self.attention_backward(layer, a, d, grad);
        }

        dropout.apply(EMBEDDING_PLACE, &mut d.x);
        let dtokens = &mut grad[layout.tok_embeddings.clone()];
        embedding::backward_tokens(self.config.config.dim, tokens, &d.x, dtokens);
        if let Some(range) = layout.pos_embeddings.clone() {
            embedding::backward_positions(&d.x, &mut grad[range]);
        }
    }

    /// From `d.branch`, adds to `d.x`.
    fn feed_forward_backward(
        &self,
        layer: &LayerLayout,
        a: &LayerActivations,
        d: &mut Gradients,
        grad: &mut [f32],
    ) {
        let c = &self.config.config;
        let params = &self.params.values;
        let w2 = &layer.w2;
        w2.backward(params, &a.hidden, &d.branch, &mut d.hidden, grad);
        let (dhidden, dup) = (&d.hidden, &mut d.up);
        mlp::backward(c.activation, c.gated, c.hidden_dim, &a.up, dhidden, dup);
        let up = &layer.up;
        up.backward(params, &a.ffn_norm, &d.up, &mut d.norm, grad);
        let (norm, moments) = (&layer.ffn_norm, &a.ffn_moments);
        norm.backward(params, &a.ffn_x, moments, &d.norm, &mut d.x, grad);
    }

    /// From `d.branch`, adds to `d.x`.
    fn attention_backward(
        &self,
        layer: &LayerLayout,
        a: &LayerActivations,
        d: &mut Gradients,
        grad: &mut [f32],
    ) {
        let params = &self.params.values;
        let heads = heads(&self.config);
        let (wo, qkv) = (&layer.wo, &layer.qkv);
        wo.backward(params, &a.heads, &d.branch, &mut d.heads, grad);
        let saved = Saved { qkv: &a.qkv, probabilities: &a.probabilities, y: &a.heads };
        let t = a.qkv.len() / heads.stride();
        attention::backward(heads, t, saved, &d.heads, &mut d.scores, &mut d.qkv);
        if let Some(rope) = &self.rope {
            rope.backward(&mut d.qkv, heads.stride(), heads.dim() + heads.kv_dim());
        }
        qkv.backward(params, &a.attention_norm, &d.qkv, &mut d.norm, grad);
        let (norm, moments) = (&layer.attention_norm, &a.attention_moments);
        norm.backward(params, &a.attention_x, moments, &d.norm, &mut d.x, grad);
    }
}
