//! Training runs: the loop around [`Trainer`], with its files, its progress and its end.

mod config;
mod folder;
mod interrupt;
mod progress;
mod stored;
mod trainer;
mod turns;

pub use config::{Budget, DataConfig, TrainConfig, TrainingConfig};
pub use folder::{TOKENS, check_folder};
pub(crate) use interrupt::Interruptible;
pub use stored::{Stored, read_tokens};
pub use trainer::{StepReport, Trainer};

use crate::checkpoint::Info;
use crate::eval::loss_on_threads;
use crate::model::check_vocabulary;
use anyhow::{Context, Result, ensure};
use folder::RunFolder;
use progress::{Moment, Progress};
use serde_json::json;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Whether it was interrupted; it can be resumed.
    pub interrupted: bool,
    /// Steps done, those before an interruption included.
    pub steps: u64,
    /// Loss of the last steps' batches in nats per token.
    pub train_loss: f64,
    /// Loss on the whole held-out text in nats per token, if there is any.
    pub valid_loss: Option<f64>,
    /// Lowest validation loss seen.
    pub best_loss: f64,
    /// Seconds of training, those before an interruption included.
    pub seconds: f64,
    /// Training speed of this call, evaluations and checkpoints not counted.
    pub tokens_per_second: f64,
}

/// Trains a model in a run folder until its budget is used or Ctrl-C asks to stop; either way the
/// step at hand is finished and the model and the state are saved.
///
/// The held-out tokens may be empty; otherwise they must fill a context. The tokenizer's bytes are
/// stored with the model as they are, and so is `info`, with the number of steps. `resume` goes on with the run that the folder holds.
pub fn train(
    run_dir: &Path,
    mut config: TrainConfig,
    info: Info,
    train_tokens: &[u16],
    valid_tokens: &[u16],
    tokenizer: Option<Vec<u8>>,
    resume: bool,
) -> Result<Outcome> {
    let (trainer, folder, best_loss) =
        open(run_dir, &mut config, train_tokens, valid_tokens, tokenizer.as_deref(), resume)?;
    let mut run =
        Run { trainer, folder, config, info, valid_tokens, tokenizer, best_loss, progress: Progress::new() };
    let outcome = run.until_stopped(train_tokens);
    run.progress.finish();
    outcome
}

/// Makes the folder of a run that another program is to do, or readies one to go on: with the weights and the optimizer as
/// they are after the steps that are done. The tokens to learn from are in its folder [`TOKENS`] already. See [`train`] for
/// the arguments.
pub fn hand_over(
    run_dir: &Path,
    mut config: TrainConfig,
    info: &Info,
    train_tokens: &[u16],
    valid_tokens: &[u16],
    tokenizer: Option<&[u8]>,
    resume: bool,
) -> Result<()> {
    let (trainer, folder, best_loss) =
        open(run_dir, &mut config, train_tokens, valid_tokens, tokenizer, resume)?;
    folder.save_held_out(valid_tokens)?;
    folder.save(&trainer.state(best_loss), trainer.model(), info, tokenizer)
}

/// A run where it begins or goes on: its trainer, its folder, and its lowest validation loss.
fn open(
    run_dir: &Path,
    config: &mut TrainConfig,
    train_tokens: &[u16],
    valid_tokens: &[u16],
    tokenizer: Option<&[u8]>,
    resume: bool,
) -> Result<(Trainer, RunFolder, f64)> {
    if config.training.threads == 0 {
        config.training.threads = thread::available_parallelism().map_or(1, NonZero::get);
    }
    check_tokens(config, train_tokens).context("training tokens")?;
    if !valid_tokens.is_empty() {
        check_tokens(config, valid_tokens).context("validation tokens")?;
    }
    let mut trainer = Trainer::new(config.clone())?;
    if !resume {
        return Ok((trainer, RunFolder::create(run_dir, config)?, f64::INFINITY));
    }
    let len = trainer.model().params().values.len();
    let state = RunFolder::state(run_dir, config, tokenizer, len)?;
    let best_loss = state.best_loss;
    trainer.restore(state)?;
    check_budget(&trainer, config)?;
    let folder = RunFolder::resume(run_dir, config, trainer.step())?;
    Ok((trainer, folder, best_loss))
}

fn check_tokens(config: &TrainConfig, tokens: &[u16]) -> Result<()> {
    config.validate()?;
    let shape = &config.model.config;
    ensure!(
        tokens.len() > shape.seq_len,
        "found {}, wanted at least {} (seq_len and one target)",
        tokens.len(),
        shape.seq_len + 1
    );
    check_vocabulary(tokens, shape.vocab_size)
}

/// Refuses to go on for fewer steps than were done. A budget that is just used up ends the run with its evaluation, which
/// an interruption may have cut off.
fn check_budget(trainer: &Trainer, config: &TrainConfig) -> Result<()> {
    let done = trainer.step();
    if let Budget::Steps(steps) = config.budget()? {
        ensure!(steps >= done, "steps: found {steps}, wanted at least the {done} done");
    }
    Ok(())
}

/// A run and its surroundings.
struct Run<'a> {
    trainer: Trainer,
    folder: RunFolder,
    config: TrainConfig,
    info: Info,
    valid_tokens: &'a [u16],
    tokenizer: Option<Vec<u8>>,
    best_loss: f64,
    progress: Progress,
}

impl Run<'_> {
    fn until_stopped(&mut self, train_tokens: &[u16]) -> Result<Outcome> {
        let listener = Interruptible::new();
        let mut loss = Smoothed::default();
        let mut speed = Smoothed::default();
        let (mut tokens, mut seconds) = (0, 0.0);
        let mut last_saved = Instant::now();
        let start = (self.trainer.fraction(), Instant::now());
        while self.trainer.fraction() < 1.0 && !listener.asked() {
            let began = Instant::now();
            let report = self.trainer.advance(train_tokens)?;
            let took = began.elapsed().as_secs_f64();
            tokens += self.trainer.tokens_per_step();
            seconds += took;
            loss.add(report.loss);
            speed.add(self.trainer.tokens_per_step() as f64 / took);

            let step = self.trainer.step();
            self.folder.record(&json!({
                "step": step,
                "loss": report.loss,
                "learning_rate": report.rate,
                "grad_norm": report.grad_norm,
                "tokens_per_second": speed.value.round(),
                "seconds": self.trainer.seconds(),
            }))?;
            let fraction = self.trainer.fraction();
            let pace = start.1.elapsed().as_secs_f64() / (fraction - start.0).max(1e-9);
            self.progress.show(Moment {
                step,
                loss: loss.value,
                speed: speed.value,
                fraction,
                seconds_left: pace * (1.0 - fraction),
            });
            if step.is_multiple_of(self.config.training.eval_interval) && fraction < 1.0 {
                self.evaluate(self.config.training.eval_tokens)?;
            }
            if last_saved.elapsed().as_secs_f64() >= self.config.training.checkpoint_seconds {
                self.save()?;
                last_saved = Instant::now();
            }
        }

        // Saved first: whoever interrupts may not wait for the evaluation.
        self.save()?;
        self.folder.save_held_out(self.valid_tokens)?;
        drop(listener);
        let interrupted = self.trainer.fraction() < 1.0;
        let valid_loss = if interrupted { None } else { self.evaluate(usize::MAX)? };
        Ok(Outcome {
            interrupted,
            steps: self.trainer.step(),
            train_loss: loss.value,
            valid_loss,
            best_loss: self.best_loss,
            seconds: self.trainer.seconds(),
            tokens_per_second: tokens as f64 / f64::max(seconds, 1e-9),
        })
    }

    /// Measures the loss on held-out tokens, as many contexts as fit `limit` but at least one.
    fn evaluate(&mut self, limit: usize) -> Result<Option<f64>> {
        if self.valid_tokens.is_empty() {
            return Ok(None);
        }
        let seq_len = self.config.model.config.seq_len;
        let len = self.valid_tokens.len().min(limit.max(seq_len).saturating_add(1));
        let threads = self.config.training.threads;
        let tokens = &self.valid_tokens[..len];
        let (loss, count) = loss_on_threads(self.trainer.model(), tokens, seq_len, threads)?;
        self.best_loss = self.best_loss.min(loss);
        let step = self.trainer.step();
        self.progress
            .note(&format!("step {step}  validation loss {loss:.4} nats per token ({count} tokens)"));
        self.folder.record(&json!({
            "step": step,
            "valid_loss": loss,
            "valid_tokens": count,
            "seconds": self.trainer.seconds(),
        }))?;
        Ok(Some(loss))
    }

    fn save(&self) -> Result<()> {
        let state = self.trainer.state(self.best_loss);
        let tokenizer = self.tokenizer.as_deref();
        self.folder.save(&state, self.trainer.model(), &self.info, tokenizer)
    }
}

/// An exponential mean over about twenty values.
#[derive(Debug, Default)]
struct Smoothed {
    value: f64,
    count: u32,
}

impl Smoothed {
    fn add(&mut self, value: f64) {
        self.count = (self.count + 1).min(20);
        self.value += (value - self.value) / f64::from(self.count);
    }
}
