//! The flags of `thumbformer finetune` that round while they train, and that learn from another model.

use super::{export, read_checkpoint};
use crate::checkpoint::{Checkpoint, Info};
use crate::export::plan;
use crate::model::{Model, Quantization, WeightBits};
use crate::train::{DistillationConfig, TrainConfig, check_teacher, write};
use anyhow::{Context, Result, ensure};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

/// Flags over the tables `[quantization]` and `[distillation]`.
#[derive(Debug, clap::Args)]
#[group(id = "quantization_flags")]
#[command(next_help_heading = "Quantization and distillation")]
pub struct Flags {
    /// Train with all numbers rounded as on the device, weights to these bits; export then takes the very numbers that
    /// were trained
    #[arg(long, value_enum)]
    quantize: Option<WeightBits>,
    /// Bytes that the model file may take, such as 190K: of mixed bits, four go where they cost the least before training
    #[arg(long, value_name = "BYTES", value_parser = export::bytes, requires = "quantize")]
    flash_budget: Option<usize>,
    /// Learn the distributions of this checkpoint, whose tokens are the same; it may be the one to begin with
    #[arg(long, value_name = "CHECKPOINT")]
    teacher: Option<PathBuf>,
    /// Learn from so many tokens that the teacher writes, instead of a text
    #[arg(long, value_name = "TOKENS", requires = "teacher", conflicts_with_all = ["corpus", "pairs", "split_documents", "deduplicate", "split"])]
    teacher_text: Option<usize>,
    /// The temperature at which distributions are compared [default: 1]
    #[arg(long, value_name = "T", requires = "teacher")]
    teacher_temperature: Option<f64>,
    /// What the teacher counts; the rest is what the tokens of the text count [default: 1]
    #[arg(long, value_name = "SHARE", requires = "teacher")]
    teacher_share: Option<f64>,
}

impl Flags {
    /// Overrides settings by flags.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        if let Some(bits) = self.quantize {
            let earlier = config.quantization.take().unwrap_or(Quantization::all(bits));
            config.quantization = Some(Quantization { weights: Some(bits), ..earlier });
        }
        if let Some(path) = &self.teacher {
            // A run goes on wherever it is resumed from.
            let teacher = std::path::absolute(path)?;
            config.distillation = Some(match config.distillation.take() {
                Some(distillation) => DistillationConfig { teacher, ..distillation },
                None => DistillationConfig::new(teacher),
            });
        }
        if let Some(distillation) = &mut config.distillation {
            distillation.temperature = self.teacher_temperature.unwrap_or(distillation.temperature);
            distillation.share = self.teacher_share.unwrap_or(distillation.share);
        }
        Ok(())
    }

    /// Chooses the tensors that get four bits by the flash budget, if there is one.
    pub fn plan(&self, config: &mut TrainConfig, model: &Model, tokenizer: &[u8], info: &Info) -> Result<()> {
        let (Some(budget), Some(quantization)) = (self.flash_budget, &mut config.quantization) else {
            return Ok(());
        };
        ensure!(
            quantization.weights == Some(WeightBits::Mixed) && quantization.int4.is_empty(),
            "--flash-budget: found weights whose bits are given, wanted --quantize mixed"
        );
        eprintln!("choosing the bits of the weights");
        let (int4, bits) = plan(model, tokenizer, info, budget)?;
        eprintln!("{bits}");
        if int4.is_empty() {
            quantization.weights = Some(WeightBits::Int8);
        }
        quantization.int4 = int4;
        Ok(())
    }

    /// What the teacher writes to learn from, and what that is called; none where there is a text.
    pub fn text(&self, config: &TrainConfig) -> Result<Option<(String, Vec<u16>)>> {
        let (Some(len), Some(distillation)) = (self.teacher_text, &config.distillation) else {
            return Ok(None);
        };
        let path = &distillation.teacher;
        let Checkpoint { model, info, tokenizer } = read_checkpoint(path)?;
        check_teacher(&model).with_context(|| path.display().to_string())?;
        let tokenizer =
            tokenizer.with_context(|| format!("{}: found no tokenizer, wanted one", path.display()))?;
        let threads = match config.training.threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        eprintln!("text      {len} tokens that {} writes", info.name);
        let tokens = write(&model, &tokenizer, len, config.training.seed, threads)?;
        Ok(Some((format!("{len} tokens that {} wrote", info.name), tokens)))
    }
}
