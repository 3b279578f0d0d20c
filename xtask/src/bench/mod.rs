//! Counts instructions: a token's, a part's, a function's, on every machine, compared with what was before.

mod chart;
mod cycles;
mod device;
mod document;
mod figures;
mod line;
mod model;
mod parts;
mod peers;
mod plugin;
mod program;
mod summary;
mod table;
mod thumb;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use boards::Board;
use serde::Serialize;

use crate::setup;

use figures::{Book, compare};
use model::Model;
use summary::Summary;

/// Counts the instructions, bytes and estimated cycles that a token takes, on emulated machines
///
/// A plugin of QEMU counts every executed instruction, by function; it is built where there is a C compiler. Without one the
/// processor's counter gives totals. Either way the count is exact, and the logits must be those of the host. Cycles are
/// estimates from the processor's manual.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine; may be given again [default: every one that the model fits]
    #[arg(long, value_name = "NAME")]
    machine: Vec<String>,
    /// The model [default: stories260K if its data are there, else the repository's small one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Tokens to decode, from the begin token on
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Add a table of functions
    #[arg(long)]
    profile: bool,
    /// Use the processor's counter even where the plugin could be built
    #[arg(long, conflicts_with_all = ["profile", "save"])]
    no_plugin: bool,
    /// Compare with bench/figures.toml; exit with 1 if a figure got worse by more than 1 %
    #[arg(long)]
    baseline: bool,
    /// Write the figures of the machines that were measured to bench/figures.toml
    #[arg(long)]
    save: bool,
    /// Write the README's table and charts from bench/figures.toml; measures nothing
    #[arg(long, exclusive = true)]
    readme: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    machines: &'a [Summary],
}

impl Args {
    /// Measures, prints, compares and saves, as asked.
    pub fn run(&self) -> Result<ExitCode> {
        if self.readme {
            document::write()?;
            return Ok(ExitCode::SUCCESS);
        }
        setup::run()?;
        let model = Model::choose(self.model.as_deref())?;
        let machines = self.machines(&model)?;
        let digest = model.digest(self.tokens)?;
        let mut summaries = Vec::new();
        for (i, board) in machines.iter().enumerate() {
            eprintln!("[{}/{}] {} on {}", i + 1, machines.len(), model.name, board.name);
            let measured = device::measure(board, &model, self.tokens, self.no_plugin, &digest)?;
            let mut summary = Summary::new(board, &model, &measured)?;
            if !self.profile {
                summary.functions.clear();
            }
            if !self.json {
                println!("{}", table::machine(&summary));
            }
            summaries.push(summary);
        }
        if self.json {
            let report = Report { model: &model.name, machines: &summaries };
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else if summaries.len() > 1 {
            print!("{}", table::overview(&summaries));
        }
        let code = if self.baseline { self.compare(&model, &summaries)? } else { ExitCode::SUCCESS };
        if self.save {
            if let Some(why) = summaries.iter().find_map(|summary| summary.fallback.as_deref()) {
                bail!("--save wants the plugin's figures, and there is no plugin: {why}");
            }
            let mut book = Book::read(&Book::path())?;
            for summary in summaries {
                book.insert(&model.name, &summary.machine, summary.figures);
            }
            book.write(&Book::path())?;
        }
        Ok(code)
    }

    /// The machines to measure on.
    fn machines(&self, model: &Model) -> Result<Vec<&'static Board>> {
        if !self.machine.is_empty() {
            return self
                .machine
                .iter()
                .map(|name| {
                    let board = boards::find(name)?;
                    match model.obstacle(board) {
                        None => Ok(board),
                        Some(why) => bail!("{} has no room for {}: {why}", board.name, model.name),
                    }
                })
                .collect();
        }
        let mut machines = Vec::new();
        for board in boards::all().iter().chain(boards::bench()) {
            match model.obstacle(board) {
                None => machines.push(board),
                Some(why) => {
                    eprintln!("left out {}, which has no room for {}: {why}", board.name, model.name)
                }
            }
        }
        Ok(machines)
    }

    /// Prints each figure before and now, to standard error where standard output is JSON.
    fn compare(&self, model: &Model, summaries: &[Summary]) -> Result<ExitCode> {
        let book = Book::read(&Book::path())?;
        let (mut lines, mut worse) = (Vec::new(), 0);
        for summary in summaries {
            let old = book.get(&model.name, &summary.machine).with_context(|| {
                format!("bench/figures.toml has no {} on {}; --save writes it", model.name, summary.machine)
            })?;
            let changes = compare(old, &summary.figures)?;
            worse += changes.iter().filter(|change| change.is_worse()).count();
            lines.push(format!("{}: before, now", summary.label));
            lines.extend(changes.iter().map(|change| format!("  {change}")));
        }
        lines.push(match worse {
            0 => "no figure got worse by more than 1 %".to_owned(),
            1 => "1 figure got worse by more than 1 %".to_owned(),
            n => format!("{n} figures got worse by more than 1 %"),
        });
        for line in lines {
            if self.json { eprintln!("{line}") } else { println!("{line}") }
        }
        Ok(ExitCode::from(u8::from(worse > 0)))
    }
}

/// The two instruments agree on a short run of the small model, whose logits are compared with the host's. Where the
/// plugin cannot be built, the text says why.
pub fn check() -> Result<Result<(), String>> {
    const TOKENS: u32 = 3;
    let board = boards::find(boards::DEFAULT)?;
    let model = Model::read(&model::book())?;
    let digest = model.digest(TOKENS)?;
    let measured = device::measure(board, &model, TOKENS, false, &digest)?;
    if let Some(why) = measured.fallback {
        return Ok(Err(why));
    }
    ensure!(measured.regions.len() > TOKENS as usize, "only {} regions", measured.regions.len());
    for region in &measured.regions {
        // So short a run has no wrap of the counter in it.
        ensure!(
            region.instructions() > 10_000 && region.deviation().is_some_and(|off| off <= 1),
            "{} at {}: the plugin has {} instructions, the processor's counter {}",
            region.work,
            region.position,
            region.instructions(),
            region.counted
        );
    }
    let summary = Summary::new(board, &model, &measured)?;
    let parts: f64 = summary.parts.iter().map(|part| part.instructions).sum();
    let decode = summary.figures.get("decode").unwrap_or_default();
    ensure!((parts - decode as f64).abs() < 1.0, "the parts sum up to {parts} instructions of {decode}");
    for part in &summary.parts {
        ensure!(part.instructions > 0.0, "no instruction is known to belong to {}", part.name);
    }
    // Each token reads every weight once, but for the embedding's other rows.
    let (read, file) =
        (summary.figures.get("decode-flash-bytes").unwrap_or_default(), model.model.file().len());
    ensure!(read > file as u64 / 2, "a token reads {read} bytes from flash, of a model of {file}");

    let error = device::measure(board, &model, TOKENS, true, "0000000000000000").err();
    ensure!(
        error.is_some_and(|error| error.to_string().contains(&digest)),
        "logits that the host does not have were accepted"
    );
    Ok(Ok(()))
}
