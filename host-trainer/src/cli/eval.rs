//! `thumbformer eval`

use super::{Kind, kind_of, print, read_tokens};
use crate::checkpoint;
use crate::device::ModelFile;
use crate::eval::{loss_device, loss_f32};
use anyhow::{Context, Result};
use std::path::PathBuf;
use thumbformer::{Token, Tokenizer};

/// Measure the loss of a model on a stream of tokens, in nats per token
///
/// A model file (.thumb) is evaluated by the integer runtime, the same arithmetic as on a device; a checkpoint
/// (.safetensors) in f32.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model file or a checkpoint
    model: PathBuf,
    /// Token ids, u16 little-endian
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Tokens after which the context starts anew [default: the model's context window]
    #[arg(long)]
    chunk: Option<usize>,
    /// Print JSON: {"loss": .., "tokens": .., "bits_per_byte": ..}
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let kind = kind_of(&self.model)?;
        let stream = read_tokens(&self.tokens)?;
        let name = || format!("{} on {}", self.model.display(), self.tokens.display());
        let result = match kind {
            Kind::Thumb => {
                let file = ModelFile::read(&self.model)?;
                let model = file.model()?;
                let chunk = self.chunk.unwrap_or(model.config().seq_len);
                let result = loss_device(&model, &stream, chunk).with_context(name)?;
                let bytes = target_bytes(&model.tokenizer(), &stream, result.tokens);
                Evaluation::new(result.loss, result.tokens, bytes, Some(result.saturations))
            }
            Kind::Checkpoint => {
                let checkpoint = checkpoint::load(&self.model)?;
                let chunk = self.chunk.unwrap_or(checkpoint.model.config().config.seq_len);
                let (loss, tokens) = loss_f32(&checkpoint.model, &stream, chunk).with_context(name)?;
                let tokenizer = checkpoint.tokenizer.as_deref().map(Tokenizer::from_bytes).transpose()?;
                let bytes = tokenizer.map_or(0, |t| target_bytes(&t, &stream, tokens));
                Evaluation::new(loss, tokens, bytes, None)
            }
        };
        print(&if self.json { serde_json::to_string(&result)? } else { result.to_string() })
    }
}

/// The bytes of text that the first `count` targets of a stream stand for.
fn target_bytes(tokenizer: &Tokenizer<'_>, stream: &[u16], count: usize) -> usize {
    stream[1..=count].iter().map(|&t| tokenizer.decode(Token(t)).len()).sum()
}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Evaluation {
    /// Nats per token.
    loss: f64,
    tokens: usize,
    /// Known where there is a tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_byte: Option<f64>,
    /// Known of the integer runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    saturations: Option<u32>,
}

impl Evaluation {
    fn new(loss: f64, tokens: usize, bytes: usize, saturations: Option<u32>) -> Self {
        let bits = loss * tokens as f64 / std::f64::consts::LN_2;
        Self { loss, tokens, bits_per_byte: (bytes > 0).then(|| bits / bytes as f64), saturations }
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arithmetic = if self.saturations.is_some() { "integers" } else { "f32" };
        write!(f, "loss {:.6} nats per token", self.loss)?;
        if let Some(bits) = self.bits_per_byte {
            write!(f, ", {bits:.4} bits per byte")?;
        }
        write!(f, " ({arithmetic}, {} tokens)", self.tokens)?;
        match self.saturations {
            None | Some(0) => Ok(()),
            Some(n) => write!(f, "\nthe residual stream saturated {n} times: export with more headroom"),
        }
    }
}
