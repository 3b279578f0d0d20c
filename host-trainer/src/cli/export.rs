//! `thumbformer export`

use super::{read_checkpoint, read_tokens};
use crate::checkpoint::{Info, check_output, write_atomically};
use crate::export::{Exported, Input, Options, Target, Weights, export};
use crate::model::{Model, check_vocabulary};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use thumbformer::format::InputWidth;

/// Round a trained checkpoint to int8 or int4 and write a model file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint (.safetensors) with its tokenizer
    checkpoint: PathBuf,
    /// The model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Text that the model might meet, as u16 token ids: decides the binary point, how weights are rounded and the
    /// bits of the vectors [default: the model writes its own]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The licence of the weights, for the metadata [default: that of the checkpoint]
    #[arg(long)]
    licence: Option<String>,
    #[command(flatten)]
    choices: Choices,
}

/// What an export may choose.
#[derive(Debug, clap::Args)]
pub struct Choices {
    /// Positions of the context window, at most those of the checkpoint
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Bits of the vectors that matrices multiply; auto: 8, but 16 where the calibration text shows that 8 cost
    /// too much
    #[arg(long, default_value = "auto", value_parser = ["auto", "8", "16"])]
    activations: String,
    /// Bits of the weights
    #[arg(long, value_enum, default_value_t)]
    weights: Weights,
    /// Fold the gains of norms into the matrices behind them: fewer instructions, a little less precision
    #[arg(long)]
    fold_norms: bool,
    /// The core to pack the matrices for
    #[arg(long, value_enum, default_value_t)]
    target: Target,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let inputs: Vec<&Path> =
            [&self.checkpoint].into_iter().chain(&self.calibration).map(|p| p.as_path()).collect();
        check_output(&self.output, &inputs)?;
        let mut checkpoint = read_checkpoint(&self.checkpoint)?;
        if let Some(licence) = self.licence {
            checkpoint.info.licence = licence;
        }
        let tokenizer = checkpoint
            .tokenizer
            .with_context(|| format!("{}: found no tokenizer, wanted one", self.checkpoint.display()))?;
        let mut text = Vec::new();
        if let Some(path) = &self.calibration {
            text = read_tokens(path)?;
            check_vocabulary(&text, checkpoint.model.config().config.vocab_size)
                .with_context(|| path.display().to_string())?;
        }
        let exported = round(&checkpoint.model, &tokenizer, &checkpoint.info, &text, &self.choices)?;
        write_atomically(&self.output, &[&exported.file])?;
        eprintln!("wrote {} ({} bytes)", self.output.display(), exported.file.len());
        Ok(())
    }
}

/// Rounds a model as it was chosen, and tells what was measured for that.
pub fn round(
    model: &Model,
    tokenizer: &[u8],
    info: &Info,
    calibration: &[u16],
    choices: &Choices,
) -> Result<Exported> {
    let options = Options {
        input: match choices.activations.as_str() {
            "8" => Input::All(InputWidth::A8),
            "16" => Input::All(InputWidth::A16),
            _ => Input::Auto,
        },
        weights: choices.weights,
        target: choices.target,
        fold_gains: choices.fold_norms,
        seq_len: choices.context,
        progress: |line| eprintln!("{line}"),
        ..Options::default()
    };
    let metadata = [("name", info.name.as_str()), ("licence", &info.licence), ("source", &info.provenance)];
    let exported = export(model, tokenizer, &metadata, calibration, &options)?;
    if let Some(zeros) = &exported.zeros {
        eprintln!("{zeros}");
    }
    if let Some(widths) = &exported.widths {
        eprintln!("{widths}");
    }
    Ok(exported)
}
