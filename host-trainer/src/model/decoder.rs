//! The decoder, from top to bottom: the one definition that trains, evaluates and shows itself to the exporter.

use super::{HEAD, ModelConfig, Quantization};
use crate::nn::attention::{Heads, Mask};
use crate::nn::embedding::Table;
use crate::nn::graph::{Recorder, Training, Value};
use crate::nn::real::Real;
use crate::nn::rope::RopeTable;
use std::sync::Arc;
use thumbformer::{NormKind, Positions};

/// A decoder while it is recorded.
struct Decoder<'a, R: Real> {
    net: &'a mut Recorder<Training, R>,
    config: &'a ModelConfig,
    dropout: f32,
    quantization: Quantization,
    rope: Option<Arc<RopeTable<R>>>,
}

/// Records the decoder of a valid config for sequences of up to `seq_len` tokens; returns the logits
/// `[rows, n_outputs]`. Dropout takes this fraction of the embedding and of both branches of every block.
pub fn decoder<R: Real>(net: &mut Recorder<Training, R>, config: &ModelConfig, dropout: f32) -> Value {
    quantized_decoder(net, config, dropout, Quantization::NONE)
}

/// [`decoder`], with vectors, keys and values rounded where the runtime rounds them. Weights are rounded beforehand, with
/// [`Quantization::round`].
pub fn quantized_decoder<R: Real>(
    net: &mut Recorder<Training, R>,
    config: &ModelConfig,
    dropout: f32,
    quantization: Quantization,
) -> Value {
    let c = &config.config;
    let rope = (c.positions == Positions::Rope)
        .then(|| Arc::new(RopeTable::new(net.tokens(), c.head_dim(), config.rope_theta)));
    Decoder { net, config, dropout, quantization, rope }.logits()
}

impl<R: Real> Decoder<'_, R> {
    fn logits(&mut self) -> Value {
        let c = &self.config.config;
        let embeddings = self.net.table("tok_embeddings.weight", c.vocab_size, c.dim);
        let mut x = self.embedding(&embeddings);
        for layer in 0..c.n_layers {
            let name = format!("layers.{layer}");
            x = self.attention(&name, x);
            x = self.feed_forward(&name, x);
        }
        let x = self.norm("norm", x);
        let x = self.vector(x);
        let head = if c.tied { embeddings } else { self.net.table(HEAD, c.n_outputs(), c.dim) };
        let logits = self.net.project(&head, x);
        self.net.show("output", logits);
        logits
    }

    /// `embeddings[token] + positions[t]`
    fn embedding(&mut self, embeddings: &Table) -> Value {
        let c = &self.config.config;
        let mut x = self.net.embedding(embeddings);
        if c.positions == Positions::Learned {
            x = self.net.learned_positions("pos_embeddings.weight", c.seq_len, x);
        }
        let x = self.net.dropout(self.dropout, x);
        self.net.show("tok_embeddings", x);
        x
    }

    /// `x + wo(attention(rope(wqkv norm(x))))`
    fn attention(&mut self, layer: &str, x: Value) -> Value {
        let c = &self.config.config;
        let heads = Heads { n_heads: c.n_heads, n_kv_heads: c.n_kv_heads, head_dim: c.head_dim() };
        let (dim, kv_dim) = (heads.dim(), heads.kv_dim());
        let name = format!("{layer}.attention");
        let normed = self.norm(&format!("{layer}.attention_norm"), x);
        let normed = self.vector(normed);
        let qkv = [("wq", dim), ("wk", kv_dim), ("wv", kv_dim)];
        let mut qkv = self.net.linear(&name, &qkv, c.biases, normed);
        if self.quantization.cache {
            qkv = self.net.fake_fixed_heads(heads, qkv);
        }
        if let Some(rope) = &self.rope {
            qkv = self.net.rope(rope, dim + kv_dim, qkv);
        }
        if self.quantization.cache {
            qkv = self.net.fake_cache(heads, qkv);
        }
        let y = self.net.attention(heads, Mask::Causal, qkv);
        self.net.show(format!("{name}.heads"), y);
        let y = self.vector(y);
        let branch = self.net.linear(&name, &[("wo", dim)], c.biases, y);
        self.residual(&name, x, branch)
    }

    /// `x + w2(act(w1 norm(x)) * w3 norm(x))`, or without `w3`
    fn feed_forward(&mut self, layer: &str, x: Value) -> Value {
        let c = &self.config.config;
        let name = format!("{layer}.feed_forward");
        let normed = self.norm(&format!("{layer}.ffn_norm"), x);
        let normed = self.vector(normed);
        let hidden = if c.gated {
            let up = [("w1", c.hidden_dim), ("w3", c.hidden_dim)];
            let up = self.net.linear(&name, &up, c.biases, normed);
            self.net.gated_activation(c.activation.into(), up)
        } else {
            let up = self.net.linear(&name, &[("w1", c.hidden_dim)], c.biases, normed);
            self.net.activation(c.activation.into(), up)
        };
        self.net.show(format!("{name}.hidden"), hidden);
        let hidden = self.vector(hidden);
        let branch = self.net.linear(&name, &[("w2", c.dim)], c.biases, hidden);
        self.residual(&name, x, branch)
    }

    /// What a matrix reads.
    fn vector(&mut self, x: Value) -> Value {
        match self.quantization.activations {
            Some(width) => self.net.fake_quantize(width.into(), x),
            None => x,
        }
    }

    fn residual(&mut self, name: &str, x: Value, branch: Value) -> Value {
        let branch = self.net.dropout(self.dropout, branch);
        let x = self.net.residual(x, branch);
        self.net.show(format!("{name}.residual"), x);
        x
    }

    fn norm(&mut self, name: &str, x: Value) -> Value {
        let eps = f64::from(self.config.norm_eps);
        match self.config.config.norm {
            NormKind::Rms => self.net.rms_norm(name, eps, x),
            NormKind::Layer => self.net.layer_norm(name, eps, x),
            NormKind::Batch => self.net.batch_norm(name, eps, x),
        }
    }
}
