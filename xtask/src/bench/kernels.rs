//! Single kernels: what a multiply-accumulate takes.

use std::fmt::{Display, Formatter, Result as FmtResult};

use anyhow::{Context, Result, bail, ensure};
use boards::Board;
use serde::Serialize;

use crate::{firmware, qemu::field};

use super::{
    cycles,
    device::{Observation, Region, observe},
    peers::Peers,
    program::Program,
    summary::label,
    thumb,
};

/// RAM that the program takes, at least.
const RAM: u64 = 192 * 1024;

/// What a machine's kernels take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kernels {
    /// The machine's name in boards.toml.
    pub machine: String,
    /// What code runs on what.
    pub label: String,
    /// The name of the kernels.
    pub kernel: String,
    /// Why only totals were counted, if that is so.
    pub fallback: Option<String>,
    /// A matrix times a vector.
    pub matrices: Vec<Matrix>,
    /// Queries and a cache.
    pub attention: Vec<Attention>,
}

/// A matrix in the core's own layout times one vector or several, per multiply-accumulate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    /// Rows.
    pub rows: u64,
    /// Columns.
    pub columns: u64,
    /// Bits of the vectors.
    pub bits: u64,
    /// How many vectors there are.
    pub vectors: u64,
    /// The sums alone.
    pub product: Cost,
    /// The same, scaled, rounded to the vectors of the next matrix and put into its order.
    pub scaled: Cost,
    /// Instructions of CMSIS-NN for what is `scaled` here, where they were counted.
    pub cmsis_nn: Option<f64>,
}

/// Query heads that share keys and values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attention {
    /// Width of a head.
    pub head_dim: u64,
    /// Query heads.
    pub heads: u64,
    /// Positions.
    pub len: u64,
    /// Per multiply-accumulate.
    pub scores: Cost,
    /// Per position and head.
    pub softmax: Cost,
    /// The weighted sum of the values, divided by the sum of the weights: per multiply-accumulate.
    pub sum: Cost,
}

/// A share of what a region takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Instructions.
    pub instructions: f64,
    /// Estimated cycles, where the core's manual has a table.
    pub estimated_cycles: Option<f64>,
}

/// Why a machine cannot run the program, if that is so.
pub fn obstacle(board: &Board) -> Option<String> {
    let there = board.ram.len();
    (there < RAM).then(|| format!("it takes {RAM} bytes of RAM, there are {there}"))
}

/// Counts every kernel on a machine.
pub fn measure(board: &Board, plain: bool) -> Result<Kernels> {
    let elf = firmware::build(board, "kernels", &[])?;
    let program = Program::read(&elf, true)?;
    let observation = observe(board, &elf, &program, plain)?;
    let peers = Peers::read()?;
    let cost = |region: &Region, n: u64| cost(board, &program, &observation, region, n);
    let (mut matrices, mut attention) = (Vec::new(), Vec::new());
    let mut regions = observation.regions.iter();
    while let Some(first) = regions.next() {
        let mut then = |work: &str| {
            let region =
                regions.next().with_context(|| format!("nothing follows {}, wanted {work}", first.work))?;
            ensure!(region.work == work, "{} follows {}, wanted {work}", region.work, first.work);
            Ok(region)
        };
        match first.work.as_str() {
            "product" => {
                let [rows, columns, bits, vectors] = numbers(first, ["rows", "columns", "bits", "vectors"])?;
                let per = rows * columns * vectors;
                matrices.push(Matrix {
                    rows,
                    columns,
                    bits,
                    vectors,
                    product: cost(first, per),
                    scaled: cost(then("scaled")?, per),
                    cmsis_nn: (bits == 8 && vectors == 1)
                        .then(|| peers.matvec(&board.core, rows, columns))
                        .flatten(),
                });
            }
            "scores" => {
                let [head_dim, heads, len] = numbers(first, ["head_dim", "heads", "len"])?;
                attention.push(Attention {
                    head_dim,
                    heads,
                    len,
                    scores: cost(first, head_dim * heads * len),
                    softmax: cost(then("softmax")?, heads * len),
                    sum: cost(then("sum")?, head_dim * heads * len),
                });
            }
            other => bail!("the firmware measured {other:?}, wanted product or scores"),
        }
    }
    Ok(Kernels {
        machine: board.name.clone(),
        label: label(board),
        kernel: field(&observation.report, "kernel")?.to_owned(),
        fallback: observation.fallback.clone(),
        matrices,
        attention,
    })
}

fn numbers<const N: usize>(region: &Region, names: [&str; N]) -> Result<[u64; N]> {
    let mut numbers = [0; N];
    for (number, name) in numbers.iter_mut().zip(names) {
        *number = region.number(name)?;
    }
    Ok(numbers)
}

/// A region's cost, divided by `n`.
fn cost(board: &Board, program: &Program, observation: &Observation, region: &Region, n: u64) -> Cost {
    let cycles = cycles::timing(&board.cpu).filter(|_| observation.fallback.is_none()).map(|timing| {
        let cycles = |region: &Region| -> u64 {
            let each = region.profile.iter().map(|executed| {
                let (first, second) = program.halfwords(executed.address).unwrap_or_default();
                timing.cycles(thumb::class(first, second), executed.count, executed.left)
            });
            each.sum()
        };
        cycles(region).saturating_sub(cycles(&observation.nothing))
    });
    let share = |total: u64| total as f64 / n as f64;
    Cost { instructions: share(region.instructions()), estimated_cycles: cycles.map(share) }
}

impl Display for Cost {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let cycles = self.estimated_cycles.map_or("-".to_owned(), |cycles| format!("{cycles:.3}"));
        write!(f, "{:>8.3} {cycles:>8}", self.instructions)
    }
}

impl Display for Kernels {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        writeln!(f, "{}, {} kernels", self.label, self.kernel)?;
        if let Some(why) = &self.fallback {
            writeln!(f, "  counted by the processor's counter: {why}")?;
        }
        writeln!(f, "  matrix times vectors: instructions and estimated cycles per multiply-accumulate;")?;
        writeln!(
            f,
            "  scaled: with scaling, rounding and ordering for the next matrix, beside CMSIS-NN's of bench/peers.toml"
        )?;
        writeln!(
            f,
            "  {:>12} {:>5} {:>7} {:>17} {:>17} {:>10}",
            "matrix", "input", "vectors", "product", "scaled", "CMSIS-NN"
        )?;
        for m in &self.matrices {
            let shape = format!("{}x{}", m.rows, m.columns);
            let peer = m.cmsis_nn.map_or("-".to_owned(), |instructions| format!("{instructions:.3}"));
            let input = format!("a{}", m.bits);
            let (vectors, product, scaled) = (m.vectors, m.product, m.scaled);
            writeln!(f, "  {shape:>12} {input:>5} {vectors:>7} {product} {scaled} {peer:>10}")?;
        }
        writeln!(f, "  attention: per multiply-accumulate; softmax: per position and head")?;
        writeln!(
            f,
            "  {:>8} {:>5} {:>9} {:>17} {:>17} {:>17}",
            "head dim", "heads", "positions", "scores", "softmax", "weighted sum"
        )?;
        for a in &self.attention {
            let Attention { head_dim, heads, len, scores, softmax, sum } = a;
            writeln!(f, "  {head_dim:>8} {heads:>5} {len:>9} {scores} {softmax} {sum}")?;
        }
        Ok(())
    }
}
