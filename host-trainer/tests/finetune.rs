//! A checkpoint learns more: all of it, a part, adapters, or answers.

mod common;

use common::{Folder, refused, text, thumbformer};
use host_trainer::checkpoint::{self, Checkpoint};
use host_trainer::model::Params;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder with a pretrained model and texts.
struct Place(Folder);

const SMALL: [&str; 14] = [
    "--dim",
    "32",
    "--heads",
    "2",
    "--kv-heads",
    "1",
    "--layers",
    "2",
    "--hidden-dim",
    "48",
    "--context",
    "32",
    "--vocab",
    "300",
];

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(Folder::new(name));
        let sentence = |i: usize, words: &[&str]| -> String {
            (0..6).map(|j| words[(i * 7 + j * j * 3 + i / 5) % words.len()].to_owned() + " ").collect()
        };
        let write = |name: &str, words: &[&str]| {
            let all: String = (0..400).map(|i| sentence(i, words) + "\n").collect();
            fs::write(place.path(name), all).unwrap();
        };
        write("first.txt", &["the", "cat", "sat", "on", "a", "mat", "and", "saw", "its", "hat"]);
        write("second.txt", &["the", "dog", "ran", "to", "a", "pond", "and", "ate", "its", "bone"]);
        let corpus = place.arg("first.txt");
        let run = place.arg("base");
        let train = ["train", "--corpus", &corpus, "-o", &run, "--steps", "60", "--held-out", "0.2"];
        thumbformer(&[&train[..], &SMALL].concat());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn arg(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// `finetune` of the base; what it says.
    fn tune(&self, run: &str, flags: &[&str]) -> Value {
        let (base, run) = (self.arg("base/model.safetensors"), self.arg(run));
        let said = thumbformer(&[&["finetune", &base, "-o", &run, "--held-out", "0.2"], flags].concat());
        serde_json::from_str(&said).unwrap()
    }

    fn load(&self, file: &str) -> Checkpoint {
        checkpoint::load(&self.path(file)).unwrap()
    }

    fn params(&self, run: &str) -> Params {
        self.load(&format!("{run}/model.safetensors")).model.params().clone()
    }

    /// Names of the tensors that a run has changed.
    fn changed(&self, run: &str) -> Vec<String> {
        let (base, tuned) = (self.params("base"), self.params(run));
        let changed = |name: &str| base.get(name) != tuned.get(name);
        base.tensors().iter().map(|t| t.name.clone()).filter(|name| changed(name)).collect()
    }
}

#[test]
fn another_text_is_learned_with_the_tokenizer_of_the_first() {
    let place = Place::new("finetune-text");
    let second = place.arg("second.txt");
    let tuned = place.tune("tuned", &["--corpus", &second, "--steps", "40"]);
    // One step at nearly no rate tells the loss before.
    let before = place.tune("before", &["--corpus", &second, "--steps", "1", "--learning-rate", "1e-9"]);
    let loss = |said: &Value| said["valid_loss"].as_f64().unwrap();
    assert!(loss(&tuned) < loss(&before) - 1.0, "{tuned} {before}");
    let [base, run] = ["base", "tuned"].map(|run| place.load(&format!("{run}/model.safetensors")));
    assert_eq!(base.tokenizer, run.tokenizer);
    assert_eq!(base.model.config(), run.model.config());
    let provenance = run.info.provenance;
    assert!(provenance.starts_with(&base.info.provenance), "{provenance}");
    assert!(provenance.contains("; fine-tuned on second.txt, "), "{provenance}");
    assert_eq!(place.changed("tuned").len(), run.model.params().tensors().len());
}

#[test]
fn what_is_frozen_stays_and_rates_differ_by_layer() {
    let place = Place::new("finetune-frozen");
    let second = place.arg("second.txt");
    let flags =
        ["--corpus", &second, "--steps", "5", "--freeze", "tok_embeddings.*", "--freeze", "layers.0.*"];
    place.tune("frozen", &flags);
    // Without a rate in the file, it is that of fine-tuning.
    let rate = |run: &str, file: &str| {
        fs::write(place.path("some.toml"), file).unwrap();
        place.tune(run, &["--corpus", &second, "--steps", "1", "--config", &place.arg("some.toml")]);
        host_trainer::train::TrainConfig::read(&place.path(run).join("config.toml"))
            .unwrap()
            .training
            .learning_rate
    };
    assert_eq!(rate("default", "[finetune]\nfreeze = [\"norm.*\"]\n[training]\nbatch = 2\n"), 0.001);
    assert_eq!(rate("chosen", "[training]\nlearning_rate = 0.002\n"), 0.002);

    let changed = place.changed("frozen");
    assert!(changed.iter().all(|name| name.starts_with("layers.1.") || name == "norm.weight"), "{changed:?}");
    assert_eq!(changed.len(), 10);

    // AdamW's first step is as long as the rate.
    let flags = ["--corpus", &second, "--steps", "1", "--weight-decay", "0", "--learning-rate", "0.01"];
    let rates = ["--layer-decay", "0.5", "--rate", "*.wq.*=0.1"];
    place.tune("rates", &[&flags[..], &rates, &["--warmup", "0", "--final-rate", "1"]].concat());
    let (base, tuned) = (place.params("base"), place.params("rates"));
    for (name, factor) in [
        ("norm.weight", 1.0),
        ("layers.1.feed_forward.w1.weight", 0.5),
        ("layers.0.feed_forward.w1.weight", 0.25),
        ("layers.1.attention.wq.weight", 0.05),
    ] {
        let moved = base.get(name).unwrap().iter().zip(tuned.get(name).unwrap()).map(|(a, b)| (a - b).abs());
        let farthest = moved.fold(0.0, f32::max);
        assert!((farthest / 0.01 / factor - 1.0).abs() < 0.02, "{name}: {farthest}");
    }
}

#[test]
fn adapters_are_in_every_checkpoint() {
    let place = Place::new("finetune-lora");
    let second = place.arg("second.txt");
    let learn = ["--corpus", &second, "--steps", "60", "--learning-rate", "0.01"];
    let lora = ["--lora", "4", "--lora-on", "*.wq.weight", "--lora-on", "*.w1.weight", "--ema", "0.5"];
    let said = place.tune("lora", &[&learn[..], &lora].concat());
    let changed = place.changed("lora");
    let chosen = |name: &String| name.ends_with(".wq.weight") || name.ends_with(".w1.weight");
    assert!(changed.len() == 4 && changed.iter().all(chosen), "{changed:?}");
    // What was added has the rank of the adapters: any five rows are dependent, as elimination shows.
    let name = "layers.0.attention.wq.weight";
    let (base, tuned) = (place.params("base"), place.params("lora"));
    let added: Vec<f64> =
        tuned.get(name).unwrap().iter().zip(base.get(name).unwrap()).map(|(a, b)| f64::from(a - b)).collect();
    assert_eq!(rank(added, 32, 1e-5), 4);

    // Other commands meet a model like any other.
    let (model, thumb, tokens) =
        (place.arg("lora/model.safetensors"), place.arg("lora.thumb"), place.arg("lora/valid.u16"));
    thumbformer(&["export", &model, "-o", &thumb, "--calibration", &tokens]);
    thumbformer(&["run", &thumb, "--prompt", "the", "-n", "3"]);
    let told: Value =
        serde_json::from_str(&thumbformer(&["eval", &model, "--tokens", &tokens, "--json"])).unwrap();
    assert!((told["loss"].as_f64().unwrap() - said["valid_loss"].as_f64().unwrap()).abs() < 1e-9);
    place.load("lora/ema.safetensors");
    // And the run goes on, adapters and all, without its first checkpoint.
    fs::remove_dir_all(place.path("base")).unwrap();
    let on = thumbformer(&["train", "--resume", "-o", &place.arg("lora"), "--steps", "62"]);
    assert_eq!(serde_json::from_str::<Value>(&on).unwrap()["steps"], 62);
}

/// The rank of a matrix by Gaussian elimination; pivots below `small` times the first are none.
fn rank(mut values: Vec<f64>, columns: usize, small: f64) -> usize {
    let rows = values.len() / columns;
    let mut first = 0.0;
    for rank in 0..rows.min(columns) {
        let rest = (rank..rows).flat_map(|i| (rank..columns).map(move |j| (i, j)));
        let (i, j) = rest
            .max_by(|a, b| {
                let at = |&(i, j): &(usize, usize)| values[i * columns + j].abs();
                at(a).total_cmp(&at(b))
            })
            .unwrap();
        let pivot = values[i * columns + j];
        first = f64::max(first, pivot.abs());
        if pivot.abs() <= small * first {
            return rank;
        }
        for k in 0..columns {
            values.swap(i * columns + k, rank * columns + k);
        }
        for k in 0..rows {
            values.swap(k * columns + j, k * columns + rank);
        }
        for i in rank + 1..rows {
            let factor = values[i * columns + rank] / values[rank * columns + rank];
            for k in rank..columns {
                values[i * columns + k] -= factor * values[rank * columns + k];
            }
        }
    }
    rows.min(columns)
}

#[test]
fn answers_are_learned_and_a_run_of_pairs_goes_on() {
    let place = Place::new("finetune-pairs");
    // The prompt's letter decides the answer.
    let pair = |i: usize| {
        let (word, answer) = [("cat", "a mat"), ("dog", "a bone"), ("hen", "an egg")][i % 3];
        format!("{{\"prompt\": \"{i} {word}:\", \"answer\": \" {answer}\"}}\n")
    };
    fs::write(place.path("pairs.jsonl"), (0..60).map(pair).collect::<String>()).unwrap();
    let pairs = place.arg("pairs.jsonl");
    let rate = ["--learning-rate", "0.003"];
    let said = place.tune("pairs", &[&["--pairs", &pairs, "--steps", "150"], &rate[..]].concat());
    assert!(said["valid_loss"].as_f64().unwrap() < 0.1, "{said}");
    let (model, thumb) = (place.arg("pairs/model.safetensors"), place.arg("pairs.thumb"));
    thumbformer(&["export", &model, "-o", &thumb]);
    for (prompt, answer) in [("77 dog:", " a bone"), ("78 cat:", " a mat")] {
        let run = ["run", &thumb, "--prompt", prompt, "--temperature", "0", "--json"];
        let told: Value = serde_json::from_str(&thumbformer(&run)).unwrap();
        // It ends by itself.
        assert_eq!(told["text"], format!("{prompt}{answer}"), "{told}");
    }

    // f32 and the integers answer alike; another model does not.
    let eval = |file: &str| -> Value {
        serde_json::from_str(&thumbformer(&["eval", file, "--pairs", &pairs, "--json"])).unwrap()
    };
    let (f32, int8, base) = (eval(&model), eval(&thumb), eval(&place.arg("base/model.safetensors")));
    for found in [&f32, &int8] {
        assert_eq!((found["pairs"].as_u64(), found["exact"].as_f64()), (Some(60), Some(1.0)), "{found}");
    }
    let loss = |found: &Value| found["loss"].as_f64().unwrap();
    assert!(loss(&f32) < 0.1 && (loss(&f32) - loss(&int8)).abs() < 0.02, "{f32} {int8}");
    assert!(base["exact"] == 0.0 && loss(&base) > 1.0, "{base}");
    assert_eq!(base["tokens"], f32["tokens"]);

    // Packed, a row has several pairs.
    let said = place.tune("packed", &[&["--pairs", &pairs, "--steps", "150", "--pack"], &rate[..]].concat());
    assert!(said["valid_loss"].as_f64().unwrap() < 0.2, "{said}");
    let rows = |run: &str| {
        let tokens = fs::read(place.path(run).join("train.u16")).unwrap().len() / 2;
        let config = host_trainer::train::TrainConfig::read(&place.path(run).join("config.toml")).unwrap();
        tokens / config.sequence()
    };
    assert!(rows("packed") < rows("pairs"), "{} and {}", rows("packed"), rows("pairs"));

    // The same run in two parts; the pairs are not read again.
    let start = ["--pairs", &pairs, "--steps", "20", "--eval-interval", "5"];
    place.tune("whole", &start);
    place.tune("parts", &start);
    let whole = place.params("whole").values;
    let state = place.path("parts/state.safetensors");
    let mut config = host_trainer::train::TrainConfig::read(&place.path("parts/config.toml")).unwrap();
    config.training.threads = 1;
    let base = place.load("base/model.safetensors").model;
    let mut trainer = host_trainer::train::Trainer::from(config.clone(), base).unwrap();
    let read = |name: &str| host_trainer::train::read_tokens(&place.path("parts").join(name)).unwrap();
    let (tokens, targets) = (read("train.u16"), read("train.targets.u16"));
    for _ in 0..8 {
        let len = config.sequence();
        trainer
            .learn(host_trainer::train::Samples::Rows { len, tokens: &tokens, targets: &targets })
            .unwrap();
    }
    trainer.state(f64::INFINITY, 0).save(&state).unwrap();
    fs::remove_file(place.path("pairs.jsonl")).unwrap();
    thumbformer(&["train", "--resume", "-o", &place.arg("parts")]);
    assert!(place.params("parts").values == whole);
    let error =
        refused(&["train", "--resume", "-o", &place.arg("parts"), "--steps", "30", "--engine", "torch"]);
    assert!(
        error.contains("pairs: found in the run, but the torch engine learns from texts only"),
        "{error}"
    );
}

#[test]
fn patience_ends_a_run_and_the_best_is_kept() {
    let place = Place::new("finetune-patience");
    // So little text that it is soon known by heart.
    let little: String = fs::read_to_string(place.path("second.txt")).unwrap().chars().take(700).collect();
    fs::write(place.path("little.txt"), little).unwrap();
    let flags = ["--corpus", &place.arg("little.txt"), "--steps", "3000", "--eval-interval", "10"];
    let said = place.tune("run", &[&flags[..], &["--patience", "3", "--learning-rate", "0.01"]].concat());
    assert_eq!(said["stopped_early"], true, "{said}");
    assert!(said["steps"].as_u64().unwrap() < 3000);
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let losses: Vec<f64> = lines.filter_map(|line| line["valid_loss"].as_f64()).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(said["best_loss"].as_f64().unwrap(), best);
    // Three evaluations after the best one, and the last on everything.
    let at = losses.iter().position(|&loss| loss == best).unwrap();
    assert_eq!(losses.len(), at + 3 + 2, "{losses:?}");
    let (model, tokens) = (place.arg("run/best.safetensors"), place.arg("run/valid.u16"));
    let told: Value =
        serde_json::from_str(&thumbformer(&["eval", &model, "--tokens", &tokens, "--json"])).unwrap();
    assert!((told["loss"].as_f64().unwrap() - best).abs() < 1e-9, "{told}");
    assert!(best < losses[losses.len() - 1]);
}

#[test]
fn what_cannot_be_tuned_is_named() {
    let place = Place::new("finetune-refused");
    let (base, second, run) =
        (place.arg("base/model.safetensors"), place.arg("second.txt"), place.arg("run"));
    fs::write(place.path("bad.jsonl"), "{\"prompt\": \"a\"}\n").unwrap();
    fs::write(place.path("model.toml"), "[model]\ndim = 8\n").unwrap();
    fs::write(place.path("rows.toml"), "[data]\nrow_len = 7\n").unwrap();
    let error = |flags: &[&str]| {
        let error = refused(&[&["finetune", &base, "-o", &run, "--steps", "1"], flags].concat());
        assert!(!place.path("run").exists(), "{error}");
        error
    };
    for (flags, message) in [
        (&["--corpus", &second, "--freeze", "layer.*"][..], "freeze: found \"layer.*\", wanted a pattern"),
        (&["--corpus", &second, "--rate", "wq=2"], "rates: found \"wq\", wanted a pattern"),
        (&["--corpus", &second, "--lora", "99"], "lora: rank: found 99, wanted at most"),
        (&["--corpus", &second, "--lora", "2", "--freeze", "*"], "freeze: found *, wanted none with lora"),
        (&["--corpus", &second, "--config", &place.arg("model.toml")], "found [model], wanted none"),
        (&["--corpus", &second, "--config", &place.arg("rows.toml")], "row_len: found 7, wanted none"),
        (&["--corpus", &second, "--accumulate", "0"], "accumulate: found 0, wanted at least 1"),
        (
            &["--pairs", &place.arg("bad.jsonl")],
            "bad.jsonl, line 1: \"answer\": found \"prompt\", wanted this field",
        ),
        (&["--pairs", &place.arg("none.jsonl")], "cannot read "),
    ] {
        let error = error(flags);
        assert!(error.contains(message), "{error}, wanted {message}");
    }
    // What only texts have is no silent choice elsewhere.
    let pairs = place.arg("bad.jsonl");
    for source in [&["--pairs", &pairs][..], &["--teacher", &base, "--teacher-text", "100"]] {
        for flags in [&["--split", "tail"][..], &["--split-documents", "lines"], &["--deduplicate"]] {
            let args = [&["finetune", &base, "-o", &run][..], source, flags].concat();
            let output = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(&args).output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains("cannot be used with") && error.contains(flags[0]), "{args:?}: {error}");
        }
    }
    let thumb = place.arg("base.thumb");
    thumbformer(&["export", &base, "-o", &thumb]);
    let error = refused(&["finetune", &thumb, "-o", &run, "--corpus", &second]);
    assert!(error.contains("found a model file, wanted a checkpoint"), "{error}");
    let error = refused(&["finetune", &base, "-o", &place.arg("base"), "--corpus", &second]);
    assert!(error.contains("base: found a run, wanted an empty folder"), "{error}");
}
