//! The files of a sweep: its runs, and the list or script by which another program does them.

use super::plan::Plan;
use crate::checkpoint::write_atomically;
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::path::Path;

/// Who does the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheduler {
    /// A list of commands, one a line, for GNU parallel, xargs or a plain shell
    GnuParallel,
    /// An array job
    Slurm,
    /// A Ray Tune script
    Ray,
}

pub(super) const PLAN: &str = "sweep.json";

/// Writes the folder of a sweep and returns the command that does it.
///
/// The folder may hold the same sweep already, with runs that are done and other schedulers' files.
pub fn write(folder: &Path, plan: &Plan, scheduler: Scheduler) -> Result<String> {
    let folder = std::path::absolute(folder)?;
    let shown = folder.display().to_string();
    let text = serde_json::to_string_pretty(plan)?;
    if let Ok(old) = fs::read_to_string(folder.join(PLAN)) {
        ensure!(old == text, "{shown}: found another sweep, wanted an empty folder");
    } else {
        let empty = fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
        ensure!(empty, "{shown}: found other files, wanted an empty folder");
    }
    for part in ["configs", "runs", "logs"] {
        fs::create_dir_all(folder.join(part)).with_context(|| shown.clone())?;
    }
    let put = |name: &str, text: &str| write_atomically(&folder.join(name), &[text.as_bytes()]);
    for point in &plan.points {
        put(&format!("configs/{}.toml", point.name), &toml::to_string(&point.config)?)?;
    }
    let names: Vec<&str> = plan.points.iter().map(|point| point.name.as_str()).collect();
    put("names.txt", &(names.join("\n") + "\n"))?;
    put("run.sh", &run_script(&folder)?)?;
    let command = match scheduler {
        Scheduler::GnuParallel => {
            let run = quote(&folder.join("run.sh"))?;
            put("jobs.txt", &names.iter().map(|name| format!("sh {run} {name}\n")).collect::<String>())?;
            let jobs = quote(&folder.join("jobs.txt"))?;
            format!("parallel --jobs 2 < {jobs}   or, one after the other, sh {jobs}")
        }
        Scheduler::Slurm => {
            put("sweep.sbatch", &slurm_script(&folder, names.len())?)?;
            format!("sbatch {}", quote(&folder.join("sweep.sbatch"))?)
        }
        Scheduler::Ray => {
            put("ray_tune.py", RAY)?;
            format!("python3 {}", quote(&folder.join("ray_tune.py"))?)
        }
    };
    // Last: a folder with a plan is whole.
    put(PLAN, &text)?;
    Ok(command)
}

/// Does one run, or goes on with it where it was interrupted.
fn run_script(folder: &Path) -> Result<String> {
    let ours = env::current_exe().context("where this program is")?;
    Ok(format!(
        "#!/bin/sh\n\
         # Does one run of the sweep, or goes on with it: sh run.sh NAME [flags of `thumbformer train`]\n\
         set -eu\n\
         cd {}\n\
         thumbformer=${{THUMBFORMER:-{}}}\n\
         name=$1\n\
         shift\n\
         if [ -e \"runs/$name/state.safetensors\" ]; then\n\
         \x20   exec \"$thumbformer\" train --resume --output \"runs/$name\" \"$@\"\n\
         fi\n\
         exec \"$thumbformer\" train --config \"configs/$name.toml\" --output \"runs/$name\" \"$@\"\n",
        quote(folder)?,
        quote(&ours)?,
    ))
}

fn slurm_script(folder: &Path, runs: usize) -> Result<String> {
    let (logs, names) = (folder.join("logs/%a.txt"), quote(&folder.join("names.txt"))?);
    Ok(format!(
        "#!/bin/sh\n\
         #SBATCH --job-name=thumbformer\n\
         #SBATCH --array=0-{}\n\
         #SBATCH --cpus-per-task=2\n\
         #SBATCH --output=\"{}\"\n\
         name=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {names})\n\
         exec sh {} \"$name\" --threads \"${{SLURM_CPUS_PER_TASK:-1}}\"\n",
        runs - 1,
        logs.display(),
        quote(&folder.join("run.sh"))?,
    ))
}

/// A word for the shell.
fn quote(path: &Path) -> Result<String> {
    let text =
        path.to_str().with_context(|| format!("{}: found a name that is not UTF-8", path.display()))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    Ok(if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) })
}

const RAY: &str = r#""""Does the runs of this sweep under Ray Tune: python3 ray_tune.py [CPUS of each run]"""

import json
import subprocess
import sys
from pathlib import Path

from ray import tune

HERE = Path(__file__).resolve().parent
CPUS = int(sys.argv[1]) if len(sys.argv) > 1 else 1


def train(config):
    name = config["name"]
    subprocess.run(["sh", str(HERE / "run.sh"), name, "--threads", str(CPUS)], check=True)
    lines = (HERE / "runs" / name / "metrics.jsonl").read_text().splitlines()
    losses = [line["valid_loss"] for line in map(json.loads, lines) if "valid_loss" in line]
    tune.report({"valid_loss": losses[-1]})


tuner = tune.Tuner(
    tune.with_resources(train, {"cpu": CPUS}),
    param_space={"name": tune.grid_search((HERE / "names.txt").read_text().split())},
    tune_config=tune.TuneConfig(metric="valid_loss", mode="min"),
)
results = tuner.fit()
if results.num_errors:
    sys.exit(f"{results.num_errors} of {len(results)} runs failed")
best = results.get_best_result()
print(best.config["name"], best.metrics["valid_loss"])
"#;
