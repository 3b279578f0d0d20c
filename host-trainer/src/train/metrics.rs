//! What a run has told so far: the lines of `metrics.jsonl`, one JSON object each.
//!
//! A line with `loss` is a step, one with `valid_loss` an evaluation, one with `sample` a text; all have `step`.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// All lines of a run by their kinds, in their order.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Optimizer steps.
    pub steps: Vec<Step>,
    /// Evaluations on held-out tokens.
    pub evaluations: Vec<Evaluation>,
    /// Texts that the model wrote.
    pub samples: Vec<Sample>,
    /// Lines that are none of these.
    pub unread: usize,
}

/// A step. What the line does not have, or not as a number, is not a number.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its number, from 1.
    pub step: u64,
    /// Loss of its batch in nats per token.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Speed, smoothed.
    pub tokens_per_second: f64,
    /// Seconds of training.
    pub seconds: f64,
}

/// An evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Loss in nats per token.
    pub loss: f64,
    /// Share of a classifier's classes that were right.
    pub accuracy: Option<f64>,
}

/// A text.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Steps done.
    pub step: u64,
    /// What it was to continue.
    pub prompt: String,
    /// What the model wrote.
    pub text: String,
}

impl Metrics {
    /// Reads the metrics of a run folder; those of a run that has none yet are empty.
    pub fn read(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join("metrics.jsonl");
        match fs::read(&path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Reads lines. One that makes no sense, such as the last of a run that was killed, is counted.
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            metrics.add(&serde_json::from_str(line).unwrap_or_default());
        }
        metrics
    }

    /// Adds a line.
    pub fn add(&mut self, line: &Value) {
        let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        match line["step"].as_u64() {
            Some(step) if line.get("loss").is_some() => self.steps.push(Step {
                step,
                loss: number("loss"),
                learning_rate: number("learning_rate"),
                grad_norm: number("grad_norm"),
                tokens_per_second: number("tokens_per_second"),
                seconds: number("seconds"),
            }),
            Some(step) if line.get("valid_loss").is_some() => {
                let (loss, accuracy) = (number("valid_loss"), line["valid_accuracy"].as_f64());
                self.evaluations.push(Evaluation { step, loss, accuracy });
            }
            Some(step) if line["sample"].is_string() => {
                self.samples.push(Sample { step, prompt: text("prompt"), text: text("sample") });
            }
            _ => self.unread += 1,
        }
    }

    /// A value of every step, over the steps.
    pub fn curve(&self, value: fn(&Step) -> f64) -> Vec<(f64, f64)> {
        self.steps.iter().map(|step| (step.step as f64, value(step))).collect()
    }

    /// The validation losses over the steps.
    pub fn validation(&self) -> Vec<(f64, f64)> {
        self.evaluations.iter().map(|evaluation| (evaluation.step as f64, evaluation.loss)).collect()
    }

    /// The accuracies of a classifier in percent over the steps.
    pub fn accuracy(&self) -> Vec<(f64, f64)> {
        let point = |evaluation: &Evaluation| Some((evaluation.step as f64, 100.0 * evaluation.accuracy?));
        self.evaluations.iter().filter_map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_and_nonsense_is_counted() {
        let metrics = Metrics::parse(
            "{\"step\":1,\"loss\":2.5,\"grad_norm\":null}\n\n{\"step\":2,\"valid_loss\":2.0}\n\
             {\"step\":2,\"prompt\":\"a\",\"sample\":\"b\\u0000\"}\n{\"step\":3,\"loss\":null}\n\
             {\"step\":-1,\"loss\":1}\n[7]\n{\"step\":4,\"colour\":1}\n{\"step\":5,\"lo",
        );
        assert_eq!((metrics.steps.len(), metrics.evaluations.len(), metrics.samples.len()), (2, 1, 1));
        assert!(metrics.steps[1].loss.is_nan() && metrics.steps[0].grad_norm.is_nan());
        assert_eq!(metrics.samples[0].text, "b\0");
        assert_eq!(metrics.unread, 4);
    }
}
