//! What came out of a sweep: one row for each run, whatever became of it.

use super::jobs::PLAN;
use super::plan::{Plan, Point, show};
use crate::train::TrainConfig;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use toml::Value;

/// Steps over which the training loss is averaged.
const LAST_STEPS: usize = 20;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "why")]
pub enum Status {
    /// Its budget is used, or its patience, and the whole held-out text evaluated.
    Done,
    /// It can go on: how far it came.
    Unfinished(String),
    /// It has no folder yet, or no metrics.
    NotStarted,
    /// Its files make no sense: why.
    Broken(String),
}

/// A run and what is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it has of its own.
    pub values: BTreeMap<String, Value>,
    /// Its seed.
    pub seed: u64,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
    /// Steps done.
    pub steps: u64,
    /// Mean loss of the last 20 steps' batches, in nats per token.
    pub train_loss: Option<f64>,
    /// The newest validation loss, in nats per token.
    pub valid_loss: Option<f64>,
    /// The lowest validation loss.
    pub best_loss: Option<f64>,
    /// Seconds of training.
    pub seconds: f64,
}

impl Row {
    /// What its point is called in tables and charts.
    pub fn label(&self) -> String {
        show(&self.values)
    }
}

/// Reads every run of a sweep: those that are done first, the best on top.
pub fn collect(folder: &Path) -> Result<Vec<Row>> {
    let path = folder.join(PLAN);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{}: found no sweep: cannot read {PLAN}", folder.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let mut rows: Vec<Row> = plan.points.iter().map(|point| row(folder, point)).collect();
    rows.sort_by(|a, b| {
        let done = |row: &Row| row.status == Status::Done;
        let loss = |row: &Row| row.valid_loss.unwrap_or(f64::INFINITY);
        done(b).cmp(&done(a)).then(loss(a).partial_cmp(&loss(b)).unwrap_or(Ordering::Equal))
    });
    Ok(rows)
}

fn row(folder: &Path, point: &Point) -> Row {
    let mut row = Row {
        name: point.name.clone(),
        values: point.values.clone(),
        seed: point.seed,
        status: Status::NotStarted,
        steps: 0,
        train_loss: None,
        valid_loss: None,
        best_loss: None,
        seconds: 0.0,
    };
    let run = folder.join("runs").join(&point.name);
    row.status = match fs::read_to_string(run.join("metrics.jsonl")) {
        Err(_) if !run.exists() => Status::NotStarted,
        Err(error) => Status::Broken(format!("metrics.jsonl: {error}")),
        Ok(text) if text.is_empty() => Status::NotStarted,
        Ok(text) => read(&mut row, &run, &text).unwrap_or_else(|error| Status::Broken(format!("{error:#}"))),
    };
    row
}

/// Takes the numbers out of the metrics and tells how far they go.
fn read(row: &mut Row, run: &Path, text: &str) -> Result<Status> {
    let mut losses = Vec::new();
    let (mut evaluated, mut stopped_early) = (None, false);
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let value: serde_json::Value = match serde_json::from_str(line) {
            Ok(value) => value,
            // A run that was ended while it wrote.
            Err(_) if !line.ends_with('\n') => break,
            Err(error) => bail!("metrics.jsonl, line {}: {error}", i + 1),
        };
        let step = value["step"]
            .as_u64()
            .with_context(|| format!("metrics.jsonl, line {}: found no step", i + 1))?;
        row.steps = row.steps.max(step);
        row.seconds = value["seconds"].as_f64().unwrap_or(row.seconds);
        if let Some(loss) = value["valid_loss"].as_f64() {
            evaluated = Some(step);
            stopped_early = value["stopped_early"] == true;
            row.valid_loss = Some(loss);
            row.best_loss = Some(row.best_loss.map_or(loss, |best| best.min(loss)));
        } else if value["sample"].is_null() {
            let loss = value["loss"].as_f64();
            losses.push(loss.with_context(|| format!("metrics.jsonl, line {}: found no loss", i + 1))?);
        }
    }
    let last = &losses[losses.len().saturating_sub(LAST_STEPS)..];
    row.train_loss = (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64);
    // A run may have gone on with another budget than it began with.
    let budget = TrainConfig::read(&run.join("config.toml"))?.budget()?;
    let used = budget.fraction(row.steps, row.seconds);
    Ok(if (used >= 1.0 || stopped_early) && evaluated == Some(row.steps) {
        Status::Done
    } else {
        Status::Unfinished(format!("step {}, {:.0} % of its budget", row.steps, 100.0 * used))
    })
}

/// The rows as a table, and below it what became of the runs that are not done.
pub fn table(rows: &[Row]) -> String {
    let label = rows.iter().map(|row| row.label().len()).chain([5]).max().unwrap_or_default();
    let name = rows.iter().map(|row| row.name.len()).chain([3]).max().unwrap_or_default();
    let mut text = format!(
        "{:name$}  {:label$}  {:>6}  {:>7}  {:>10}  {:>10}  {:>10}  {:>8}\n",
        "run", "point", "seed", "steps", "train loss", "valid loss", "best loss", "seconds"
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    for row in rows {
        let _ = writeln!(
            text,
            "{:name$}  {:label$}  {:>6}  {:>7}  {:>10}  {:>10}  {:>10}  {:>8.0}",
            row.name,
            row.label(),
            row.seed,
            row.steps,
            number(row.train_loss),
            number(row.valid_loss),
            number(row.best_loss),
            row.seconds
        );
    }
    let done = rows.iter().filter(|row| row.status == Status::Done).count();
    let _ = writeln!(text, "{done} of {} runs are done; losses in nats per token", rows.len());
    for row in rows.iter().filter(|row| row.status != Status::Done) {
        let _ = writeln!(text, "not done: {}: {}", row.name, row.status);
    }
    text
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => write!(f, "done"),
            Self::Unfinished(why) => write!(f, "unfinished, {why}"),
            Self::NotStarted => write!(f, "not started"),
            Self::Broken(why) => write!(f, "broken, {why}"),
        }
    }
}
