//! `thumbformer import`

use super::export::{self, Choices};
use crate::checkpoint::{self, Info, check_outputs, write_atomically};
use crate::import::{llama2c, llama2c_tokenizer};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Bring in a model that was trained elsewhere
#[derive(Debug, clap::Subcommand)]
pub enum Source {
    Llama2c(Llama2c),
}

/// Import a llama2.c checkpoint (.bin) with its tokenizer; writes OUTPUT and, beside it, its f32 twin
/// (.safetensors)
#[derive(Debug, clap::Args)]
pub struct Llama2c {
    /// The checkpoint, version 0 (f32), such as stories260K.bin
    checkpoint: PathBuf,
    /// The tokenizer, such as tok512.bin
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,
    /// The model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The licence of the weights, for the metadata
    #[arg(long, default_value = "unknown")]
    licence: String,
    #[command(flatten)]
    choices: Choices,
}

impl Source {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Llama2c(args) => args.run(),
        }
    }
}

impl Llama2c {
    fn run(self) -> Result<()> {
        let twin = self.output.with_extension("safetensors");
        ensure!(
            twin != self.output,
            "{}: found the name of the f32 twin, wanted another extension, such as .thumb",
            self.output.display()
        );
        let outputs = [&self.output, &twin].into_iter().chain(&self.choices.report);
        let inputs = [&self.checkpoint, &self.tokenizer].into_iter().chain(&self.choices.calibration);
        let [outputs, inputs]: [Vec<&Path>; 2] =
            [outputs.map(PathBuf::as_path).collect(), inputs.map(PathBuf::as_path).collect()];
        check_outputs(&outputs, &inputs)?;
        let model = llama2c::read(&self.checkpoint)?;
        let tokenizer = llama2c_tokenizer::read(&self.tokenizer)?;
        let bytes = std::fs::read(&self.checkpoint).context("the checkpoint")?;
        let name = self.checkpoint.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let source = format!("llama2.c checkpoint, crc32 {:08x}", thumbformer::format::crc32(&bytes));
        let info = Info { name, licence: self.licence.clone(), provenance: source, ..Info::default() };
        if twin.exists() {
            let same = checkpoint::load(&twin).is_ok_and(|found| found.info.provenance == info.provenance);
            ensure!(
                same,
                "{}: found another file, wanted none or the f32 twin of {}",
                twin.display(),
                self.checkpoint.display()
            );
        }
        let exported = export::round(&model, &tokenizer, &info, &self.choices)?;
        export::report(&exported, &self.choices)?;
        checkpoint::save(&twin, &model, &info, Some(&tokenizer))?;
        write_atomically(&self.output, &[&exported.file])?;
        eprintln!("wrote {} (f32, {} parameters)", twin.display(), model.params().values.len());
        eprintln!("wrote {} ({} bytes)", self.output.display(), exported.file.len());
        Ok(())
    }
}
