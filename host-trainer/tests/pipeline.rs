//! The whole way through the command line: train on a text, export, run, evaluate, inspect.

mod common;

use common::{Folder, text, thumbformer};
use serde_json::Value;
use std::fs;

const SENTENCE: &str = "the quick brown fox jumps over the lazy dog and runs away. ";

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&thumbformer(args)).unwrap()
}

#[test]
fn a_trained_model_goes_on_with_what_it_read() {
    let folder = Folder::new("pipeline");
    let [corpus, run, checkpoint, tokens, model] =
        ["corpus.txt", "run", "run/model.safetensors", "run/valid.u16", "fox.thumb"]
            .map(|name| folder.join(name));
    fs::write(&corpus, SENTENCE.repeat(150)).unwrap();
    let [corpus, run, checkpoint, tokens, model] =
        [&corpus, &run, &checkpoint, &tokens, &model].map(|path| text(path));

    let shape = ["--dim", "16", "--hidden-dim", "32", "--layers", "1", "--heads", "2", "--kv-heads", "1"];
    let length = ["--vocab", "280", "--context", "64", "--steps", "400", "--batch", "4"];
    let train = [&["train", "--corpus", corpus, "-o", run][..], &shape, &length].concat();
    let outcome = json(&train);
    assert_eq!(outcome["steps"], 400);
    assert!(outcome["valid_loss"].as_f64().unwrap() < 0.3, "{outcome}");
    thumbformer(&["export", checkpoint, "--calibration", tokens, "-o", model]);

    // Greedy text goes on where the prompt ends.
    let (prompt, rest) = SENTENCE.split_at(15);
    let told = json(&["run", model, "--prompt", prompt, "--temperature", "0", "-n", "30", "--json"]);
    let story = told["text"].as_str().unwrap();
    let wanted = [prompt, rest, &SENTENCE.repeat(3)].concat();
    assert!(story.len() > 40 && wanted.starts_with(story), "{story:?}");
    let plain = thumbformer(&["run", model, "--prompt", prompt, "--temperature", "0", "-n", "30"]);
    assert_eq!(plain, format!("{story}\n"));

    let loss = |model: &str| {
        let found = json(&["eval", model, "--tokens", tokens, "--chunk", "32", "--json"]);
        assert_eq!(found["tokens"].as_u64().unwrap() % 32, 0);
        found["loss"].as_f64().unwrap()
    };
    let (f32, integers) = (loss(checkpoint), loss(model));
    println!("loss in f32 {f32:.6}, in integers {integers:.6}");
    assert!((f32 - integers).abs() < 0.01, "{f32} {integers}");

    let found = json(&["inspect", model, "--json"]);
    let bytes = fs::metadata(model).unwrap().len();
    assert_eq!(found["bytes"], bytes);
    let shape = &found["config"];
    assert_eq!([&shape["dim"], &shape["seq_len"], &shape["n_kv_heads"]], [16, 64, 1]);
    let sum =
        |rows: &Value, field: &dyn Fn(&Value) -> u64| rows.as_array().unwrap().iter().map(field).sum::<u64>();
    let tensors = sum(&found["tensors"], &|row| row["bytes"].as_u64().unwrap());
    let rest = bytes - tensors - found["tokenizer_bytes"].as_u64().unwrap();
    // Header, a directory entry for each of 13 tensors, metadata, and padding.
    assert!((96 + 13 * 32..96 + 13 * 32 + 300).contains(&rest), "{rest}");
    let workspace = sum(&found["workspace_parts"], &|part| part[1].as_u64().unwrap());
    assert_eq!(found["workspace"], workspace);
    let fits = |name: &str| {
        let boards = found["boards"].as_array().unwrap();
        boards.iter().find(|board| board["board"] == name).unwrap()["fits"] == true
    };
    assert!(fits("microbit") && fits("mps2-an386"));
    let table = thumbformer(&["inspect", model]);
    assert!(table.contains("0.Wq") && table.contains(&format!("workspace: {workspace} bytes")), "{table}");
}
