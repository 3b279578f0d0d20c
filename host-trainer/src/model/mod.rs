//! The f32 decoder: its shape, its parameters, its forward and backward pass.
//!
//! Pre-norm blocks as in Llama 2 (Touvron et al. 2023) or GPT-2 (Radford et al. 2019), whichever
//! the [`ModelConfig`] describes. One call works on one sequence; threads take whole sequences.

mod backward;
mod config;
mod forward;
mod layout;
mod params;

pub use backward::TrainingMemory;
pub use config::ModelConfig;
pub(crate) use config::{ActivationName, NormName, PositionsName};
pub use params::{Params, Tensor};

use crate::nn::cross_entropy;
use crate::nn::dropout::Dropout;
use crate::nn::rope::RopeTable;
use anyhow::{Result, ensure};
use forward::{Activations, Observer};
use thumbformer::Positions;

/// A decoder and its parameters.
#[derive(Debug, Clone)]
pub struct Model {
    config: ModelConfig,
    params: Params,
    rope: Option<RopeTable>,
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
        let shape = config.config;
        let rope = (shape.positions == Positions::Rope)
            .then(|| RopeTable::new(shape.seq_len, shape.head_dim(), config.rope_theta));
        Ok(Self { config, params, rope })
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

    /// The logits `[t, vocab_size]` after each token of a sequence that starts at position zero.
    pub fn forward(&self, tokens: &[u16]) -> Result<Vec<f32>> {
        self.logits(tokens, Observer::none())
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
    /// - `norm` `[t, dim]` and `output` `[t, vocab_size]`.
    pub fn forward_observed(
        &self,
        tokens: &[u16],
        observe: &mut dyn FnMut(&str, &[f32]),
    ) -> Result<Vec<f32>> {
        self.logits(tokens, Observer::new(observe))
    }

    /// The sum over positions of `-ln p(targets[i] | tokens[..=i])`. Panics where
    /// [`check`](Self::check) would fail.
    pub fn loss(&self, tokens: &[u16], targets: &[u16]) -> f64 {
        let mut activations = Activations::new(&self.config, tokens.len(), 1);
        self.run_forward(tokens, Dropout::OFF, &mut activations, Observer::none());
        let vocab_size = self.config.config.vocab_size;
        cross_entropy::forward(vocab_size, &mut activations.logits, targets)
    }

    /// Returns the [`loss`](Self::loss) of one sequence, under dropout, and adds the gradient of
    /// `scale` times it to `grad`, which has the layout of [`Params::values`]. Panics where
    /// [`check`](Self::check) would fail or `memory` was made for another length.
    pub fn loss_and_grad(
        &self,
        tokens: &[u16],
        targets: &[u16],
        scale: f32,
        dropout: Dropout,
        memory: &mut TrainingMemory,
        grad: &mut [f32],
    ) -> f64 {
        let vocab_size = self.config.config.vocab_size;
        let TrainingMemory { activations, gradients } = memory;
        self.run_forward(tokens, dropout, activations, Observer::none());
        let loss = cross_entropy::forward(vocab_size, &mut activations.logits, targets);
        cross_entropy::backward(vocab_size, &mut activations.logits, targets, scale);
        self.run_backward(tokens, dropout, activations, gradients, grad);
        loss
    }

    fn logits(&self, tokens: &[u16], observer: Observer<'_>) -> Result<Vec<f32>> {
        self.check(tokens)?;
        let mut activations = Activations::new(&self.config, tokens.len(), 1);
        self.run_forward(tokens, Dropout::OFF, &mut activations, observer);
        Ok(activations.logits)
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
