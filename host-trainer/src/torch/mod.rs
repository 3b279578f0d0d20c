//! The other engine: the PyTorch twin in `host-trainer/torch`, which trains a run folder on the spot or under `torchrun`.

mod environment;

pub use environment::Environment;

use crate::optimizer::Method;
use crate::train::{Interruptible, Outcome, TrainConfig};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use thumbformer::NormKind;

/// How often we look whether someone pressed Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

/// Says what of a configuration the twin cannot do. `checkpoint.py` refuses the same, wherever a folder comes from.
pub fn check(config: &TrainConfig) -> Result<()> {
    let t = &config.training;
    let optimizer = t.optimizer;
    ensure!(
        optimizer == Method::AdamW,
        "optimizer: found {}, wanted adamw for the torch engine",
        optimizer.name()
    );
    let (smoothing, n_classes) = (t.label_smoothing, config.model.config.n_classes);
    ensure!(smoothing == 0.0, "label_smoothing: found {smoothing}, wanted 0 for the torch engine");
    ensure!(n_classes == 0, "n_classes: found {n_classes}, wanted 0 for the torch engine");
    let batch = config.model.config.norm == NormKind::Batch;
    ensure!(!batch, "norm: found batch, wanted rms or layer for the torch engine");
    ensure!(t.ema == 0.0, "ema: found {}, wanted 0 for the torch engine", t.ema);
    ensure!(
        config.finetune.is_default(),
        "finetune: found in the run, but the torch engine trains all, equally"
    );
    ensure!(
        config.data.pairs.is_none(),
        "pairs: found in the run, but the torch engine learns from texts only"
    );
    Ok(())
}

/// Trains in a run folder that [`hand_over`](crate::train::hand_over) has made, in `nproc` processes, until its budget is
/// used or Ctrl-C asks to stop.
pub fn train(environment: &Environment, run_dir: &Path, nproc: usize) -> Result<Outcome> {
    let program = environment.program();
    let mut command = Command::new(environment.python());
    if nproc > 1 {
        command.arg(program.join("launch.py")).arg("--standalone").arg(format!("--nproc-per-node={nproc}"));
    }
    command.arg(program.join("train.py")).arg(run_dir);
    // train.py divides the run's threads among the processes by itself; torchrun warns where this is not said.
    command.env("OMP_NUM_THREADS", "1");
    // The end of its standard input is what stops it: ours, too, by whatever we are ended.
    command.env("THUMBFORMER_STOP_BY_STDIN", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C is ours alone: torchrun would take it for a failure.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let listener = Interruptible::new();
    let mut child = command.spawn().context("cannot start the torch engine")?;
    let mut stdout = child.stdout.take().expect("it is piped");
    let (status, said) = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut said = String::new();
            stdout.read_to_string(&mut said).map(|_| said)
        });
        let status = wait(&mut child, &listener);
        (status, reader.join().expect("a reader does not panic"))
    });
    let (status, said) = (status?, said.context("the torch engine's output")?);
    if !status.success() {
        bail!("{}: the torch engine failed ({status}); it says why above", run_dir.display());
    }
    let report = said.lines().rev().find_map(|line| serde_json::from_str::<Report>(line).ok());
    Ok(report.with_context(|| format!("the torch engine ended without a report: {said:?}"))?.into())
}

/// Waits for the end; asks for it, once, where someone asks us.
fn wait(child: &mut Child, listener: &Interruptible) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if listener.asked() {
            drop(child.stdin.take());
        }
        thread::sleep(POLL);
    }
}

/// What `train.py` prints.
#[derive(Deserialize)]
struct Report {
    interrupted: bool,
    stopped_early: bool,
    steps: u64,
    train_loss: f64,
    valid_loss: Option<f64>,
    best_loss: Option<f64>,
    seconds: f64,
    tokens_per_second: f64,
}

impl From<Report> for Outcome {
    fn from(r: Report) -> Self {
        Self {
            interrupted: r.interrupted,
            stopped_early: r.stopped_early,
            steps: r.steps,
            train_loss: r.train_loss,
            valid_loss: r.valid_loss,
            valid_accuracy: None,
            average_loss: None,
            best_loss: r.best_loss.unwrap_or(f64::INFINITY),
            seconds: r.seconds,
            tokens_per_second: r.tokens_per_second,
        }
    }
}
