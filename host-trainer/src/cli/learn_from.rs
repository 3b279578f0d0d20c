//! The flags of `thumbformer train` that begin with another model, or learn from one.

use super::train::Source;
use super::{read_checkpoint, read_tokens};
use crate::checkpoint::{Checkpoint, Info};
use crate::model::{Quantization, WeightBits, check_vocabulary};
use crate::tokenizer::TextEncoder;
use crate::train::{DistillationConfig, TrainConfig, write};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use thumbformer::Tokenizer;

/// What to begin with, where to round, and whom to learn from.
#[derive(Debug, clap::Args)]
pub struct LearnFrom {
    /// Begin with the weights of a checkpoint, in its shape and with its tokenizer
    #[arg(long, value_name = "CHECKPOINT")]
    from: Option<PathBuf>,
    /// Train with all numbers rounded as on the device, the weights of the blocks to so many bits
    #[arg(long, value_enum)]
    quantize: Option<WeightBits>,
    /// Learn the distributions of a checkpoint with the same tokenizer
    #[arg(long, value_name = "CHECKPOINT")]
    teacher: Option<PathBuf>,
    /// Learn from so many tokens that the teacher writes, instead of a text
    #[arg(long, value_name = "TOKENS", requires = "teacher", conflicts_with = "corpus")]
    teacher_text: Option<usize>,
    /// The temperature at which distributions are compared [default: 1]
    #[arg(long, value_name = "T", requires = "teacher")]
    teacher_temperature: Option<f64>,
    /// What the teacher counts; the rest is what the tokens of the text count [default: 1]
    #[arg(long, value_name = "SHARE", requires = "teacher")]
    teacher_share: Option<f64>,
}

impl LearnFrom {
    /// Flags override what the configuration says.
    pub fn set(&self, config: &mut TrainConfig) -> Result<()> {
        if let Some(path) = &self.from {
            config.from = Some(absolute(path)?);
        }
        if let Some(path) = &config.from {
            config.model = *read_checkpoint(path)?.model.config();
        }
        if let Some(bits) = self.quantize {
            config.quantization = Some(Quantization::all(bits));
        }
        if let Some(path) = &self.teacher {
            let teacher = absolute(path)?;
            let earlier = config.distillation.take();
            config.distillation = Some(match earlier {
                Some(distillation) => DistillationConfig { teacher, ..distillation },
                None => DistillationConfig::new(teacher),
            });
        }
        if let Some(distillation) = &mut config.distillation {
            distillation.text = self.teacher_text.or(distillation.text);
            distillation.temperature = self.teacher_temperature.unwrap_or(distillation.temperature);
            distillation.share = self.teacher_share.unwrap_or(distillation.share);
        }
        Ok(())
    }
}

/// Refuses what only our own engine does.
pub fn check_engine(config: &TrainConfig, torch: bool) -> Result<()> {
    for (name, found) in [
        ("--from", config.from.is_some()),
        ("--quantize", config.quantization.is_some()),
        ("--teacher", config.distillation.is_some()),
    ] {
        ensure!(!(torch && found), "--engine torch: found {name}, wanted --engine rust for it");
    }
    Ok(())
}

/// What a run reads whose tokenizer is that of another model: what a teacher writes, or a text in UTF-8 or as token ids
/// (u16, `.u16`). None where the run makes a tokenizer of its own.
pub fn source(config: &TrainConfig) -> Result<Option<Source>> {
    let teacher = config.distillation.as_ref();
    let Some(path) = config.from.as_ref().or(teacher.map(|d| &d.teacher)) else {
        return Ok(None);
    };
    let Checkpoint { info, tokenizer, .. } = read_checkpoint(path)?;
    let named = path.display();
    let tokenizer = tokenizer.with_context(|| format!("{named}: found no tokenizer, wanted one"))?;
    let own = teacher.and_then(|d| Some((d, d.text?)));
    let (tokens, learned) = match (own, &config.data.corpus) {
        (Some((distillation, len)), _) => {
            let Checkpoint { model, info, .. } = read_checkpoint(&distillation.teacher)?;
            eprintln!("text      {len} tokens that {} writes", info.name);
            let t = &config.training;
            let threads = if t.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { t.threads };
            let tokens = write(&model, &tokenizer, len, t.seed, threads)?;
            (tokens, format!("{len} tokens that {} wrote", info.name))
        }
        (None, Some(text)) => {
            let tokens = read_text(text, &tokenizer, config.model.config.vocab_size)?;
            let name = text.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let learned = format!("{name}, {} tokens", tokens.len());
            (tokens, learned)
        }
        (None, None) => anyhow::bail!("found no text, wanted --corpus or --teacher-text"),
    };
    let held_out = (tokens.len() as f64 * config.data.held_out) as usize;
    let (train, valid) = tokens.split_at(tokens.len() - held_out);
    let wanted = config.model.config.seq_len + 1;
    ensure!(valid.len() >= wanted, "held-out tokens: found {}, wanted at least {wanted}", valid.len());
    eprintln!("tokens    {} to learn, {} held out", train.len(), valid.len());
    let licence = config.data.licence.clone().unwrap_or(info.licence);
    let provenance = format!("{}; then trained on {learned}", info.provenance);
    let info = Info { name: info.name, licence, provenance };
    Ok(Some(Source { info, train: train.to_vec(), valid: valid.to_vec(), tokenizer: Some(tokenizer) }))
}

fn read_text(path: &Path, tokenizer: &[u8], vocab_size: usize) -> Result<Vec<u16>> {
    if path.extension().is_some_and(|extension| extension == "u16") {
        let tokens = read_tokens(path)?;
        check_vocabulary(&tokens, vocab_size).with_context(|| path.display().to_string())?;
        return Ok(tokens);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut encoder = TextEncoder::new(Tokenizer::from_bytes(tokenizer)?);
    Ok(encoder.encode(text.as_bytes()).into_iter().map(|token| token.0).collect())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)?;
    ensure!(path.to_str().is_some(), "{}: found a name that is not UTF-8", path.display());
    Ok(path)
}
