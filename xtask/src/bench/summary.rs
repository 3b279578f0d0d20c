//! From measured regions to figures per token.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use boards::Board;
use serde::Serialize;

use super::{
    cycles,
    device::{Measurement, Region},
    figures::Figures,
    line::Line,
    model::Model,
    parts::{OTHER, PARTS},
    thumb,
};

/// What a machine takes for a model.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The machine's name in boards.toml.
    pub machine: String,
    /// What code runs on what.
    pub label: String,
    /// Whether the model's matrices lie in tiles: where they are rows, `matvec` has those products of attention that the
    /// same kernel computes.
    pub in_tiles: bool,
    /// Why only totals were counted, if that is so.
    pub fallback: Option<String>,
    /// The largest difference between the plugin's and the counter's totals of a region, in instructions.
    pub counter_deviation: Option<u64>,
    /// The figures that are kept and compared.
    pub figures: Figures,
    /// Decoding, by part.
    pub parts: Vec<Row>,
    /// Decoding, by function, the most expensive first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<Row>,
    /// The line through all decoded tokens: instructions at position 0, per position, and the largest deviation.
    pub line: Option<Line>,
    /// The line's slope for each layer.
    pub slope_per_layer: Option<f64>,
    /// Bytes of machine code by part.
    pub code: Vec<(&'static str, u64)>,
}

/// A part's or a function's share of a decoded token.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Instructions per token.
    pub instructions: f64,
    /// Estimated cycles per token, where the core's manual has a table.
    pub estimated_cycles: Option<f64>,
    /// Calls per token; none for what was inlined.
    pub calls: f64,
    /// Bytes read from flash per token.
    pub flash_bytes: f64,
}

impl Summary {
    /// Sums up a measurement.
    pub fn new(board: &Board, model: &Model, measured: &Measurement) -> Result<Self> {
        let of = |work: &'static str| measured.regions.iter().filter(move |region| region.work == work);
        let tokens: Vec<_> = of("token").collect();
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            anyhow::bail!("{}: no token was measured", board.name);
        };
        let n = tokens.len() as u64;
        let mut figures = BTreeMap::new();
        let mut keep = |name: &str, value| figures.insert(name.to_owned(), value);
        keep("decode", per(tokens.iter().map(|region| region.instructions()).sum(), n));
        keep("decode-first", first.instructions());
        keep("decode-last", last.instructions());
        for region in of("position") {
            keep(&format!("decode-at-{}", region.number("position")?), region.instructions());
        }
        for region in of("prompt") {
            keep("prefill", per(region.instructions(), region.number("tokens")?));
        }
        for region in of("block") {
            let name = format!("prefill-by-{}", measured.block);
            keep(&name, per(region.instructions(), region.number("tokens")?));
        }
        keep("workspace", measured.workspace);
        keep("stack", measured.stack);
        keep("variables", measured.size.ram.saturating_sub(measured.memory));
        let file = model.model.file().len() as u64;
        ensure!(measured.size.flash > file, "{}: the program lacks its model", board.name);
        keep("program", measured.size.flash - file);

        let point = |region: &Region| Ok((region.number("position")?, region.instructions()));
        let points: Vec<_> =
            tokens.iter().copied().chain(of("position")).map(point).collect::<Result<_>>()?;
        let line = Line::through(&points);
        if let Some(line) = line {
            keep("decode-slope", line.slope.round().max(0.0) as u64);
        }

        let (mut parts, mut functions) = (Vec::new(), Vec::new());
        if measured.fallback.is_none() {
            (parts, functions) = profile(board, measured, &tokens)?;
            for part in &parts {
                keep(&format!("decode-{}", part.name), part.instructions.round() as u64);
            }
            keep("decode-flash-bytes", parts.iter().map(|part| part.flash_bytes).sum::<f64>().round() as u64);
            if let Some(cycles) = parts.iter().map(|part| part.estimated_cycles).sum::<Option<f64>>() {
                keep("decode-estimated-cycles", cycles.round() as u64);
            }
        }
        Ok(Self {
            machine: board.name.clone(),
            label: label(board),
            in_tiles: model.in_tiles(),
            fallback: measured.fallback.clone(),
            counter_deviation: measured.regions.iter().filter_map(Region::deviation).max(),
            figures: Figures { kernel: measured.kernel.clone(), tokens: n, values: figures },
            parts,
            functions,
            line,
            slope_per_layer: line.map(|line| line.slope / model.model.config().n_layers as f64),
            code: measured.program.code(),
        })
    }
}

/// What code runs on what.
pub fn label(board: &Board) -> String {
    if boards::bench().contains(board) {
        board.note.clone()
    } else {
        format!("{} on {}", board.core, board.name)
    }
}

/// A total's share of each of `n`, rounded.
fn per(total: u64, n: u64) -> u64 {
    (total + n / 2) / n.max(1)
}

/// The rows of parts and of functions.
fn profile(board: &Board, measured: &Measurement, tokens: &[&Region]) -> Result<(Vec<Row>, Vec<Row>)> {
    let mut executed: BTreeMap<u64, [u64; 3]> = BTreeMap::new();
    for e in tokens.iter().flat_map(|region| &region.profile) {
        let sums = executed.entry(e.address).or_default();
        for (sum, value) in sums.iter_mut().zip([e.count, e.left, e.flash]) {
            *sum += value;
        }
    }
    let timing = cycles::timing(&board.cpu);
    let each = 1.0 / tokens.len() as f64;
    let zero = || Row { estimated_cycles: timing.map(|_| 0.0), ..Row::default() };
    let mut parts = PARTS.map(|name| Row { name: name.to_owned(), ..zero() });
    let mut functions: BTreeMap<String, Row> = BTreeMap::new();
    let (mut all, mut unknown) = (0, BTreeSet::new());
    for (&address, &[count, left, flash]) in &executed {
        all += count;
        let place = measured.program.place(address);
        if place.is_unknown {
            unknown.insert(place.name.clone());
        }
        let (first, second) = measured.program.halfwords(address).unwrap_or_default();
        let cycles = timing.map(|timing| timing.cycles(thumb::class(first, second), count, left));
        let function =
            functions.entry(place.name.clone()).or_insert_with(|| Row { name: place.name, ..zero() });
        function.calls += if place.is_entry { count as f64 * each } else { 0.0 };
        for row in parts.iter_mut().filter(|row| row.name == place.part).chain([function]) {
            row.instructions += count as f64 * each;
            row.flash_bytes += flash as f64 * each;
            row.estimated_cycles =
                row.estimated_cycles.zip(cycles).map(|(sum, more)| sum + more as f64 * each);
        }
    }
    ensure!(unknown.is_empty(), "xtask/src/bench/parts.rs has no part for {unknown:?}");
    // The instrument's own instructions, which the regions' totals are without.
    let own = all - tokens.iter().map(|region| region.instructions()).sum::<u64>();
    for row in parts.iter_mut().filter(|row| row.name == OTHER) {
        row.instructions -= own as f64 * each;
    }
    let mut functions: Vec<_> = functions.into_values().collect();
    functions.sort_by(|a, b| b.instructions.total_cmp(&a.instructions));
    Ok((parts.to_vec(), functions))
}
