//! What the comparison found: for people, and bench/training.toml.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    fs,
    process::Command,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{command, size::thousands};

use super::run::{Run, median};

const HEAD: &str = "\
# What `cargo xtask bench-training` measured: our engine and PyTorch eager on the same weights and batches, alternating.
#
# Of each pair: the median time of a step with either engine in milliseconds, PyTorch's divided by ours, and the cores that
# other processes kept busy. Medians are over the pairs. Peak memory is VmHWM of the process that trains, in kilobytes.

";

/// The whole file.
#[derive(Debug, Serialize)]
pub struct Report {
    cpu: String,
    rustc: String,
    torch: String,
    threads: u32,
    /// By the name of the shape.
    #[serde(flatten)]
    pub workloads: BTreeMap<String, Workload>,
}

/// What was found on one shape.
#[derive(Debug, Serialize)]
pub struct Workload {
    #[serde(skip)]
    name: String,
    tokens_per_step: usize,
    ours_ms: f64,
    torch_ms: f64,
    ours_tokens_per_second: u64,
    torch_tokens_per_second: u64,
    ratio: f64,
    ratio_least: f64,
    ratio_most: f64,
    ours_peak_kb: u64,
    torch_peak_kb: u64,
    loss_steps: u32,
    /// The largest difference of a step's losses.
    pub loss_difference: f64,
    ours_last_loss: f64,
    torch_last_loss: f64,
    pairs: Vec<Pair>,
}

/// Two runs, one after the other.
#[derive(Debug, Serialize)]
pub struct Pair {
    ours_ms: f64,
    torch_ms: f64,
    ratio: f64,
    others: f64,
    #[serde(skip)]
    peaks_kb: [u64; 2],
}

impl Report {
    /// A report of this machine, without workloads.
    pub fn new(threads: u32) -> Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
        let requirements = fs::read_to_string(command::root().join("host-trainer/torch/requirements.txt"))?;
        let torch = requirements.lines().find_map(|line| line.strip_prefix("torch=="));
        Ok(Self {
            cpu: cpu.to_owned(),
            rustc: command::output(Command::new("rustc").arg("--version"))?.trim().to_owned(),
            torch: torch.context("requirements.txt: found no torch==")?.to_owned(),
            threads,
            workloads: BTreeMap::new(),
        })
    }

    /// Writes bench/training.toml.
    pub fn write(&self) -> Result<()> {
        let path = command::root().join("bench/training.toml");
        fs::write(&path, format!("{HEAD}{}", toml::to_string(self)?))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Pair {
    /// Compares two runs.
    pub fn new(ours: &Run, torch: &Run) -> Self {
        Self {
            ours_ms: round(ours.step_ms),
            torch_ms: round(torch.step_ms),
            ratio: round(torch.step_ms / ours.step_ms),
            others: round(ours.others.max(torch.others)),
            peaks_kb: [ours.peak_kb, torch.peak_kb],
        }
    }
}

impl Workload {
    /// Sums up a shape: the pairs, and the two long runs.
    pub fn new(
        name: &str,
        tokens_per_step: usize,
        loss_steps: u32,
        loss_difference: f64,
        [ours, torch]: [&Run; 2],
        pairs: Vec<Pair>,
    ) -> Self {
        let over = |value: fn(&Pair) -> f64| median(&mut pairs.iter().map(value).collect::<Vec<_>>());
        let (ours_ms, torch_ms) = (over(|pair| pair.ours_ms), over(|pair| pair.torch_ms));
        let per_second = |ms: f64| (1e3 * tokens_per_step as f64 / ms).round() as u64;
        let peak =
            |i: usize, long: &Run| pairs.iter().map(|pair| pair.peaks_kb[i]).chain([long.peak_kb]).max();
        let last = |run: &Run| run.losses.last().copied().unwrap_or_default();
        Self {
            name: name.to_owned(),
            tokens_per_step,
            ours_ms,
            torch_ms,
            ours_tokens_per_second: per_second(ours_ms),
            torch_tokens_per_second: per_second(torch_ms),
            ratio: over(|pair| pair.ratio),
            ratio_least: pairs.iter().map(|pair| pair.ratio).fold(f64::INFINITY, f64::min),
            ratio_most: pairs.iter().map(|pair| pair.ratio).fold(0.0, f64::max),
            ours_peak_kb: peak(0, ours).unwrap_or_default(),
            torch_peak_kb: peak(1, torch).unwrap_or_default(),
            loss_steps,
            loss_difference,
            ours_last_loss: last(ours),
            torch_last_loss: last(torch),
            pairs,
        }
    }
}

/// To three decimals, which is more than the clock is good for.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ours_ms, torch_ms, ratio, others, .. } = self;
        write!(
            f,
            "{ours_ms:.1} ms, PyTorch {torch_ms:.1} ms: {ratio:.2} times; others kept {others:.2} cores busy"
        )
    }
}

impl Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = self.pairs.iter().map(|pair| pair.others).fold(0.0, f64::max);
        writeln!(f, "{:24} {:>12} {:>12}", self.name, "thumbformer", "PyTorch")?;
        let mut row =
            |name: &str, ours: String, torch: String| writeln!(f, "{name:24} {ours:>12} {torch:>12}");
        row("step, ms", format!("{:.1}", self.ours_ms), format!("{:.1}", self.torch_ms))?;
        let speeds = [self.ours_tokens_per_second, self.torch_tokens_per_second].map(thousands);
        let [ours, torch] = speeds;
        row("tokens per second", ours, torch)?;
        let [ours, torch] =
            [self.ours_peak_kb, self.torch_peak_kb].map(|kb| format!("{:.1}", kb as f64 / 1024.0));
        row("peak memory, MiB", ours, torch)?;
        let [ours, torch] = [self.ours_last_loss, self.torch_last_loss].map(|loss| format!("{loss:.4}"));
        row(&format!("loss of step {}", self.loss_steps), ours, torch)?;
        writeln!(
            f,
            "{:.2} times PyTorch's speed ({:.2} to {:.2} in {} pairs); losses differ by at most {:.6}; others kept at most \
             {busy:.2} cores busy",
            self.ratio,
            self.ratio_least,
            self.ratio_most,
            self.pairs.len(),
            self.loss_difference
        )
    }
}
