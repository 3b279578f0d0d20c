//! `thumbformer eval`

use super::{Kind, kind_of, print, read_tokens};
use crate::checkpoint;
use crate::device::ModelFile;
use crate::eval::{loss_device, loss_f32};
use anyhow::{Context, Result};
use std::path::PathBuf;

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
    /// Print JSON: {"loss": .., "tokens": ..}
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let kind = kind_of(&self.model)?;
        let stream = read_tokens(&self.tokens)?;
        let name = || format!("{} on {}", self.model.display(), self.tokens.display());
        let (loss, tokens, saturations) = match kind {
            Kind::Thumb => {
                let file = ModelFile::read(&self.model)?;
                let model = file.model()?;
                let chunk = self.chunk.unwrap_or(model.config().seq_len);
                let result = loss_device(&model, &stream, chunk).with_context(name)?;
                (result.loss, result.tokens, Some(result.saturations))
            }
            Kind::Checkpoint => {
                let model = checkpoint::load(&self.model)?.model;
                let chunk = self.chunk.unwrap_or(model.config().config.seq_len);
                let (loss, tokens) = loss_f32(&model, &stream, chunk).with_context(name)?;
                (loss, tokens, None)
            }
        };
        if self.json {
            let mut json = serde_json::json!({ "loss": loss, "tokens": tokens });
            if let Some(saturations) = saturations {
                json["saturations"] = saturations.into();
            }
            return print(&json.to_string());
        }
        let arithmetic = if saturations.is_some() { "integers" } else { "f32" };
        print(&format!("loss {loss:.6} nats per token ({arithmetic}, {tokens} tokens)"))?;
        match saturations {
            None | Some(0) => Ok(()),
            Some(n) => print(&format!("the residual stream saturated {n} times: export with more headroom")),
        }
    }
}
