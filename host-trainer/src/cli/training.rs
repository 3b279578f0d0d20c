//! How to train, in flags: what `train` and `finetune` share. Each has a setting of the same name in `[training]`.

use crate::optimizer::Method;
use crate::schedule::Decay;
use crate::train::{Outcome, TrainingConfig, View};
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;

/// Flags over the table `[training]`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct Flags {
    /// Length of the run in optimizer steps
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    steps: Option<u64>,
    /// Length of the run in minutes [default: 3]
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Sequences per batch [default: 8]
    #[arg(long)]
    batch: Option<usize>,
    /// Batches per step, their gradients added up [default: 1]
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Who takes the steps; muon for the matrices of the blocks only, at the same learning rate [default: adamw]
    #[arg(long, value_enum)]
    optimizer: Option<Method>,
    /// Highest learning rate [default: 0.004; to fine-tune 0.001]
    #[arg(long)]
    learning_rate: Option<f32>,
    /// How the learning rate falls [default: cosine]
    #[arg(long, value_enum)]
    schedule: Option<Decay>,
    /// Part of the run during which the learning rate rises [default: 0.05]
    #[arg(long, value_name = "PART")]
    warmup: Option<f32>,
    /// Last part of the run, during which the rate of the schedule wsd falls [default: 0.2]
    #[arg(long, value_name = "PART")]
    cooldown: Option<f32>,
    /// Learning rate at the end, as a part of the highest [default: 0.05]
    #[arg(long, value_name = "PART")]
    final_rate: Option<f32>,
    /// Decay of matrices, times the learning rate, at each step; norms, biases and positions have none [default: 0.1]
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Largest norm of all gradients together; longer ones are scaled down [default: 1]
    #[arg(long, value_name = "NORM")]
    clip: Option<f32>,
    /// Share of values that dropout takes while training [default: 0]
    #[arg(long)]
    dropout: Option<f32>,
    /// Share of a target's probability that goes to all outputs evenly, such as 0.1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f32>,
    /// Average the weights, keeping this much of the average at each step, such as 0.999: ema.safetensors, which
    /// best.safetensors and --patience then go by [default: 0, none]
    #[arg(long, value_name = "PART")]
    ema: Option<f32>,
    /// Steps between two evaluations [default: 250]
    #[arg(long, value_name = "N")]
    eval_interval: Option<u64>,
    /// End the run after this many evaluations without a new lowest loss [default: never]
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Seed of everything random [default: 42]
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; 0 takes one for each core [default: 0]
    #[arg(long)]
    threads: Option<usize>,
    /// Plain lines instead of a dashboard, also on a terminal
    #[arg(long)]
    plain: bool,
    /// What the sample of each evaluation continues [default: the start of the held-out text]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
}

impl Flags {
    /// How the run is to show itself.
    pub fn view(&self) -> View {
        View { dashboard: !self.plain, prompt: self.prompt.clone() }
    }

    /// Overrides settings by flags.
    pub fn apply(&self, training: &mut TrainingConfig) {
        fn set<T: Copy>(field: &mut T, flag: Option<T>) {
            *field = flag.unwrap_or(*field);
        }
        set(&mut training.batch, self.batch);
        set(&mut training.accumulate, self.accumulate);
        set(&mut training.optimizer, self.optimizer);
        set(&mut training.learning_rate, self.learning_rate);
        set(&mut training.schedule, self.schedule);
        set(&mut training.warmup, self.warmup);
        set(&mut training.cooldown, self.cooldown);
        set(&mut training.final_rate, self.final_rate);
        set(&mut training.weight_decay, self.weight_decay);
        set(&mut training.clip, self.clip);
        set(&mut training.dropout, self.dropout);
        set(&mut training.label_smoothing, self.label_smoothing);
        set(&mut training.ema, self.ema);
        set(&mut training.eval_interval, self.eval_interval);
        set(&mut training.seed, self.seed);
        set(&mut training.threads, self.threads);
        training.patience = self.patience.or(training.patience);
        if self.steps.is_some() || self.minutes.is_some() {
            (training.steps, training.minutes) = (self.steps, self.minutes);
        }
        if training.steps.is_none() && training.minutes.is_none() {
            training.minutes = Some(3.0);
        }
    }
}

/// Tells how a run ended; `engine` is what else it takes to go on.
pub fn report(outcome: &Outcome, output: &Path, engine: &str) -> Result<ExitCode> {
    let steps = outcome.steps;
    if outcome.interrupted {
        let output = output.display();
        eprintln!(
            "interrupted after {steps} steps; to go on: thumbformer train --resume -o {output}{engine}"
        );
        return Ok(ExitCode::from(130));
    }
    if outcome.stopped_early {
        eprintln!("stopped after {steps} steps: no lower validation loss; best.safetensors has the lowest");
    }
    let mut line = serde_json::json!({
        "steps": steps,
        "train_loss": outcome.train_loss,
        "valid_loss": outcome.valid_loss,
        "best_loss": outcome.best_loss,
        "seconds": outcome.seconds,
        "tokens_per_second": outcome.tokens_per_second,
        "stopped_early": outcome.stopped_early,
    });
    if let Some(loss) = outcome.average_loss {
        line["average_loss"] = loss.into();
    }
    if let Some(accuracy) = outcome.valid_accuracy {
        line["valid_accuracy"] = accuracy.into();
    }
    super::print(&line.to_string())?;
    Ok(ExitCode::SUCCESS)
}
