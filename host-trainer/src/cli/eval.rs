//! `thumbformer eval`

use super::{Kind, kind_of, note_packing, print, read_checkpoint, read_tokens};
use crate::checkpoint;
use crate::device::ModelFile;
use crate::eval::{compare, loss_device, loss_f32};
use anyhow::{Context, Result, ensure};
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
    /// The checkpoint (.safetensors) that a model file was made from: also measures how far the integers are
    /// from it, as the mean divergence KL(f32 || integers) in nats per token and the share of tokens after
    /// which both find the same token likeliest
    #[arg(long, value_name = "F32")]
    against: Option<PathBuf>,
    /// Print JSON: {"loss": .., "tokens": .., "bits_per_byte": .., "kl": .., "agreement": .., "saturations": ..}
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
                note_packing(&self.model, &model);
                let chunk = self.chunk.unwrap_or(model.config().seq_len);
                let (result, divergence) = match &self.against {
                    None => (loss_device(&model, &stream, chunk).with_context(name)?, None),
                    Some(twin) => {
                        let twin = read_checkpoint(twin)?.model;
                        let (result, divergence) =
                            compare(&model, &twin, &stream, chunk).with_context(name)?;
                        (result, Some(divergence))
                    }
                };
                let bytes = target_bytes(&model.tokenizer(), &stream, result.tokens);
                let evaluation = Evaluation::new(result.loss, result.tokens, bytes);
                Evaluation {
                    kl: divergence.map(|d| d.kl),
                    agreement: divergence.map(|d| d.agreement),
                    saturations: Some(result.saturations),
                    ..evaluation
                }
            }
            Kind::Checkpoint => {
                ensure!(
                    self.against.is_none(),
                    "--against: found a checkpoint as the model, {}, wanted a model file",
                    self.model.display()
                );
                let checkpoint = checkpoint::load(&self.model)?;
                let chunk = self.chunk.unwrap_or(checkpoint.model.config().config.seq_len);
                let (loss, tokens) = loss_f32(&checkpoint.model, &stream, chunk).with_context(name)?;
                let tokenizer = checkpoint.tokenizer.as_deref().map(Tokenizer::from_bytes).transpose()?;
                let bytes = tokenizer.map_or(0, |t| target_bytes(&t, &stream, tokens));
                Evaluation::new(loss, tokens, bytes)
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
    /// Of the integers from f32, where they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<f64>,
    /// Known of the integer runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    saturations: Option<u32>,
}

impl Evaluation {
    fn new(loss: f64, tokens: usize, bytes: usize) -> Self {
        let bits = loss * tokens as f64 / std::f64::consts::LN_2;
        let bits_per_byte = (bytes > 0).then(|| bits / bytes as f64);
        Self { loss, tokens, bits_per_byte, kl: None, agreement: None, saturations: None }
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
        if let (Some(kl), Some(agreement)) = (self.kl, self.agreement) {
            write!(
                f,
                "\nKL(f32 || integers) {kl:.6} nats per token, top-1 agreement {:.2} %",
                100.0 * agreement
            )?;
        }
        match self.saturations {
            None | Some(0) => Ok(()),
            Some(n) => {
                write!(f, "\nthe residual stream saturated {n} times: export with a larger --headroom")
            }
        }
    }
}
