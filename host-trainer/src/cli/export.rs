//! `thumbformer export`

use super::{print, read_checkpoint, read_tokens};
use crate::checkpoint::{Info, check_outputs, write_atomically};
use crate::data::labelled;
use crate::export::{Exported, Input, Options, Target, Weights, export};
use crate::model::{Model, check_vocabulary};
use crate::tokenizer::TextEncoder;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use thumbformer::Tokenizer;
use thumbformer::format::InputWidth;

/// Round a trained checkpoint to int8 or int4 and write a model file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint (.safetensors) with its tokenizer
    checkpoint: PathBuf,
    /// The model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The licence of the weights, for the metadata [default: that of the checkpoint]
    #[arg(long)]
    licence: Option<String>,
    #[command(flatten)]
    choices: Choices,
}

/// What an export may choose.
#[derive(Debug, clap::Args)]
pub struct Choices {
    /// Text that the model might meet, UTF-8 (.txt) or u16 token ids: decides the binary point, how weights are rounded
    /// and the bits of weights and vectors; for a classifier, texts with labels, too (.jsonl, .csv) [default: the model
    /// writes its own, but a classifier cannot]
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Positions of the context window, at most those of the checkpoint
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Bits of the vectors that matrices multiply; auto: 8, but 16 where the calibration text shows that 8 cost
    /// too much, or what the model was trained with
    #[arg(long, default_value = "auto", value_parser = ["auto", "8", "16"])]
    activations: String,
    /// Bits of the weights [default: what the model was trained with, else 8, or mixed where there is a flash budget]
    #[arg(long, value_enum)]
    bits: Option<Weights>,
    /// Bytes that the model file may take, such as 160K: mixed bits are chosen so that it fits with the least
    /// divergence from f32
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    flash_budget: Option<usize>,
    /// How far the loss may be above that in f32, in nats per token, on calibration text (a part that is held out,
    /// where it is long enough); past that nothing is written
    #[arg(long, value_name = "NATS", value_parser = nats)]
    max_loss_increase: Option<f64>,
    /// Print what the rounding of each tensor costs, and write it to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Bits of room in the residual stream above the largest value of the calibration text: more where text saturates it,
    /// which takes as many bits from the smallest values
    #[arg(long, value_name = "BITS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(..=24))]
    headroom: u32,
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
            [&self.checkpoint].into_iter().chain(&self.choices.calibration).map(|p| p.as_path()).collect();
        let outputs: Vec<&Path> =
            [&self.output].into_iter().chain(&self.choices.report).map(|p| p.as_path()).collect();
        check_outputs(&outputs, &inputs)?;
        let mut checkpoint = read_checkpoint(&self.checkpoint)?;
        if let Some(licence) = self.licence {
            checkpoint.info.licence = licence;
        }
        let tokenizer = checkpoint
            .tokenizer
            .with_context(|| format!("{}: found no tokenizer, wanted one", self.checkpoint.display()))?;
        let exported = round(&checkpoint.model, &tokenizer, &checkpoint.info, &self.choices)?;
        report(&exported, &self.choices)?;
        write_atomically(&self.output, &[&exported.file])?;
        eprintln!("wrote {} ({} bytes)", self.output.display(), exported.file.len());
        Ok(())
    }
}

/// Rounds a model as it was chosen, and tells what was measured for that.
pub fn round(model: &Model, tokenizer: &[u8], info: &Info, choices: &Choices) -> Result<Exported> {
    let calibration = match &choices.calibration {
        None => Vec::new(),
        Some(path) => read_text(path, tokenizer, model.config().config.vocab_size)?,
    };
    let options = Options {
        input: match choices.activations.as_str() {
            "8" => Input::All(InputWidth::A8),
            "16" => Input::All(InputWidth::A16),
            _ => Input::Auto,
        },
        weights: choices.bits.unwrap_or(match (Weights::trained(model), choices.flash_budget) {
            (Some(trained), _) => trained,
            (None, Some(_)) => Weights::Mixed,
            (None, None) => Weights::Int8,
        }),
        flash_budget: choices.flash_budget,
        max_loss_increase: choices.max_loss_increase,
        sensitivity: choices.report.is_some(),
        target: choices.target,
        fold_gains: choices.fold_norms,
        headroom: choices.headroom,
        seq_len: choices.context,
        progress: |line| eprintln!("{line}"),
        ..Options::default()
    };
    let exported = export(model, tokenizer, &info.metadata(), &calibration, &options)?;
    if let Some(zeros) = &exported.zeros {
        eprintln!("{zeros}");
    }
    if let Some(bits) = &exported.bits {
        eprintln!("{bits}");
    }
    if let Some(widths) = &exported.widths {
        eprintln!("{widths}");
    }
    Ok(exported)
}

/// Writes and prints what the rounding of each tensor costs, where that was asked for.
pub fn report(exported: &Exported, choices: &Choices) -> Result<()> {
    if let (Some(sensitivity), Some(path)) = (&exported.sensitivity, &choices.report) {
        write_atomically(path, &[serde_json::to_string_pretty(sensitivity)?.as_bytes()])?;
        print(&sensitivity.to_string())?;
    }
    Ok(())
}

/// A number of bytes: `163840` or `160K`, with K for 1024 and M for 1024 K.
pub fn bytes(text: &str) -> Result<usize> {
    let (number, unit) = match text.as_bytes() {
        [.., b'K' | b'k'] => (&text[..text.len() - 1], 1 << 10),
        [.., b'M' | b'm'] => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let bytes = number.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    bytes.with_context(|| format!("found {text:?}, wanted a number of bytes, such as 163840 or 160K"))
}

/// A difference of losses.
fn nats(text: &str) -> Result<f64> {
    let nats = text.parse::<f64>().ok().filter(|nats| nats.is_finite());
    nats.with_context(|| format!("found {text:?}, wanted nats per token, such as 0.01"))
}

/// The tokens of a text, of one in UTF-8 where its name ends in `.txt`, of many with labels in `.jsonl` and `.csv`.
fn read_text(path: &Path, tokenizer: &[u8], vocab_size: usize) -> Result<Vec<u16>> {
    if path.extension().is_some_and(|extension| extension == "txt") {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut encoder = TextEncoder::new(Tokenizer::from_bytes(tokenizer)?);
        return Ok(encoder.encode(text.as_bytes()).into_iter().map(|token| token.0).collect());
    }
    if path.extension().is_some_and(|extension| extension == "jsonl" || extension == "csv") {
        let (texts, _) = labelled::read(path, &labelled::Fields::default())?;
        let mut encoder = TextEncoder::new(Tokenizer::from_bytes(tokenizer)?);
        return Ok(texts.iter().flat_map(|text| encoder.encode(text.text.as_bytes())).map(|t| t.0).collect());
    }
    let tokens = read_tokens(path)?;
    check_vocabulary(&tokens, vocab_size).with_context(|| path.display().to_string())?;
    Ok(tokens)
}
