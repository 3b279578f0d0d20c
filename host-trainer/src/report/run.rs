//! A run folder, read for its report.

use super::Report;
use crate::checkpoint::{self, Checkpoint};
use crate::train::{Metrics, TrainConfig, read_tokens};
use anyhow::{Result, ensure};
use boards::Board;
use std::path::Path;

/// What a folder has of a run.
#[derive(Debug)]
pub struct Run {
    config: TrainConfig,
    metrics: Metrics,
    checkpoint: Option<Checkpoint>,
    held_out: Vec<u16>,
}

impl Run {
    /// Reads a run folder, be the run done, interrupted or under way.
    ///
    /// # Errors
    /// It is no run folder, or one of its files is broken.
    pub fn read(folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        ensure!(
            at("config.toml").exists(),
            "{}: found no config.toml, wanted a run folder",
            folder.display()
        );
        let (model, held_out) = (at("model.safetensors"), at("valid.u16"));
        Ok(Self {
            config: TrainConfig::read(&at("config.toml"))?,
            metrics: Metrics::read(folder)?,
            checkpoint: model.exists().then(|| checkpoint::load(&model)).transpose()?,
            held_out: if held_out.exists() { read_tokens(&held_out)? } else { Vec::new() },
        })
    }

    /// Its report for a machine.
    pub fn report<'a>(&'a self, board: &'a Board) -> Report<'a> {
        let checkpoint = self.checkpoint.as_ref();
        Report {
            config: &self.config,
            metrics: &self.metrics,
            model: checkpoint.map(|checkpoint| (&checkpoint.model, &checkpoint.info)),
            tokenizer: checkpoint.and_then(|checkpoint| checkpoint.tokenizer.as_deref()),
            held_out: &self.held_out,
            board,
        }
    }
}
