//! The decoder one position after the other, with a cache of keys and values: obvious loops in f64, which share nothing
//! with the networks that they check.

use host_trainer::model::Model;
use thumbformer::{Activation, NormKind, Positions};

type Vector = Vec<f64>;

/// A model and what it keeps of the positions before.
pub struct Steps<'m> {
    model: &'m Model,
    /// Keys and values of each layer, position after position.
    cache: Vec<Vec<(Vector, Vector)>>,
}

impl<'m> Steps<'m> {
    pub fn new(model: &'m Model) -> Self {
        Self { model, cache: vec![Vec::new(); model.config().config.n_layers] }
    }

    /// Reads a token; returns the logits of the next.
    pub fn step(&mut self, token: u16) -> Vector {
        let c = self.model.config().config;
        let position = self.cache[0].len();
        let mut x = self.row("tok_embeddings.weight", usize::from(token), c.dim);
        if c.positions == Positions::Learned {
            add(&mut x, &self.row("pos_embeddings.weight", position, c.dim));
        }
        for layer in 0..c.n_layers {
            let name = |part: &str| format!("layers.{layer}.{part}");
            let read = self.norm(&name("attention_norm"), &x);
            let mut q = self.linear(&name("attention.wq"), &read);
            let mut k = self.linear(&name("attention.wk"), &read);
            let v = self.linear(&name("attention.wv"), &read);
            if c.positions == Positions::Rope {
                self.rotate(&mut q, position);
                self.rotate(&mut k, position);
            }
            self.cache[layer].push((k, v));
            let heads = self.attend(layer, &q);
            add(&mut x, &self.linear(&name("attention.wo"), &heads));

            let read = self.norm(&name("ffn_norm"), &x);
            let mut hidden = self.linear(&name("feed_forward.w1"), &read);
            hidden.iter_mut().for_each(|h| *h = activation(c.activation, *h));
            if c.gated {
                let gate = self.linear(&name("feed_forward.w3"), &read);
                hidden.iter_mut().zip(gate).for_each(|(h, g)| *h *= g);
            }
            add(&mut x, &self.linear(&name("feed_forward.w2"), &hidden));
        }
        let x = self.norm("norm", &x);
        self.linear(if c.tied { "tok_embeddings" } else { "output" }, &x)
    }

    fn tensor(&self, name: &str) -> Option<Vector> {
        Some(self.model.params().get(name)?.iter().map(|&v| f64::from(v)).collect())
    }

    fn row(&self, name: &str, row: usize, width: usize) -> Vector {
        self.tensor(name).unwrap()[row * width..][..width].to_vec()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vector {
        let weight = self.tensor(&format!("{name}.weight")).unwrap();
        let mut y: Vector =
            weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect();
        if let Some(bias) = self.tensor(&format!("{name}.bias")) {
            add(&mut y, &bias);
        }
        y
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vector {
        let n = x.len() as f64;
        let layer = self.model.config().config.norm == NormKind::Layer;
        let mean = if layer { x.iter().sum::<f64>() / n } else { 0.0 };
        let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let root = (square + f64::from(self.model.config().norm_eps)).sqrt();
        let gain = self.tensor(&format!("{name}.weight")).unwrap();
        let mut y: Vector = x.iter().zip(gain).map(|(x, g)| (x - mean) / root * g).collect();
        if let Some(bias) = self.tensor(&format!("{name}.bias")) {
            add(&mut y, &bias);
        }
        y
    }

    fn rotate(&self, x: &mut [f64], position: usize) {
        let head_dim = self.model.config().config.head_dim();
        for head in x.chunks_mut(head_dim) {
            for (i, pair) in head.chunks_mut(2).enumerate() {
                let frequency =
                    f64::from(self.model.config().rope_theta).powf(-2.0 * i as f64 / head_dim as f64);
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
            }
        }
    }

    fn attend(&self, layer: usize, q: &[f64]) -> Vector {
        let c = self.model.config().config;
        let (head_dim, group) = (c.head_dim(), c.n_heads / c.n_kv_heads);
        let mut heads = Vec::new();
        for (head, q) in q.chunks(head_dim).enumerate() {
            let part = head / group * head_dim..(head / group + 1) * head_dim;
            let score = |k: &Vector| {
                let dot: f64 = q.iter().zip(&k[part.clone()]).map(|(q, k)| q * k).sum();
                (dot / (head_dim as f64).sqrt()).exp()
            };
            let weights: Vector = self.cache[layer].iter().map(|(k, _)| score(k)).collect();
            let sum: f64 = weights.iter().sum();
            let mut y = vec![0.0; head_dim];
            for (weight, (_, v)) in weights.iter().zip(&self.cache[layer]) {
                y.iter_mut().zip(&v[part.clone()]).for_each(|(y, v)| *y += weight / sum * v);
            }
            heads.extend(y);
        }
        heads
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn activation(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::ReluSquared => x.max(0.0).powi(2),
    }
}
