//! Counts instructions: a token's, a part's, a function's, on every machine, compared with what was before.

mod chart;
mod cycles;
mod device;
mod document;
mod figures;
mod kernels;
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
use kernels::Kernels;
use model::{Model, Source};
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
    /// A checkpoint (.safetensors), packed for each machine, or a model file, the same for all [default: stories260K if
    /// its data are there, else the repository's small one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Tokens to decode, from the begin token on; as many as the context has, if that is fewer
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Count single kernels, per multiply-accumulate, in the layout that is the core's own
    #[arg(long, conflicts_with_all = ["model", "tokens", "profile", "baseline", "save"])]
    kernels: bool,
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
        if self.kernels {
            return self.count_kernels();
        }
        let source = Source::choose(self.model.as_deref())?;
        let name = source.name();
        let machines = self.machines()?;
        let models = source.models(&machines)?;
        let model = |board: &Board| &models[&board.pack];
        let machines = self.with_room(machines, &name, |board| model(board).obstacle(board))?;
        // However a model is packed, the numbers are the same.
        let any = models.values().next().context("there is no machine to measure on")?;
        if self.tokens as usize > any.seq_len() {
            eprintln!("{name}: {} tokens, all that the context has", any.seq_len());
        }
        let digest = any.digest(self.tokens)?;
        let mut summaries = Vec::new();
        for (i, board) in machines.iter().enumerate() {
            eprintln!("[{}/{}] {name} on {}", i + 1, machines.len(), board.name);
            let model = model(board);
            let measured = device::measure(board, model, self.tokens, self.no_plugin, &digest)?;
            let mut summary = Summary::new(board, model, &measured)?;
            if !self.profile {
                summary.functions.clear();
            }
            if !self.json {
                println!("{}", table::machine(&summary));
            }
            summaries.push(summary);
        }
        if self.json {
            let report = Report { model: &name, machines: &summaries };
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else if summaries.len() > 1 {
            print!("{}", table::overview(&summaries));
        }
        let code = if self.baseline { self.compare(&name, &summaries)? } else { ExitCode::SUCCESS };
        if self.save {
            if let Some(why) = summaries.iter().find_map(|summary| summary.fallback.as_deref()) {
                bail!("--save wants the plugin's figures, and there is no plugin: {why}");
            }
            let mut book = Book::read(&Book::path())?;
            for summary in summaries {
                book.insert(&name, &summary.machine, summary.figures);
            }
            book.write(&Book::path())?;
        }
        Ok(code)
    }

    /// Counts single kernels.
    fn count_kernels(&self) -> Result<ExitCode> {
        let machines = self.with_room(self.machines()?, "the kernels", kernels::obstacle)?;
        let mut all: Vec<Kernels> = Vec::new();
        for (i, board) in machines.iter().enumerate() {
            eprintln!("[{}/{}] kernels on {}", i + 1, machines.len(), board.name);
            let kernels = kernels::measure(board, self.no_plugin)?;
            if !self.json {
                println!("{kernels}");
            }
            all.push(kernels);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The machines that were named, or all.
    fn machines(&self) -> Result<Vec<&'static Board>> {
        if self.machine.is_empty() {
            return Ok(boards::all().iter().chain(boards::bench()).collect());
        }
        let named = self.machine.iter().map(|name| boards::find(name));
        Ok(named.collect::<Result<_, _>>()?)
    }

    /// The machines without an obstacle: one that was named must have none, another one is left out.
    fn with_room(
        &self,
        mut machines: Vec<&'static Board>,
        what: &str,
        obstacle: impl Fn(&Board) -> Option<String>,
    ) -> Result<Vec<&'static Board>> {
        for (board, why) in machines.iter().filter_map(|board| Some((board, obstacle(board)?))) {
            ensure!(self.machine.is_empty(), "{} has no room for {what}: {why}", board.name);
            eprintln!("left out {}, which has no room for {what}: {why}", board.name);
        }
        machines.retain(|board| obstacle(board).is_none());
        Ok(machines)
    }

    /// Prints each figure before and now, to standard error where standard output is JSON.
    fn compare(&self, model: &str, summaries: &[Summary]) -> Result<ExitCode> {
        let book = Book::read(&Book::path())?;
        let (mut lines, mut worse) = (Vec::new(), 0);
        for summary in summaries {
            let old = book.get(model, &summary.machine).with_context(|| {
                format!("bench/figures.toml has no {model} on {}; --save writes it", summary.machine)
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

/// A figure that bench/figures.toml has of a machine.
pub fn committed(model: &str, board: &Board, figure: &str) -> Result<u64> {
    let book = Book::read(&Book::path())?;
    book.get(model, &board.name).and_then(|figures| figures.get(figure)).with_context(|| {
        format!("bench/figures.toml has no {figure} of {model} on {}; --save writes it", board.name)
    })
}

/// The two instruments agree on a short run of the small model, whose logits are compared with the host's. Where the
/// plugin cannot be built, the text says why.
pub fn check() -> Result<Result<(), String>> {
    const TOKENS: u32 = 3;
    let board = boards::find(boards::DEFAULT)?;
    let model: Model = Source::book()?.model(board)?;
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
            "{}: the plugin has {} instructions, the processor's counter {}",
            region.work,
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

    let kernels = kernels::measure(board, false)?;
    ensure!(
        kernels.matrices.len() == 14 && kernels.attention.len() == 16,
        "found {} matrices and {} shapes of attention, wanted 14 and 16",
        kernels.matrices.len(),
        kernels.attention.len()
    );
    for matrix in &kernels.matrices {
        ensure!(
            0.0 < matrix.product.instructions && matrix.product.instructions < matrix.scaled.instructions,
            "a product takes less than the same with scaling, found {matrix:?}"
        );
    }
    Ok(Ok(()))
}
