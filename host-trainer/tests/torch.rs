//! The PyTorch twin is the same network, trained in the same way, and either engine goes on with the other's runs.
//!
//! What needs PyTorch is ignored by default: `cargo xtask test --torch` runs it.

mod common;

use common::{Folder, refused, text, thumbformer};
use host_trainer::checkpoint;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const LLAMA: &str =
    "dim = 32\nhidden_dim = 48\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 280\nseq_len = 32\n";
const GPT2: &str = "dim = 32\nhidden_dim = 64\nn_layers = 2\nn_heads = 4\nn_kv_heads = 4\nvocab_size = 280\nseq_len = 32\n\
                    norm = \"layer\"\nactivation = \"gelu\"\ngated = false\npositions = \"learned\"\nbiases = true\n";
/// The switches that the others leave alone.
const MIXED: &str = "dim = 24\nhidden_dim = 40\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 280\nseq_len = 24\n\
                     activation = \"gelu_tanh\"\ntied = false\nbiases = true\nrope_theta = 500.0\nnorm_eps = 1e-3\n";
const PLAIN: &str = "dim = 24\nhidden_dim = 40\nn_layers = 1\nn_heads = 2\nn_kv_heads = 2\nvocab_size = 280\nseq_len = 24\n\
                     activation = \"relu\"\n";

/// A folder with a text.
struct Place(Folder);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(Folder::new(name));
        let words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "its", "hat"];
        let mut state = 1u32;
        let mut text = String::new();
        for _ in 0..6000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text += words[(state >> 16) as usize % words.len()];
            text.push(if state >> 28 == 0 { '\n' } else { ' ' });
        }
        fs::write(place.0.join("text.txt"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `train` in a new run folder.
    fn train(&self, run: &str, model: &str, training: &str, flags: &[&str]) {
        let config = self.path("config.toml");
        let corpus = self.path("text.txt");
        let all =
            format!("[model]\n{model}[training]\nbatch = 5\nthreads = 1\neval_interval = 50\n{training}\n");
        fs::write(&config, all).unwrap();
        let run = self.path(run);
        let args = ["train", "--config", text(&config), "--corpus", text(&corpus), "-o", text(&run)];
        thumbformer(&[&args, flags].concat());
    }

    fn resume(&self, run: &str, flags: &[&str]) {
        let run = self.path(run);
        thumbformer(&[&["train", "--resume", "-o", text(&run)], flags].concat());
    }

    /// A number of the metrics, for each line that has it.
    fn metrics(&self, run: &str, key: &str) -> Vec<f64> {
        let lines = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        // Whole lines: a run may be writing the next.
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.filter_map(|line| serde_json::from_str::<Value>(line).unwrap()[key].as_f64()).collect()
    }

    /// Two runs have the same number of steps, and losses that agree to three decimals.
    fn agree(&self, one: &str, other: &str, steps: usize) {
        for (key, count) in [("loss", steps), ("grad_norm", steps), ("valid_loss", steps / 50)] {
            let (a, b) = (self.metrics(one, key), self.metrics(other, key));
            assert!(a.len() >= count && a.len() == b.len(), "{key}: {} and {} of {count}", a.len(), b.len());
            for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                assert!((a - b).abs() < 0.0005, "{key} {i}: {one} has {a}, {other} {b}");
            }
        }
        let losses = self.metrics(one, "loss");
        assert!(losses[losses.len() - 1] < losses[0] - 0.5, "{one} learned nothing: {losses:?}");
    }
}

#[test]
fn a_prepared_run_needs_no_text_and_is_the_same_run() {
    let place = Place::new("torch-prepare");
    place.train("plain", LLAMA, "steps = 60", &[]);
    place.train("prepared", LLAMA, "steps = 60", &["--prepare"]);
    let step_0 = fs::read(place.path("prepared/state.safetensors")).unwrap();
    fs::remove_file(place.path("text.txt")).unwrap();
    place.resume("prepared", &[]);
    assert_ne!(fs::read(place.path("prepared/state.safetensors")).unwrap(), step_0);
    for key in ["loss", "valid_loss"] {
        assert_eq!(place.metrics("prepared", key), place.metrics("plain", key));
    }
    let [one, other] = ["plain", "prepared"]
        .map(|run| checkpoint::load(&place.path(run).join("model.safetensors")).unwrap());
    assert_eq!(one.model.params().values, other.model.params().values);
    assert_eq!((one.tokenizer, one.info.provenance), (other.tokenizer, other.info.provenance));
    let run = place.path("prepared");
    let error = refused(&["train", "--resume", "-o", text(&run), "--held-out", "0.2"]);
    assert!(error.contains("held_out: found 0.2, wanted 0.05 as in the run"), "{error}");
}

#[test]
fn what_the_torch_engine_lacks_is_named() {
    let error = refused(&["train", "-o", "nowhere", "--nproc", "2"]);
    assert!(error.contains("--nproc: found 2, wanted 1, or --engine torch"), "{error}");
    let error = refused(&["train", "-o", "nowhere", "--engine", "torch", "--nproc", "0"]);
    assert!(error.contains("--nproc: found 0, wanted at least 1"), "{error}");

    for (flags, message) in [
        (["--optimizer", "muon"], "optimizer: found muon, wanted adamw for the torch engine"),
        (["--ema", "0.9"], "ema: found 0.9, wanted 0 for the torch engine"),
    ] {
        let error = refused(&[&["train", "-o", "nowhere", "--engine", "torch"], &flags[..]].concat());
        assert!(error.contains(message), "{error}");
    }

    let place = Place::new("torch-lacks");
    let set_up = |venv: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thumbformer"));
        command.args(["train", "--engine", "torch", "--corpus", text(&place.path("text.txt")), "-o"]);
        command.arg(place.path("run")).env("PATH", "").env("THUMBFORMER_TORCH_VENV", place.path(venv));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = set_up("venv");
    assert!(
        error.contains("found none on the PATH, wanted Python 3.11 or newer for the torch engine"),
        "{error}"
    );
    assert!(error.contains("THUMBFORMER_TORCH_VENV names another place"), "{error}");
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/thesis.txt"), "dear").unwrap();
    assert!(set_up("full").contains("found other files, wanted a virtual environment or an empty folder"));
    assert!(!place.path("run").exists());
}

#[test]
#[ignore = "5 GB of PyPI packages: cargo xtask test --torch"]
fn the_engines_agree_over_200_steps() {
    let place = Place::new("torch-agree");
    for (name, model) in [("llama", LLAMA), ("gpt2", GPT2), ("mixed", MIXED), ("plain", PLAIN)] {
        let torch = format!("{name}-torch");
        place.train(name, model, "steps = 200", &[]);
        place.train(&torch, model, "steps = 200", &["--engine", "torch"]);
        place.agree(name, &torch, 200);
    }
}

#[test]
#[ignore = "5 GB of PyPI packages: cargo xtask test --torch"]
fn the_engines_agree_on_schedules_and_accumulated_batches() {
    let place = Place::new("torch-schedules");
    for (name, training, nproc) in [
        ("linear", "steps = 100\naccumulate = 2\nschedule = \"linear\"\nbeta2 = 0.99", "1"),
        ("wsd", "steps = 100\naccumulate = 3\nschedule = \"wsd\"\ncooldown = 0.5", "2"),
    ] {
        let torch = format!("{name}-torch");
        place.train(name, LLAMA, training, &[]);
        place.train(&torch, LLAMA, training, &["--engine", "torch", "--nproc", nproc]);
        place.agree(name, &torch, 100);
        let [one, other] = [name, &torch]
            .map(|run| checkpoint::load(&place.path(run).join("best.safetensors")).unwrap().info.provenance);
        assert_eq!(one, other);
    }
}

#[test]
#[ignore = "5 GB of PyPI packages: cargo xtask test --torch"]
fn both_engines_lose_patience() {
    let place = Place::new("torch-patience");
    for (run, flags) in [("rust", &[][..]), ("torch", &["--engine", "torch"])] {
        place.train(run, PLAIN, "steps = 2000\npatience = 1\nlearning_rate = 0.02", flags);
        let steps = place.metrics(run, "loss").len();
        assert!(steps < 2000 && steps.is_multiple_of(50), "{run}: {steps}");
        let metrics = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
        let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        assert_eq!(last["stopped_early"], true, "{run}: {last}");
        // One evaluation that was not the lowest, and the last, on everything.
        let losses = place.metrics(run, "valid_loss");
        assert_eq!(losses.len(), steps / 50 + 1);
    }
}

#[test]
#[ignore = "5 GB of PyPI packages: cargo xtask test --torch"]
fn two_processes_do_what_one_does() {
    let place = Place::new("torch-two");
    place.train("rust", LLAMA, "steps = 100", &[]);
    // Five sequences a step: one process has three, the other two.
    place.train("two", LLAMA, "steps = 100", &["--engine", "torch", "--nproc", "2"]);
    place.agree("rust", "two", 100);
}

#[test]
#[ignore = "5 GB of PyPI packages: cargo xtask test --torch"]
fn either_engine_goes_on_with_the_others_run() {
    let place = Place::new("torch-go-on");
    place.train("there", GPT2, "steps = 50", &["--engine", "torch", "--nproc", "2"]);
    place.train("back", GPT2, "steps = 50", &[]);
    place.resume("there", &["--steps", "150"]);
    let corpus = place.path("text.txt");
    place.resume("back", &["--steps", "150", "--engine", "torch", "--corpus", text(&corpus)]);
    place.agree("there", "back", 150);

    // What torch has written exports like any other.
    let (run, thumb) = (place.path("back"), place.path("back.thumb"));
    let (model, tokens) = (run.join("model.safetensors"), run.join("valid.u16"));
    thumbformer(&["export", text(&model), "-o", text(&thumb)]);
    let loss = |file: &PathBuf| -> f64 {
        let said = thumbformer(&["eval", text(file), "--tokens", text(&tokens), "--json"]);
        serde_json::from_str::<Value>(&said).unwrap()["loss"].as_f64().unwrap()
    };
    let told = *place.metrics("back", "valid_loss").last().unwrap();
    assert!((loss(&model) - told).abs() < 1e-4, "{} and {told}", loss(&model));
    assert!((loss(&thumb) - told).abs() < 0.02, "{} and {told}", loss(&thumb));
}

#[test]
#[cfg(unix)]
#[ignore = "5 GB of PyPI packages: cargo xtask test --torch"]
fn an_interrupted_run_goes_on_as_if_nothing_had_happened() {
    let place = Place::new("torch-interrupt");
    let (torch, training) = (["--engine", "torch", "--nproc", "2"], "steps = 600\ndropout = 0.2");
    place.train("whole", LLAMA, training, &torch);
    place.train("run", LLAMA, training, &["--prepare"]);
    let run = place.path("run");
    let mut child = Command::new(env!("CARGO_BIN_EXE_thumbformer"))
        .args(["train", "--resume", "-o", text(&run)])
        .args(torch)
        .spawn()
        .unwrap();
    while place.metrics("run", "loss").len() < 10 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let done = place.metrics("run", "loss").len();
    assert!((10..600).contains(&done), "{done} steps were done");
    place.resume("run", &torch);
    place.agree("whole", "run", 600);

    // Dropout was there: the first batch and the first weights are the same without it.
    place.train("dry", LLAMA, "steps = 1", &[]);
    assert!((place.metrics("dry", "loss")[0] - place.metrics("run", "loss")[0]).abs() > 1e-4);
}
