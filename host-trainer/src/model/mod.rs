//! The f32 decoder: its shape, its parameters, its definition.
//!
//! Pre-norm blocks as in Llama 2 (Touvron et al. 2023) or GPT-2 (Radford et al. 2019), whichever
//! the [`ModelConfig`] describes. One call works on one sequence; threads take whole sequences.

mod config;
mod decoder;
mod params;
mod quantized;

pub use crate::nn::graph::Tensor;
pub use config::ModelConfig;
pub(crate) use config::{ActivationName, NormName, PositionsName};
pub use decoder::{decoder, quantized_decoder};
pub use params::Params;
pub use quantized::{Quantization, WeightBits, Width};

use crate::nn::graph::{Frozen, Given, Memory, Network, Recorder};
use anyhow::{Result, ensure};
use std::borrow::Cow;
use thumbformer::Config;

/// The name of the tensor of a head that is not tied.
pub const HEAD: &str = "output.weight";

/// A decoder and its parameters.
#[derive(Debug, Clone)]
pub struct Model {
    config: ModelConfig,
    params: Params,
    quantization: Option<Quantization>,
}

impl Model {
    /// A model with random parameters; the same seed gives the same model on every machine.
    pub fn init(config: ModelConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        Self::from_params(config, Params::init(&config, seed))
    }

    /// A model with given parameters, which must have the layout of [`Params::zeros`].
    pub fn from_params(config: ModelConfig, params: Params) -> Result<Self> {
        config.validate()?;
        let wanted = Params::tensors_of(&config);
        ensure!(
            params.tensors() == wanted && params.values.len() == params::len(&wanted),
            "parameters: found {} values in {} tensors, wanted {} in {}",
            params.values.len(),
            params.tensors().len(),
            params::len(&wanted),
            wanted.len()
        );
        Ok(Self { config, params, quantization: None })
    }

    /// A classifier: the same blocks, and a head of its own that is drawn at random.
    pub fn with_classes(&self, n_classes: usize, seed: u64) -> Result<Self> {
        let shape = Config { n_classes, tied: false, ..self.config.config };
        let mut model = Self::init(ModelConfig { config: shape, ..self.config }, seed)?;
        let names: Vec<String> = model.params.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        for name in names.iter().filter(|name| *name != HEAD) {
            if let (Some(new), Some(known)) = (model.params.get_mut(name), self.params.get(name)) {
                new.copy_from_slice(known);
            }
        }
        Ok(model.with_quantization(self.quantization.clone()))
    }

    /// The same parameters, to be rounded where this says, in every forward pass and at export.
    pub fn with_quantization(self, quantization: Option<Quantization>) -> Self {
        Self { quantization, ..self }
    }

    /// Where it was trained to be rounded.
    pub fn quantization(&self) -> Option<&Quantization> {
        self.quantization.as_ref()
    }

    /// A model that computes the same, with weights that are rounded once and for all.
    pub fn rounded(&self) -> Cow<'_, Self> {
        match &self.quantization {
            Some(quantization @ Quantization { weights: Some(_), .. }) => {
                let mut rounded = self.clone();
                quantization.round(&self.config.config, &self.params, &mut rounded.params.values);
                rounded.quantization =
                    Some(Quantization { weights: None, int4: Vec::new(), ..quantization.clone() });
                Cow::Owned(rounded)
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// The shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters, to change their values.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Checks that a sequence is neither empty nor longer than the context and has no token
    /// outside the vocabulary.
    pub fn check(&self, tokens: &[u16]) -> Result<()> {
        let shape = &self.config.config;
        ensure!(!tokens.is_empty(), "sequence: found no token, wanted one");
        ensure!(
            tokens.len() <= shape.seq_len,
            "sequence: found {} tokens, wanted at most {} (seq_len)",
            tokens.len(),
            shape.seq_len
        );
        check_vocabulary(tokens, shape.vocab_size)
    }

    /// The logits `[t, n_outputs]` after each token of a sequence that starts at position zero.
    pub fn forward(&self, tokens: &[u16]) -> Result<Vec<f32>> {
        self.check(tokens)?;
        let (network, mut memory) = self.in_use(tokens.len());
        let given = Given { tokens, ..Given::default() };
        network.infer(&self.rounded().params.values, &given, &mut memory);
        Ok(network.output(&memory).to_vec())
    }

    /// [`forward`](Self::forward) with products that are the same on every processor (the last digits differ from
    /// those of `forward`), telling `observe` each tensor by name as it is made, row-major:
    ///
    /// - `tok_embeddings` `[t, dim]`: the residual stream at the start, positions included;
    /// - for each layer N, under `layers.N.`: `attention_norm`, `attention.wq`, `attention.wk`,
    ///   `attention.wv` (before rotation), `attention.heads` (what `wo` reads), `attention.wo`,
    ///   `attention.residual` (the stream after attention), `ffn_norm`, `feed_forward.w1`,
    ///   `feed_forward.w3` (gated only), `feed_forward.hidden` (what `w2` reads),
    ///   `feed_forward.w2`, `feed_forward.residual`;
    /// - `norm` `[t, dim]` and `output` `[t, n_outputs]`.
    pub fn forward_observed(
        &self,
        tokens: &[u16],
        observe: &mut dyn FnMut(&str, &[f32]),
    ) -> Result<Vec<f32>> {
        self.check(tokens)?;
        let (network, mut memory) = self.in_use(tokens.len());
        let given = Given { tokens, ..Given::default() };
        network.infer_observed(&self.rounded().params.values, &given, &mut memory, observe);
        Ok(network.output(&memory).to_vec())
    }

    /// What each head of each layer looks at: for `layers.N.attention.heads` the weights `[n_heads, t, t]`, a row for each
    /// token.
    pub fn attention_maps(&self, tokens: &[u16], observe: &mut dyn FnMut(&str, &[f32])) -> Result<()> {
        self.check(tokens)?;
        let (network, mut memory) = self.in_use(tokens.len());
        let given = Given { tokens, ..Given::default() };
        network.infer_inside(&self.rounded().params.values, &given, &mut memory, observe);
        Ok(())
    }

    /// Memory and plan to evaluate sequences of `t` tokens, one after the other.
    pub fn evaluator(&self, t: usize) -> Evaluator<'_> {
        let mut net = Recorder::new(1, t);
        let logits = quantized_decoder(&mut net, &self.config, 0.0, self.in_network());
        let loss = net.cross_entropy(0.0, logits);
        let network = net.finish(loss).freeze();
        let memory = Memory::new(&network);
        Evaluator { model: self.rounded(), network, memory }
    }

    fn in_network(&self) -> Quantization {
        self.quantization.clone().unwrap_or(Quantization::NONE)
    }

    fn in_use(&self, t: usize) -> (Network<Frozen, f32>, Memory<f32>) {
        let mut net = Recorder::new(1, t);
        let logits = quantized_decoder(&mut net, &self.config, 0.0, self.in_network());
        let network = net.finish(logits).freeze();
        let memory = Memory::new(&network);
        (network, memory)
    }
}

/// A model and what it needs to evaluate sequences of one length.
#[derive(Debug)]
pub struct Evaluator<'a> {
    model: Cow<'a, Model>,
    network: Network<Frozen, f32>,
    memory: Memory<f32>,
}

impl Evaluator<'_> {
    /// The sum over positions of `-ln p(targets[i] | tokens[..=i])`. Panics where [`check`](Model::check) would fail or
    /// the length is another.
    pub fn loss(&mut self, tokens: &[u16], targets: &[u16]) -> f64 {
        let given = Given { tokens, targets, ..Given::default() };
        self.network.infer(&self.model.params.values, &given, &mut self.memory)
    }

    /// After [`loss`](Self::loss), at how many of these targets the likeliest output was the target.
    pub fn right(&self, targets: &[u16]) -> usize {
        let outputs = self.model.config.config.n_outputs();
        let rows = self.network.output(&self.memory).chunks_exact(outputs).zip(targets);
        let first_largest = |row: &[f32]| (0..outputs).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
        rows.filter(|(row, target)| first_largest(row) == Some(usize::from(**target))).count()
    }
}

/// Checks that every token lies in a vocabulary.
pub fn check_vocabulary(tokens: &[u16], vocab_size: usize) -> Result<()> {
    match tokens.iter().position(|&t| usize::from(t) >= vocab_size) {
        None => Ok(()),
        Some(at) => {
            anyhow::bail!("token {at}: found {}, wanted less than {vocab_size} (vocab_size)", tokens[at])
        }
    }
}

#[cfg(test)]
mod tests;
