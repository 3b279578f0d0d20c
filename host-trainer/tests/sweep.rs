//! A sweep's jobs do what they say, and no run is forgotten when they are collected.

mod common;

use common::{Folder, refused, text, thumbformer};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BASE: &str = "[model]\ndim = 8\nhidden_dim = 8\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 270\nseq_len = 8\n\
                    [training]\nsteps = 30\nbatch = 2\nthreads = 1\n";
const SWEEP: &str =
    "config = \"base.toml\"\nseeds = [1, 2]\n[vary.training]\nlearning_rate = [0.02, 0.0001]\n";

/// A folder with a text and a sweep file.
struct Place(Folder);

impl Place {
    /// The folder has a name that a shell would split.
    fn new(name: &str) -> Self {
        let place = Self(Folder::new(&format!("it's {name}")));
        place.write("text.txt", &"the cat sat on the mat. ".repeat(100));
        place.write("base.toml", &format!("{BASE}[data]\ncorpus = \"{}\"\n", text(&place.path("text.txt"))));
        place.write("rates.toml", SWEEP);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, contents: &str) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn jobs(&self, scheduler: &str) {
        thumbformer(&["sweep", text(&self.path("rates.toml")), "--jobs", scheduler]);
    }

    fn collect(&self) -> Vec<Value> {
        let rows = thumbformer(&["sweep", "collect", text(&self.path("rates")), "--json"]);
        serde_json::from_str(&rows).unwrap()
    }

    /// Each run is done; the higher learning rate was the better one.
    fn all_done(&self) {
        let rows = self.collect();
        assert_eq!(rows.len(), 4);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!((&row["status"], &row["steps"]), (&"done".into(), &30.into()), "{row}");
            let rate = if i < 2 { 0.02 } else { 0.0001 };
            assert_eq!(row["values"]["training.learning_rate"], rate, "{row}");
            assert!(row["valid_loss"].as_f64().unwrap() > 0.0, "{row}");
        }
        let chart = fs::read_to_string(self.path("rates/sweep.svg")).unwrap();
        assert_eq!(chart.matches("<circle").count(), 4);
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_plain_shell_does_the_list() {
    let place = Place::new("sweep-sh");
    place.jobs("gnu-parallel");
    succeeds(Command::new("sh").arg(place.path("rates/jobs.txt")).current_dir("/"));
    place.all_done();
    // Once more: nothing is trained anew.
    let metrics = place.path("rates/runs/0-seed1/metrics.jsonl");
    let before = fs::read_to_string(&metrics).unwrap();
    succeeds(Command::new("sh").arg(place.path("rates/jobs.txt")));
    assert!(fs::read_to_string(&metrics).unwrap().starts_with(&before));
    place.all_done();
}

#[test]
#[ignore = "wants GNU parallel; cargo xtask test runs it where that is installed"]
fn gnu_parallel_does_the_list() {
    let place = Place::new("sweep-parallel");
    place.jobs("gnu-parallel");
    let list = fs::File::open(place.path("rates/jobs.txt")).unwrap();
    succeeds(Command::new("parallel").args(["--jobs", "2"]).stdin(list));
    place.all_done();
}

#[test]
fn each_task_of_the_slurm_array_does_its_run() {
    let place = Place::new("sweep-slurm");
    place.jobs("slurm");
    let script = fs::read_to_string(place.path("rates/sweep.sbatch")).unwrap();
    assert!(script.contains("\n#SBATCH --array=0-3\n"), "{script}");
    for task in ["0", "1", "2", "3"] {
        // sbatch runs a copy, wherever it likes.
        let mut shell = Command::new("sh");
        shell.stdin(Stdio::from(fs::File::open(place.path("rates/sweep.sbatch")).unwrap())).current_dir("/");
        succeeds(shell.env("SLURM_ARRAY_TASK_ID", task).env("SLURM_CPUS_PER_TASK", "1"));
    }
    place.all_done();
}

#[test]
#[ignore = "wants a python3 with Ray Tune; cargo xtask test runs it where that is installed"]
fn ray_tune_does_the_runs() {
    let place = Place::new("sweep-ray");
    place.jobs("ray");
    succeeds(Command::new("python3").arg(place.path("rates/ray_tune.py")));
    place.all_done();
}

#[test]
fn runs_that_are_not_done_are_named() {
    let place = Place::new("sweep-collect");
    place.jobs("gnu-parallel");
    let run = |name: &str, flags: &[&str]| {
        succeeds(Command::new("sh").arg(place.path("rates/run.sh")).arg(name).args(flags));
    };
    run("0-seed1", &[]);
    // Interrupted: 12 steps of 30, and half a line.
    run("0-seed2", &["--steps", "12"]);
    let metrics = |name: &str| place.path(&format!("rates/runs/{name}/metrics.jsonl"));
    let whole = fs::read_to_string(metrics("0-seed2")).unwrap();
    fs::write(metrics("0-seed2"), format!("{whole}{{\"step\":1")).unwrap();
    let config = place.path("rates/runs/0-seed2/config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("steps = 12", "steps = 30")).unwrap();
    // Spoilt in the middle.
    run("1-seed1", &[]);
    let spoilt = fs::read_to_string(metrics("1-seed1")).unwrap().replacen("\"step\":3,", "\"stop\":3,", 1);
    fs::write(metrics("1-seed1"), spoilt).unwrap();

    let table = thumbformer(&["sweep", "collect", text(&place.path("rates"))]);
    for line in [
        "1 of 4 runs are done",
        "not done: 0-seed2: unfinished, step 12, 40 % of its budget",
        "not done: 1-seed1: broken, metrics.jsonl, line 3: found no step",
        "not done: 1-seed2: not started",
    ] {
        assert!(table.lines().any(|found| found.starts_with(line)), "{table}, wanted {line}");
    }
    let chart = fs::read_to_string(place.path("rates/sweep.svg")).unwrap();
    assert_eq!((chart.matches("<circle").count(), chart.matches("not shown: ").count()), (1, 3));
    // What was interrupted goes on.
    run("0-seed2", &[]);
    assert_eq!(place.collect().iter().filter(|row| row["status"] == "done").count(), 2);
}

#[test]
fn a_folder_keeps_its_sweep() {
    let place = Place::new("sweep-folder");
    place.jobs("gnu-parallel");
    // Another scheduler may do the same runs.
    place.jobs("ray");
    assert!(place.path("rates/jobs.txt").exists() && place.path("rates/ray_tune.py").exists());
    place.write("rates.toml", &SWEEP.replace("0.02", "0.03"));
    let again = ["sweep", text(&place.path("rates.toml")), "--jobs", "slurm"].map(str::to_owned);
    let refuse = |args: &[String], part: &str| {
        let error = refused(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(error.contains(part), "{error}, wanted {part}");
    };
    refuse(&again, "rates: found another sweep, wanted an empty folder");
    place.write("rates.toml", &SWEEP.replace("learning_rate", "learning"));
    refuse(&again, "unknown field `learning`");
    let elsewhere = |folder: &Path| [&again[..], &["-o".to_owned(), text(folder).to_owned()]].concat();
    place.write("rates.toml", SWEEP);
    refuse(&elsewhere(place.0.path()), "found other files, wanted an empty folder");
    refuse(&["sweep", "collect", text(place.0.path())].map(str::to_owned), "found no sweep");
}
