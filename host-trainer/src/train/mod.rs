//! Training runs: the loop around [`Trainer`], with its files, its progress and its end.

mod average;
mod config;
mod dashboard;
mod distill;
mod folder;
mod interrupt;
mod metrics;
mod progress;
mod samples;
mod sampling;
mod stored;
mod trainer;
mod turns;

pub use config::{Budget, DataConfig, TrainConfig, TrainingConfig, View};
pub use distill::{DistillationConfig, check_teacher, write};
pub use folder::{TOKENS, check_folder, run_files};
pub(crate) use interrupt::Interruptible;
pub use metrics::{Metrics, Sample, Step};
pub use samples::{Rows, Samples};
pub(crate) use sampling::text_of;
pub use stored::{Stored, read_tokens};
pub use trainer::{StepReport, Trainer, check_finetune};

use crate::checkpoint::Info;
use crate::model::Model;
use crate::report::{self, Report};
use anyhow::{Context, Result, ensure};
use folder::RunFolder;
use progress::{Moment, Progress};
use samples::Examined;
use sampling::Sampling;
use serde_json::{Value, json};
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Whether it was interrupted; it can be resumed.
    pub interrupted: bool,
    /// Whether it ended before its budget, as its patience did.
    pub stopped_early: bool,
    /// Steps done, those before an interruption included.
    pub steps: u64,
    /// Loss of the last steps' batches in nats per token.
    pub train_loss: f64,
    /// Loss on all that is held out in nats per token, if there is any.
    pub valid_loss: Option<f64>,
    /// Share of all held-out texts whose class a classifier finds.
    pub valid_accuracy: Option<f64>,
    /// The loss on what is held out of the average of the weights, if there is one.
    pub average_loss: Option<f64>,
    /// Lowest validation loss of all evaluations, each on the first `eval_tokens`: that of `best.safetensors`. With an
    /// average of the weights, it is the average's.
    pub best_loss: f64,
    /// Seconds of training, those before an interruption included.
    pub seconds: f64,
    /// Training speed of this call, evaluations and checkpoints not counted.
    pub tokens_per_second: f64,
}

/// What a run learns from, and what it is examined by, which may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// To learn from.
    pub train: Samples<'a>,
    /// Held out.
    pub valid: Samples<'a>,
}

/// Where a run begins.
#[derive(Debug, Clone, Copy)]
pub enum Begin<'a> {
    /// With weights drawn at random.
    New,
    /// With a model that has learned already; the folder keeps rows, and has the tokens of a text in [`TOKENS`].
    With(&'a Model),
    /// Where the run that the folder holds was left.
    Resume,
}

/// [`train_on`] a text, from the start or, with `resume`, from where the run was left.
pub fn train(
    run_dir: &Path,
    config: TrainConfig,
    info: Info,
    train_tokens: &[u16],
    valid_tokens: &[u16],
    tokenizer: Option<Vec<u8>>,
    resume: bool,
) -> Result<Outcome> {
    let data = Data { train: Samples::Text(train_tokens), valid: Samples::Text(valid_tokens) };
    let begin = if resume { Begin::Resume } else { Begin::New };
    train_on(run_dir, config, info, data, tokenizer, begin)
}

/// Trains a model in a run folder until its budget is used, its patience ends, or Ctrl-C asks to stop; in any case the
/// step at hand is finished and the model and the state are saved.
///
/// Held-out samples may be empty; otherwise they must fill a context. The tokenizer's bytes are stored with the model as
/// they are, and so is `info`, with the number of steps.
pub fn train_on(
    run_dir: &Path,
    mut config: TrainConfig,
    info: Info,
    data: Data<'_>,
    tokenizer: Option<Vec<u8>>,
    begin: Begin<'_>,
) -> Result<Outcome> {
    let (trainer, folder, judged) = open(run_dir, &mut config, data, tokenizer.as_deref(), begin)?;
    let metrics = Metrics::read(run_dir)?;
    let (view, seed, held_out) = (&config.view, config.training.seed, data.valid.tokens());
    let classifies = config.model.config.n_classes > 0;
    let sampling = Sampling::new(tokenizer.as_deref(), classifies, view.prompt.as_deref(), held_out, seed);
    let sampling = sampling.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        None
    });
    let progress = Progress::new(run_dir, view.dashboard);
    let mut run = Run { trainer, folder, config, info, data, tokenizer, judged, metrics, sampling, progress };
    if let Begin::With(_) = begin {
        run.folder.save_rows(data.train)?;
        run.folder.save_held_out(data.valid)?;
        run.save()?;
    }
    run.until_stopped()
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
    let data = Data { train: Samples::Text(train_tokens), valid: Samples::Text(valid_tokens) };
    let begin = if resume { Begin::Resume } else { Begin::New };
    let (trainer, folder, judged) = open(run_dir, &mut config, data, tokenizer, begin)?;
    folder.save_held_out(data.valid)?;
    let state = trainer.state(judged.best_loss, judged.stale);
    folder.save(&state, trainer.model(), trainer.average(), info, tokenizer)
}

/// What evaluations have said so far.
#[derive(Debug, Clone, Copy)]
struct Judged {
    best_loss: f64,
    /// Evaluations since the lowest.
    stale: u64,
}

/// A run where it begins or goes on: its trainer, its folder, and what its evaluations have said.
fn open(
    run_dir: &Path,
    config: &mut TrainConfig,
    data: Data<'_>,
    tokenizer: Option<&[u8]>,
    begin: Begin<'_>,
) -> Result<(Trainer, RunFolder, Judged)> {
    if config.training.threads == 0 {
        config.training.threads = thread::available_parallelism().map_or(1, NonZero::get);
    }
    config.validate()?;
    data.train.check(&config.model, config.sequence()).context("training tokens")?;
    let examined = !data.valid.tokens().is_empty();
    if examined {
        data.valid.check(&config.model, config.sequence()).context("validation tokens")?;
    }
    ensure!(
        examined || config.training.patience.is_none(),
        "patience: found {}, but nothing is held out to be examined by",
        config.training.patience.unwrap_or_default()
    );
    let mut trainer = match begin {
        Begin::With(model) => Trainer::from(config.clone(), model.clone())?,
        Begin::New | Begin::Resume => Trainer::new(config.clone())?,
    };
    if !matches!(begin, Begin::Resume) {
        let judged = Judged { best_loss: f64::INFINITY, stale: 0 };
        return Ok((trainer, RunFolder::create(run_dir, config)?, judged));
    }
    let len = trainer.model().params().values.len();
    let state = RunFolder::state(run_dir, config, tokenizer, len)?;
    let judged = Judged { best_loss: state.best_loss, stale: state.stale };
    trainer.restore(state)?;
    check_budget(&trainer, config)?;
    let folder = RunFolder::resume(run_dir, config, trainer.step())?;
    Ok((trainer, folder, judged))
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
    data: Data<'a>,
    tokenizer: Option<Vec<u8>>,
    judged: Judged,
    metrics: Metrics,
    sampling: Option<Sampling>,
    progress: Progress,
}

impl Run<'_> {
    fn until_stopped(&mut self) -> Result<Outcome> {
        let listener = Interruptible::new();
        let mut loss = Smoothed::default();
        let mut speed = Smoothed::default();
        let (mut tokens, mut seconds) = (0, 0.0);
        let mut last_saved = Instant::now();
        let start = (self.trainer.fraction(), Instant::now());
        while self.trainer.fraction() < 1.0 && !self.has_no_patience() && !listener.asked() {
            let began = Instant::now();
            let report = self.trainer.learn(self.data.train)?;
            let took = began.elapsed().as_secs_f64();
            tokens += self.trainer.tokens_per_step();
            seconds += took;
            loss.add(report.loss);
            speed.add(self.trainer.tokens_per_step() as f64 / took);

            let step = self.trainer.step();
            self.record_line(&json!({
                "step": step,
                "loss": report.loss,
                "learning_rate": report.rate,
                "grad_norm": report.grad_norm,
                "tokens_per_second": speed.value.round(),
                "seconds": self.trainer.seconds(),
            }))?;
            let fraction = self.trainer.fraction();
            let pace = start.1.elapsed().as_secs_f64() / (fraction - start.0).max(1e-9);
            let seconds_left = pace * (1.0 - fraction);
            let moment = Moment { step, loss: loss.value, speed: speed.value, fraction, seconds_left };
            self.progress.show(&moment, &self.metrics);
            if step.is_multiple_of(self.config.training.eval_interval) && fraction < 1.0 {
                let limit = self.config.training.eval_tokens;
                let told = self.evaluate(limit)?;
                self.tell(&told, false)?;
                self.judge(&told)?;
            }
            let due = last_saved.elapsed().as_secs_f64() >= self.config.training.checkpoint_seconds;
            let asked = listener.asked_to_save();
            if due || asked {
                self.save()?;
                self.report();
                last_saved = Instant::now();
            }
            if asked {
                self.progress.note(format!("step {step}  saved"));
            }
        }

        // Saved first: whoever interrupts may not wait for the evaluation.
        self.save()?;
        self.folder.save_held_out(self.data.valid)?;
        self.progress.finish();
        drop(listener);
        let stopped_early = self.trainer.fraction() < 1.0 && self.has_no_patience();
        let interrupted = self.trainer.fraction() < 1.0 && !stopped_early;
        let told = if interrupted { None } else { self.conclude(stopped_early)? };
        self.report();
        Ok(Outcome {
            interrupted,
            stopped_early,
            steps: self.trainer.step(),
            train_loss: loss.value,
            valid_loss: told.map(|told| told.loss),
            valid_accuracy: told.and_then(|told| told.accuracy),
            average_loss: told.and_then(|told| told.average),
            best_loss: self.judged.best_loss,
            seconds: self.trainer.seconds(),
            tokens_per_second: tokens as f64 / f64::max(seconds, 1e-9),
        })
    }

    /// Whether too many evaluations have passed since the lowest loss.
    fn has_no_patience(&self) -> bool {
        self.config.training.patience.is_some_and(|patience| self.judged.stale >= patience)
    }

    /// The last evaluation: on all that is held out and, for the comparison with those before it, on as much as they took.
    fn conclude(&mut self, stopped_early: bool) -> Result<Option<Evaluation>> {
        let limit = self.config.training.eval_tokens;
        let told = self.evaluate(usize::MAX)?;
        // One that has run out of patience was judged at this step.
        if !stopped_early {
            let same = !self.data.valid.exceeds(limit);
            let compared = if same { told } else { self.evaluate(limit)? };
            let before = self.judged.best_loss;
            self.judge(&compared)?;
            if self.judged.best_loss < before {
                self.save()?;
            }
        }
        self.tell(&told, stopped_early)?;
        Ok(told)
    }

    /// Measures the loss on what is held out, as many contexts as fit `limit` tokens but at least one.
    fn evaluate(&self, limit: usize) -> Result<Option<Evaluation>> {
        if self.data.valid.tokens().is_empty() {
            return Ok(None);
        }
        let (len, threads) = (self.config.sequence(), self.config.training.threads);
        let measure = |model: &Model| self.data.valid.loss(model, limit, len, threads);
        let Examined { loss, count, right } = measure(self.trainer.model())?;
        let average = self.trainer.average().map(measure).transpose()?;
        let accuracy = right.map(|right| right as f64 / count.max(1) as f64);
        Ok(Some(Evaluation { loss, count, accuracy, average: average.map(|average| average.loss) }))
    }

    /// Tells an evaluation, and what the model writes then.
    fn tell(&mut self, told: &Option<Evaluation>, stopped_early: bool) -> Result<()> {
        let Some(Evaluation { loss, count, accuracy, average }) = *told else { return Ok(()) };
        let step = self.trainer.step();
        let of_average = average.map_or(String::new(), |loss| format!(", of the average {loss:.4}"));
        let unit = if accuracy.is_some() { "text" } else { "token" };
        let right = accuracy.map_or(String::new(), |right| format!(", accuracy {:.2} %", 100.0 * right));
        self.progress.note(format!(
            "step {step}  validation loss {loss:.4} nats per {unit}{of_average}{right} ({count} {unit}s)"
        ));
        let mut line = json!({
            "step": step,
            "valid_loss": loss,
            "valid_tokens": count,
            "seconds": self.trainer.seconds(),
        });
        if let Some(accuracy) = accuracy {
            line["valid_accuracy"] = accuracy.into();
        }
        if let Some(average) = average {
            line["average_loss"] = average.into();
        }
        if stopped_early {
            line["stopped_early"] = true.into();
        }
        self.record_line(&line)?;
        if let Some(sampling) = &self.sampling {
            let sample = sampling.draw(self.trainer.model(), step)?;
            self.progress.sample(&sample);
            self.record_line(&json!({ "step": step, "prompt": sample.prompt, "sample": sample.text }))?;
        }
        Ok(())
    }

    /// Keeps the model with the lowest loss; with an average, the average is what counts.
    fn judge(&mut self, told: &Option<Evaluation>) -> Result<()> {
        let Some(told) = told else { return Ok(()) };
        let loss = told.average.unwrap_or(told.loss);
        if loss < self.judged.best_loss {
            self.judged = Judged { best_loss: loss, stale: 0 };
            let model = self.trainer.average().unwrap_or(self.trainer.model());
            let (step, seed) = (self.trainer.step(), self.config.training.seed);
            self.folder.save_best(model, step, seed, &self.info, self.tokenizer.as_deref())
        } else {
            self.judged.stale += 1;
            Ok(())
        }
    }

    fn record_line(&mut self, line: &Value) -> Result<()> {
        self.metrics.add(line);
        self.folder.record(line)
    }

    /// Writes the report. Whatever keeps it from being written shall not keep the run from going on.
    fn report(&mut self) {
        let info = folder::after(&self.info, self.trainer.step(), self.config.training.seed);
        let report = Report {
            config: &self.config,
            metrics: &self.metrics,
            model: Some((self.trainer.model(), &info)),
            tokenizer: self.tokenizer.as_deref(),
            held_out: self.data.valid.tokens(),
            board: report::default_board(),
        };
        if let Err(error) = report.write(&self.folder.report()) {
            self.progress.note(format!("no report: {error:#}"));
        }
    }

    fn save(&self) -> Result<()> {
        let state = self.trainer.state(self.judged.best_loss, self.judged.stale);
        let (model, average) = (self.trainer.model(), self.trainer.average());
        self.folder.save(&state, model, average, &self.info, self.tokenizer.as_deref())
    }
}

/// What an evaluation tells.
#[derive(Debug, Clone, Copy)]
struct Evaluation {
    loss: f64,
    count: usize,
    /// Share of a classifier's classes that were right.
    accuracy: Option<f64>,
    /// Loss of the average of the weights.
    average: Option<f64>,
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
