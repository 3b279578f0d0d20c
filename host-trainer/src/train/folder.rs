//! The folder of a run: `config.toml`, `metrics.jsonl`, `report.html`, `model.safetensors`, `best.safetensors`,
//! `state.safetensors`, `valid.u16`; `ema.safetensors`, if the weights are averaged; in `tokens` the streams that the run
//! reads; and `train.u16`, `train.targets.u16` and `valid.targets.u16`, if these are rows whose targets are not the next
//! tokens.

use super::config::TrainConfig;
use super::samples::Samples;
use crate::checkpoint::{self, Info, State, check_output, write_atomically};
use crate::model::Model;
use crate::prepare;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Refuses a folder in which no run can begin or, with `resume`, none can go on: before the work that comes first.
pub fn check_folder(path: &Path, resume: bool) -> Result<()> {
    let holds = |name: &&str| path.join(name).exists();
    if resume {
        ensure!(holds(&STATE), "{}: found no run to resume", path.display());
    } else {
        // A run that ended before its first checkpoint leaves nothing to lose.
        ensure!(
            ![MODEL, STATE, VALID].iter().any(holds),
            "{}: found a run, wanted an empty folder or --resume",
            path.display()
        );
    }
    let existing = path.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    check_output(&existing.join(CONFIG), &[])
        .with_context(|| format!("{}: no place for a run", path.display()))
}

/// A run's files.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
}

impl RunFolder {
    /// Makes the folder of a new run. Refuses one that holds a run already.
    pub fn create(path: &Path, config: &TrainConfig) -> Result<Self> {
        check_folder(path, false)?;
        fs::create_dir_all(path).with_context(|| format!("{}", path.display()))?;
        write_atomically(&path.join(METRICS), &[])?;
        Self::open(path, config)
    }

    /// Reads the state of an interrupted run of a model with `len` parameters. The new configuration may differ
    /// from the old one in anything but the model and the seed; the tokenizer must be the same.
    pub fn state(path: &Path, config: &TrainConfig, tokenizer: Option<&[u8]>, len: usize) -> Result<State> {
        check_folder(path, true)?;
        let file = path.join(CONFIG);
        if TrainConfig::read(&file)?.model != config.model {
            bail!("{}: found another [model] than the one to resume", file.display());
        }
        let model = path.join(MODEL);
        if model.exists() && checkpoint::load(&model)?.tokenizer.as_deref() != tokenizer {
            bail!("{}: found another tokenizer than that of the text to resume with", model.display());
        }
        State::load(&path.join(STATE), len)
    }

    /// Opens the folder of an interrupted run, to go on after `step`.
    pub fn resume(path: &Path, config: &TrainConfig, step: u64) -> Result<Self> {
        forget_after(&path.join(METRICS), step)?;
        Self::open(path, config)
    }

    fn open(path: &Path, config: &TrainConfig) -> Result<Self> {
        write_atomically(&path.join(CONFIG), &[toml::to_string(config)?.as_bytes()])?;
        let metrics = path.join(METRICS);
        let open = OpenOptions::new().append(true).create(true).open(&metrics);
        Ok(Self {
            path: path.to_path_buf(),
            metrics: open.with_context(|| format!("{}", metrics.display()))?,
        })
    }

    /// Where the report lies.
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// Adds a line to the metrics.
    pub fn record(&mut self, line: &Value) -> Result<()> {
        // At once, so that no reader and no kill meets a part of it.
        self.metrics
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("{}", self.path.join(METRICS).display()))
    }

    /// Writes the state, then the model and the average, if there is one.
    pub fn save(
        &self,
        state: &State,
        model: &Model,
        average: Option<&Model>,
        info: &Info,
        tokenizer: Option<&[u8]>,
    ) -> Result<()> {
        state.save(&self.path.join(STATE))?;
        self.save_model(MODEL, model, state.step, state.seed, info, tokenizer)?;
        average
            .map_or(Ok(()), |model| self.save_model(AVERAGE, model, state.step, state.seed, info, tokenizer))
    }

    /// Writes the model with the lowest validation loss.
    pub fn save_best(
        &self,
        model: &Model,
        step: u64,
        seed: u64,
        info: &Info,
        tokenizer: Option<&[u8]>,
    ) -> Result<()> {
        self.save_model(BEST, model, step, seed, info, tokenizer)
    }

    fn save_model(
        &self,
        name: &str,
        model: &Model,
        step: u64,
        seed: u64,
        info: &Info,
        tokenizer: Option<&[u8]>,
    ) -> Result<()> {
        checkpoint::save(&self.path.join(name), model, &after(info, step, seed), tokenizer)
    }

    /// Writes the held-out samples, for other programs, too: without a header.
    pub fn save_held_out(&self, samples: Samples<'_>) -> Result<()> {
        self.save_samples(VALID, VALID_TARGETS, samples)
    }

    /// Writes the rows to learn from. A text's stream of tokens is in [`TOKENS`] already.
    pub fn save_rows(&self, samples: Samples<'_>) -> Result<()> {
        samples.targets().map_or(Ok(()), |_| self.save_samples(TRAIN, TRAIN_TARGETS, samples))
    }

    fn save_samples(&self, tokens: &str, targets: &str, samples: Samples<'_>) -> Result<()> {
        self.save_tokens(tokens, samples.tokens())?;
        samples.targets().map_or(Ok(()), |values| self.save_tokens(targets, values))
    }

    fn save_tokens(&self, name: &str, tokens: &[u16]) -> Result<()> {
        let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
        write_atomically(&self.path.join(name), &[&bytes])
    }
}

/// What the model is after so many steps. `stored::Stored` and the torch engine take this end off again.
pub fn after(info: &Info, step: u64, seed: u64) -> Info {
    Info { provenance: format!("{}, {step} steps, seed {seed}", info.provenance), ..info.clone() }
}

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.html";
/// The newest checkpoint.
pub(super) const MODEL: &str = "model.safetensors";
/// The checkpoint with the lowest validation loss.
const BEST: &str = "best.safetensors";
/// The average of the weights at the newest checkpoint.
const AVERAGE: &str = "ema.safetensors";
const STATE: &str = "state.safetensors";
/// The held-out tokens.
pub(super) const VALID: &str = "valid.u16";
/// The rows to learn from.
pub(super) const TRAIN: &str = "train.u16";
/// The targets of rows.
pub(super) const TRAIN_TARGETS: &str = "train.targets.u16";
pub(super) const VALID_TARGETS: &str = "valid.targets.u16";
/// The folder of the streams of tokens that the run reads; see [`prepare`].
pub const TOKENS: &str = "tokens";

/// All files that a run may have, but for the report.
pub fn run_files(run_dir: &Path) -> Vec<PathBuf> {
    let names = [CONFIG, METRICS, MODEL, BEST, AVERAGE, STATE, VALID, VALID_TARGETS, TRAIN, TRAIN_TARGETS];
    let streams = [prepare::TRAIN, prepare::VALID].map(|name| run_dir.join(TOKENS).join(name));
    names.map(|name| run_dir.join(name)).into_iter().chain(streams).collect()
}

/// Drops the metrics of steps that are going to be done again.
fn forget_after(metrics: &Path, step: u64) -> Result<()> {
    let bytes = match fs::read(metrics) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.with_context(|| format!("cannot read {}", metrics.display()))?,
    };
    // The last line may be cut off within a character.
    let text = String::from_utf8_lossy(&bytes);
    let done = |line: &&str| {
        let value: Option<Value> = serde_json::from_str(line).ok();
        value.is_some_and(|value| value["step"].as_u64().is_some_and(|s| s <= step))
    };
    let kept: String = text.lines().filter(done).flat_map(|line| [line, "\n"]).collect();
    write_atomically(metrics, &[kept.as_bytes()])
}
