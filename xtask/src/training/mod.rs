//! The yardstick of training: our engine and PyTorch eager, one after the other, on the same weights and batches.

mod report;
mod run;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::{cli, command};

use report::{Pair, Report, Workload};
use run::{Engine, Run};

/// Where the runs lie.
const FOLDER: &str = "target/bench-training";
/// How alike the losses must be: to three decimals.
const TOLERANCE: f64 = 0.0005;
/// What both workloads share: no evaluation and no checkpoint while the clock runs.
const TRAINING: &str = "[training]\nlearning_rate = 1e-3\neval_interval = 1000000\ncheckpoint_seconds = 1e9\n\
                        [data]\nheld_out = 0.01\n";

/// A shape of the study, and its batch.
#[derive(Debug)]
struct Shape {
    name: &'static str,
    model: &'static str,
    batch: usize,
    seq_len: usize,
}

/// 260,032 and 1,410,688 parameters.
const SHAPES: [Shape; 2] = [
    Shape {
        name: "W1",
        model: "dim = 64\nhidden_dim = 172\nn_layers = 5\nn_heads = 8\nn_kv_heads = 4\nvocab_size = 512\n",
        batch: 32,
        seq_len: 128,
    },
    Shape {
        name: "W2",
        model: "dim = 128\nhidden_dim = 384\nn_layers = 6\nn_heads = 8\nn_kv_heads = 8\nvocab_size = 1024\n",
        batch: 16,
        seq_len: 256,
    },
];

/// Trains with our engine and with PyTorch, alternating, and compares speed, memory and losses
///
/// The shapes are W1 (260,032 parameters, 32 sequences of 128 tokens a step) and W2 (1,410,688 parameters, 16 of 256); the
/// text is The Rust Programming Language. Each run begins with the same weights and draws the same batches. The machine
/// should have nothing else to do: the table says how many cores others kept busy. Writes bench/training.toml.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shape; may be given again [default: both]
    #[arg(long, value_name = "NAME", value_parser = ["W1", "W2"])]
    shape: Vec<String>,
    /// Pairs of runs whose speed is compared
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Steps of each such run, of which the first three are not counted
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(5..))]
    steps: u32,
    /// Steps over which the losses are compared
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    agreement: u32,
    /// Threads of each engine
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Measure and print, but write no file
    #[arg(long)]
    dry: bool,
}

impl Args {
    /// Measures, prints and writes. Exits with 1 where the losses do not agree.
    pub fn run(&self) -> Result<ExitCode> {
        let thumbformer = cli::build()?;
        let mut report = Report::new(self.threads)?;
        for shape in SHAPES.iter().filter(|s| self.shape.is_empty() || self.shape.iter().any(|n| n == s.name))
        {
            let folder = command::root().join(FOLDER).join(shape.name);
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let workload = self.measure(&thumbformer, shape, &folder)?;
            println!("{workload}");
            report.workloads.insert(shape.name.to_owned(), workload);
        }
        if !self.dry {
            report.write()?;
        }
        let apart = report.workloads.iter().filter(|(_, w)| w.loss_difference >= TOLERANCE);
        let apart: Vec<_> = apart.map(|(name, w)| format!("{name} by {:.4}", w.loss_difference)).collect();
        if !apart.is_empty() {
            eprintln!("losses differ: {}, wanted less than {TOLERANCE}", apart.join(", "));
        }
        Ok(ExitCode::from(u8::from(!apart.is_empty())))
    }

    fn measure(&self, thumbformer: &Path, shape: &Shape, folder: &Path) -> Result<Workload> {
        let long = self.prepare(thumbformer, shape, folder, "long", self.agreement)?;
        eprintln!("{}: losses over {} steps", shape.name, self.agreement);
        let [ours, theirs] = self.both(thumbformer, &long, folder)?;
        ensure!(
            ours.losses.len() == theirs.losses.len(),
            "found {} and {} losses",
            ours.losses.len(),
            theirs.losses.len()
        );
        let differences = ours.losses.iter().zip(&theirs.losses).map(|(a, b)| (a - b).abs());
        let loss_difference = differences.fold(0.0, f64::max);

        let short = self.prepare(thumbformer, shape, folder, "short", self.steps)?;
        let mut pairs = Vec::new();
        for pair in 1..=self.pairs {
            let [ours, theirs] = self.both(thumbformer, &short, folder)?;
            let found = Pair::new(&ours, &theirs);
            eprintln!("{}: pair {pair} of {}: {found}", shape.name, self.pairs);
            pairs.push(found);
        }
        let tokens = shape.batch * shape.seq_len;
        Ok(Workload::new(shape.name, tokens, self.agreement, loss_difference, [&ours, &theirs], pairs))
    }

    /// Both engines, one after the other, each on its own copy of a prepared run.
    fn both(&self, thumbformer: &Path, prepared: &Path, folder: &Path) -> Result<[Run; 2]> {
        let run = |engine: Engine| {
            let copy = folder.join(engine.name());
            let _ = fs::remove_dir_all(&copy);
            copy_folder(prepared, &copy).with_context(|| format!("copying {}", prepared.display()))?;
            Run::measure(thumbformer, engine, &copy)
        };
        Ok([run(Engine::Rust)?, run(Engine::Torch)?])
    }

    /// A run folder at step 0.
    fn prepare(
        &self,
        thumbformer: &Path,
        shape: &Shape,
        folder: &Path,
        name: &str,
        steps: u32,
    ) -> Result<PathBuf> {
        let (config, run) = (folder.join(format!("{name}.toml")), folder.join(name));
        let Shape { model, batch, seq_len, .. } = shape;
        let text = format!("[model]\n{model}seq_len = {seq_len}\n{TRAINING}");
        fs::write(&config, text).with_context(|| config.display().to_string())?;
        let mut prepare = Command::new(thumbformer);
        prepare.args(["train", "--prepare", "--config"]).arg(&config).arg("--output").arg(&run);
        let numbers = [("--steps", steps), ("--batch", *batch as u32), ("--threads", self.threads)];
        for (flag, number) in numbers {
            prepare.args([flag, &number.to_string()]);
        }
        command::call(&mut prepare)?;
        Ok(run)
    }
}

/// Copies a folder with all that is in it.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}
