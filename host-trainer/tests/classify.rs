//! A checkpoint learns to tell classes apart, from labelled texts to the integers that a device computes.

mod common;

use common::{Folder, refused, text, thumbformer};
use host_trainer::checkpoint;
use host_trainer::device::{Memory, ModelFile};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use thumbformer::{Error, Sampler, Token};

/// A folder with a pretrained model and labelled sentences.
struct Place(Folder);

const SHAPE: [&str; 14] = [
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
    "280",
];

/// A sentence of words that are drawn anew for each.
fn sentence(i: usize, words: &[&str]) -> String {
    (0..5).map(|j| words[(i * 7 + j * j * 3 + i / 5) % words.len()].to_owned() + " ").collect()
}

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(Folder::new(name));
        let cats = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "its", "hat"];
        let dogs = ["the", "dog", "ran", "to", "a", "pond", "and", "ate", "its", "bone"];
        let none = ["one", "two", "six", "ten", "and", "a", "the"];
        // Sorted by class, as files often are.
        let classes = [("cat", &cats[..]), ("dog", &dogs), ("number", &none)];
        let all =
            || classes.iter().flat_map(|(label, words)| (0..60).map(move |i| (*label, sentence(i, words))));
        let lines: String = all()
            .map(|(label, text)| serde_json::json!({ "text": text, "label": label }).to_string() + "\n")
            .collect();
        let table: String = all().map(|(label, text)| format!("{label},{text}\n")).collect();
        let texts: String = all().map(|(_, text)| text + "\n").collect();
        fs::write(place.path("texts.jsonl"), lines).unwrap();
        fs::write(place.path("texts.csv"), format!("label,text\n{table}")).unwrap();
        fs::write(place.path("texts.txt"), texts).unwrap();
        let (corpus, run) = (place.arg("texts.txt"), place.arg("base"));
        let train = ["train", "--corpus", &corpus, "-o", &run, "--steps", "40", "--held-out", "0.1"];
        thumbformer(&[&train[..], &SHAPE].concat());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn arg(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// `finetune --classify` of a checkpoint; what it says.
    fn classify(&self, checkpoint: &str, run: &str, flags: &[&str]) -> Value {
        let (base, texts, run) = (self.arg(checkpoint), self.arg("texts.jsonl"), self.arg(run));
        let args = ["finetune", &base, "--classify", &texts, "-o", &run, "--held-out", "0.2"];
        serde_json::from_str(&thumbformer(&[&args[..], flags].concat())).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&thumbformer(args)).unwrap()
    }

    fn export(&self, run: &str, flags: &[&str]) -> String {
        let (checkpoint, texts) = (self.arg(&format!("{run}/best.safetensors")), self.arg("texts.csv"));
        let file = self.arg(&format!("{run}.thumb"));
        let args = ["export", &checkpoint, "-o", &file, "--calibration", &texts];
        thumbformer(&[&args[..], flags].concat());
        file
    }
}

const BASE: &str = "base/model.safetensors";

#[test]
fn classes_are_learned_exported_and_found_by_the_device() {
    let place = Place::new("classify");
    let flags =
        ["--steps", "60", "--learning-rate", "0.003", "--label-smoothing", "0.05", "--eval-interval", "20"];
    let said = place.classify(BASE, "run", &flags);
    assert!(said["valid_accuracy"].as_f64().unwrap() > 0.9, "{said}");
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.matches("valid_accuracy").count(), 3, "{metrics}");
    assert!(!metrics.contains("\"sample\""), "{metrics}");
    let report = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(report.contains("Accuracy on held-out texts."));
    assert!(!report.contains("does not fit the format"));

    let trained = checkpoint::load(&place.path("run/best.safetensors")).unwrap();
    assert_eq!(trained.info.labels, ["cat", "dog", "number"]);
    let config = trained.model.config().config;
    assert_eq!((config.n_classes, config.tied), (3, false));
    assert_eq!(trained.model.params().get("output.weight").unwrap().len(), 3 * config.dim);

    // f32 and the integers agree on nearly every text.
    let (file, texts) = (place.export("run", &[]), place.arg("texts.csv"));
    let f32 = place.json(&["eval", &place.arg("run/best.safetensors"), "--labelled", &texts, "--json"]);
    let int8 = place.json(&["eval", &file, "--labelled", &texts, "--json"]);
    for found in [&f32, &int8] {
        assert!(found["accuracy"].as_f64().unwrap() > 0.9, "{found}");
        assert_eq!((found["texts"].as_u64(), found["saturations"].as_u64()), (Some(180), Some(0)));
        assert_eq!(found["classes"][2]["label"], "number");
        assert_eq!(found["classes"][0]["texts"], 60);
    }
    let loss = |found: &Value| found["loss"].as_f64().unwrap();
    assert!((loss(&f32) - loss(&int8)).abs() < 0.02, "{f32} {int8}");
    let shown = thumbformer(&["eval", &file, "--labelled", &texts]);
    assert!(shown.contains("class   texts precision  recall"), "{shown}");
    assert!(shown.contains("found as 1, 2, .."), "{shown}");

    // One text, and what a session makes of it.
    let prompt = "the dog ran to its pond ";
    let said = thumbformer(&["run", &file, "--prompt", prompt]);
    assert!(said.starts_with("dog ") && said.trim_end().ends_with(" %"), "{said}");
    let said = place.json(&["run", &file, "--prompt", prompt, "--json"]);
    let bytes = ModelFile::read(&place.path("run.thumb")).unwrap();
    let model = bytes.model().unwrap();
    let ids: Vec<Token> =
        said["prompt"].as_array().unwrap().iter().map(|id| Token(id.as_u64().unwrap() as u16)).collect();
    let mut memory = Memory::new(&model);
    let mut session = memory.session(&model).unwrap();
    let logits = session.prefill(&ids).unwrap();
    assert_eq!((logits.len(), logits.argmax()), (3, Token(1)));
    let probability = f64::from(logits.probability(Token(1))) / 65536.0;
    for found in [&said["probability"], &said["classes"]["dog"]] {
        assert!((found.as_f64().unwrap() - probability).abs() < 1e-9, "{said}");
    }
    let next = session.generate(&mut Sampler::greedy()).next();
    assert_eq!(next, Some(Err(Error::IsClassifier { n_classes: 3 })));

    let shown = thumbformer(&["inspect", &file]);
    assert!(shown.contains("classes: cat, dog, number") && shown.contains("3-class head"), "{shown}");
    assert!(!shown.contains("label:"), "{shown}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = Place::new("classify-refused");
    place.classify(BASE, "run", &["--steps", "2"]);
    let (base, texts) = (place.arg(BASE), place.arg("texts.jsonl"));
    let (classifier, file) = (place.arg("run/model.safetensors"), place.arg("x.thumb"));
    let error = refused(&["export", &classifier, "-o", &file]);
    assert!(error.contains("calibration: found none for a classifier"), "{error}");
    let file = place.export("run", &[]);
    let error = refused(&["eval", &file, "--tokens", &place.arg("run/valid.u16")]);
    assert!(
        error.contains("found a classifier of 3 classes, wanted a model of tokens, or --labelled"),
        "{error}"
    );
    let error = refused(&["eval", &base, "--labelled", &texts]);
    assert!(error.contains("found a model of tokens, wanted a classifier"), "{error}");
    let corpus = place.arg("texts.txt");
    let error =
        refused(&["finetune", &classifier, "--corpus", &corpus, "-o", &place.arg("y"), "--steps", "1"]);
    assert!(error.contains("found a classifier of 3 classes, wanted --classify"), "{error}");
    fs::write(place.path("one.jsonl"), "{\"text\": \"a\", \"label\": \"only\"}\n").unwrap();
    let one = place.arg("one.jsonl");
    let error = refused(&["finetune", &base, "--classify", &one, "-o", &place.arg("y"), "--steps", "1"]);
    assert!(error.contains("found one label, only, wanted two or more"), "{error}");
    let error = refused(&["eval", &file, "--labelled", &one]);
    assert!(error.contains("label: found \"only\", wanted one of the model's: cat, dog, number"), "{error}");
}

#[test]
fn a_run_goes_on_to_the_same_bits_and_a_classifier_with_its_head() {
    let place = Place::new("classify-resume");
    let flags = ["--learning-rate", "0.003", "--schedule", "wsd", "--warmup", "0", "--cooldown", "0"];
    place.classify(BASE, "whole", &[&flags[..], &["--steps", "12"]].concat());
    place.classify(BASE, "half", &[&flags[..], &["--steps", "5"]].concat());
    thumbformer(&["train", "--resume", "-o", &place.arg("half"), "--steps", "12"]);
    let [whole, half] = ["whole", "half"]
        .map(|run| checkpoint::load(&place.path(&format!("{run}/model.safetensors"))).unwrap());
    assert_eq!(whole.model.params().values, half.model.params().values);
    assert_eq!(half.info.labels, ["cat", "dog", "number"]);

    let head = |run: &str| {
        let checkpoint = checkpoint::load(&place.path(&format!("{run}/model.safetensors"))).unwrap();
        checkpoint.model.params().get("output.weight").unwrap().to_vec()
    };
    // One step at nearly no rate tells where a run began.
    let still = ["--steps", "1", "--learning-rate", "1e-9", "--weight-decay", "0"];
    place.classify("whole/model.safetensors", "again", &still);
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&head("whole"), &head("again")));
    place.classify(BASE, "anew", &still);
    assert!(!near(&head("whole"), &head("anew")));
}

#[test]
fn a_frozen_trunk_stays_and_adapters_reach_the_head() {
    let place = Place::new("classify-frozen");
    let params = |file: &str| checkpoint::load(&place.path(file)).unwrap().model.params().clone();
    let base = params(BASE);
    let changed = |run: &str| -> Vec<String> {
        let tuned = params(&format!("{run}/model.safetensors"));
        let differs = |name: &String| base.get(name) != tuned.get(name);
        tuned.tensors().iter().map(|tensor| tensor.name.clone()).filter(differs).collect()
    };
    let frozen = ["--freeze", "layers.*", "--freeze", "norm.*", "--freeze", "tok_embeddings.*"];
    let said = place.classify(
        BASE,
        "frozen",
        &[&frozen[..], &["--steps", "60", "--learning-rate", "0.02"]].concat(),
    );
    assert_eq!(changed("frozen"), ["output.weight"]);
    assert!(said["valid_accuracy"].as_f64().unwrap() > 0.6, "{said}");

    let lora = ["--lora", "4", "--lora-on", "*.wq.weight", "--steps", "60", "--learning-rate", "0.02"];
    let said = place.classify(BASE, "lora", &lora);
    assert_eq!(
        changed("lora"),
        ["layers.0.attention.wq.weight", "layers.1.attention.wq.weight", "output.weight"]
    );
    assert!(said["valid_accuracy"].as_f64().unwrap() > 0.6, "{said}");
    // Trained for its integers, too.
    place.classify(BASE, "int4", &["--quantize", "int4", "--steps", "10"]);
    let file = place.export("int4", &[]);
    let found = place.json(&["eval", &file, "--labelled", &place.arg("texts.csv"), "--json"]);
    assert_eq!(found["texts"], 180, "{found}");
}
