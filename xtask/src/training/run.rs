//! One run of one engine, watched from outside through Linux's /proc.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

const POLL: Duration = Duration::from_millis(20);
/// Ticks of /proc a second, on every Linux that we know.
const TICKS: f64 = 100.0;
/// The first steps, in which memory is touched for the first time.
const WARM_UP: usize = 3;

/// What trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Ours.
    Rust,
    /// PyTorch eager.
    Torch,
}

impl Engine {
    /// The name that `--engine` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Torch => "torch",
        }
    }
}

/// What a run took.
#[derive(Debug)]
pub struct Run {
    /// Of each step, in nats per token.
    pub losses: Vec<f64>,
    /// Median time of a step in milliseconds.
    pub step_ms: f64,
    /// Most memory of the process that trains (VmHWM), in kilobytes.
    pub peak_kb: u64,
    /// Cores that other processes kept busy meanwhile.
    pub others: f64,
}

impl Run {
    /// Goes on with a prepared run to its end.
    pub fn measure(thumbformer: &Path, engine: Engine, run: &Path) -> Result<Self> {
        let mut command = Command::new(thumbformer);
        command.args(["train", "--resume", "--engine", engine.name(), "--output"]).arg(run);
        let log = fs::File::create(run.join("log.txt"))?;
        let (began, busy) = (Instant::now(), busy_ticks()?);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", thumbformer.display()))?;
        let mut watched = BTreeMap::new();
        let status = loop {
            watch(child.id(), &mut watched);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(POLL);
        };
        let (seconds, busy) = (began.elapsed().as_secs_f64(), busy_ticks()? - busy);
        if !status.success() {
            let log = fs::read_to_string(run.join("log.txt")).unwrap_or_default();
            bail!("{} of {} failed ({status}):\n{log}", engine.name(), run.display());
        }
        let ours: f64 = watched.values().map(|process: &Watched| process.ticks).sum();
        // PyTorch trains in a child of the process that we have started.
        let trainer = watched.iter().filter(|(id, _)| (**id == child.id()) == (engine == Engine::Rust));
        let peak_kb = trainer.map(|(_, process)| process.peak_kb).max();
        let peak_kb = peak_kb.with_context(|| format!("{}: found no process that trains", engine.name()))?;
        let (losses, step_ms) = steps(&run.join("metrics.jsonl"))?;
        Ok(Self { losses, step_ms, peak_kb, others: ((busy - ours) / TICKS / seconds).max(0.0) })
    }
}

/// What we saw of a process; what it did since we looked last is lost.
#[derive(Debug, Default)]
struct Watched {
    peak_kb: u64,
    ticks: f64,
}

/// Looks at a process and its children.
fn watch(id: u32, watched: &mut BTreeMap<u32, Watched>) {
    let proc = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let status = proc("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    if let Some(peak) = peak.and_then(|line| line.split_whitespace().next()?.parse().ok()) {
        let stat = proc("stat");
        // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th field behind it.
        let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        watched.insert(id, Watched { peak_kb: peak, ticks });
    }
    for child in proc(&format!("task/{id}/children")).split_whitespace().filter_map(|id| id.parse().ok()) {
        watch(child, watched);
    }
}

/// What all cores have worked, for whomever.
fn busy_ticks() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("the machine's load is read from Linux's /proc")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, irq, soft_irq, ..] = fields[..] else {
        bail!("/proc/stat: found {} numbers, wanted at least 7", fields.len());
    };
    Ok(user + nice + system + irq + soft_irq)
}

/// The loss of each step, and the median of their times.
fn steps(metrics: &Path) -> Result<(Vec<f64>, f64)> {
    let text = fs::read_to_string(metrics).with_context(|| metrics.display().to_string())?;
    let (mut losses, mut ends) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        if let Some(loss) = value["loss"].as_f64() {
            losses.push(loss);
            ends.push(value["seconds"].as_f64().context("a step without seconds")?);
        }
    }
    let mut times: Vec<f64> =
        ends.windows(2).skip(WARM_UP - 1).map(|pair| 1e3 * (pair[1] - pair[0])).collect();
    ensure!(!times.is_empty(), "{}: found {} steps, wanted more", metrics.display(), losses.len());
    Ok((losses, median(&mut times)))
}

/// The middle value, or the mean of the two.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_many() {
        assert_eq!(median(&mut [3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn we_see_our_own_memory_and_time() {
        let mut watched = BTreeMap::new();
        watch(std::process::id(), &mut watched);
        assert!(watched[&std::process::id()].peak_kb > 100);
        assert!(busy_ticks().unwrap() >= watched[&std::process::id()].ticks);
    }
}
