//! The command line: results on standard output, progress and errors on standard error.

mod data;
mod eval;
mod export;
mod features;
mod finetune;
mod import;
mod inspect;
mod quantize;
mod report;
mod run;
mod sweep;
mod text;
mod train;
mod training;

use crate::checkpoint::{self, Checkpoint};
use crate::device::ModelFile;
use crate::train::read_tokens;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use thumbformer::Model;

/// Train, import, evaluate, quantize and run transformers for microcontrollers
#[derive(Debug, Parser)]
#[command(name = "thumbformer", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Finetune(Box<finetune::Args>),
    #[command(subcommand)]
    Data(data::Command),
    Sweep(sweep::Args),
    Eval(eval::Args),
    Export(export::Args),
    Features(features::Args),
    #[command(subcommand)]
    Import(import::Source),
    Run(run::Args),
    Inspect(inspect::Args),
    Report(report::Args),
}

/// Runs the command line and gives the exit code: 0, or 2 after an error, which is told in one line; 130
/// where a training run was interrupted.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => args.run(),
        Command::Finetune(args) => args.run(),
        Command::Data(command) => command.run().map(done),
        Command::Sweep(args) => args.run().map(done),
        Command::Eval(args) => args.run().map(done),
        Command::Export(args) => args.run().map(done),
        Command::Features(args) => args.run().map(done),
        Command::Import(source) => source.run().map(done),
        Command::Run(args) => args.run().map(done),
        Command::Inspect(args) => args.run().map(done),
        Command::Report(args) => args.run().map(done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// What a file holds.
enum Kind {
    /// A model file.
    Thumb,
    /// A checkpoint.
    Checkpoint,
}

/// Tells model files from checkpoints by their first bytes.
fn kind_of(path: &Path) -> Result<Kind> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut start = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 9), &mut start)
        .with_context(|| format!("cannot read {}", path.display()))?;
    // safetensors: the length of a JSON header, then the header.
    match start.as_slice() {
        [b'T', b'H', b'M', b'B', ..] => Ok(Kind::Thumb),
        [.., b'{'] if start.len() == 9 => Ok(Kind::Checkpoint),
        _ => bail!(
            "{}: wrong magic: found {:?}, wanted a model file (\"THMB\") or a safetensors checkpoint",
            path.display(),
            String::from_utf8_lossy(&start[..start.len().min(4)])
        ),
    }
}

/// Reads a model file.
fn read_model(path: &Path) -> Result<ModelFile> {
    ModelFile::read(path).map_err(|error| match kind_of(path) {
        Ok(Kind::Checkpoint) => anyhow!(
            "{}: found a checkpoint, wanted a model file, which `thumbformer export` makes of it",
            path.display()
        ),
        _ => error,
    })
}

/// Says where a model would be faster here in another order.
fn note_packing(path: &Path, model: &Model<'_>) {
    if !model.is_packed_as(thumbformer::kernel::LAYOUT) {
        eprintln!("{}: packed for another core: slower here", path.display());
    }
}

/// Reads a checkpoint.
fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    checkpoint::load(path).map_err(|error| match kind_of(path) {
        Ok(Kind::Thumb) => {
            anyhow!("{}: found a model file, wanted a checkpoint (.safetensors)", path.display())
        }
        _ => error,
    })
}

/// Prints a result.
fn print(text: &str) -> Result<()> {
    put(&format!("{text}\n")).map(drop)
}

/// Writes to standard output, at once; says whether there is still a reader. One that went away is no error.
fn put(text: &str) -> Result<bool> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("standard output"),
    }
}
