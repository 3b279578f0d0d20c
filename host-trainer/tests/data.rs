//! Data through the command line: a look at it, and runs whose text is documents.

mod common;

use common::{Folder, refused, text, thumbformer};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODEL: [&str; 14] = [
    "--dim",
    "16",
    "--hidden-dim",
    "32",
    "--layers",
    "1",
    "--heads",
    "2",
    "--kv-heads",
    "1",
    "--vocab",
    "280",
    "--context",
    "16",
];

fn inspect(args: &[&str]) -> Value {
    serde_json::from_str(&thumbformer(&[&["data", "inspect", "--json"], args].concat())).unwrap()
}

/// A file of many short documents, one a line, of which ten are there twice.
fn lines(folder: &Folder, count: usize) -> PathBuf {
    let line =
        |i: usize| format!("the {} fox no. {i} jumps over dog {}\n", ["red", "old"][i % 2], i * 7 % 13);
    let path = folder.join("lines.txt");
    fs::write(&path, (0..count).chain(0..10).map(line).collect::<String>()).unwrap();
    path
}

fn train(corpus: &Path, run: &Path, rest: &[&str]) -> String {
    let args = ["train", "--corpus", text(corpus), "-o", text(run), "--threads", "2"];
    let output = Command::new(env!("CARGO_BIN_EXE_thumbformer"))
        .args([&args[..], &MODEL, rest].concat())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_look_at_text_tells_what_training_reads() {
    let folder = Folder::new("data-text");
    let (corpus, run) = (lines(&folder, 400), folder.join("run"));
    let rules = ["--split-documents", "lines", "--deduplicate", "--held-out", "0.1"];
    let found = inspect(&[&[text(&corpus), "--vocab", "280"][..], &rules].concat());
    assert_eq!([&found["documents"], &found["duplicates"], &found["files"]], [400, 10, 1]);
    let [train_part, valid_part] = ["train", "valid"].map(|part| &found[part]);
    let documents = |part: &Value| part["documents"].as_u64().unwrap();
    assert_eq!(documents(train_part) + documents(valid_part), 400);
    assert!((20..60).contains(&documents(valid_part)), "{found}");
    assert_eq!(found["split"], "documents");
    assert!(train_part["sample"].as_str().unwrap().starts_with("the "));
    let used = train_part["tokens_used"].as_u64().unwrap();
    assert!((15..280).contains(&used), "{used}");
    let table = thumbformer(&["data", "inspect", text(&corpus)]);
    assert!(table.contains("documents   1, ") && table.contains("the end of the text held out"), "{table}");

    let said = train(&corpus, &run, &[&["--steps", "2"][..], &rules].concat());
    for (part, name) in [(train_part, "train"), (valid_part, "valid")] {
        let tokens = host_trainer::train::read_tokens(&run.join(format!("tokens/{name}.u16"))).unwrap();
        assert_eq!(part["tokens"], tokens.len(), "{said}");
        let begins = tokens.iter().filter(|token| **token == 1).count();
        assert_eq!(part["documents"], begins);
    }
    assert!(
        said.contains("documents 10 duplicates, ") && said.contains(" of 400 documents held out"),
        "{said}"
    );
}

#[test]
fn characters_are_learned_and_a_test_part_is_kept_for_the_end() {
    let folder = Folder::new("data-characters");
    let (corpus, run) = (lines(&folder, 400), folder.join("run"));
    let rules =
        ["--tokenizer", "characters", "--split-documents", "lines", "--test", "0.2", "--held-out", "0.1"];
    let found = inspect(&[&[text(&corpus)][..], &rules].concat());
    let part = |part: &str| found[part]["documents"].as_u64().unwrap();
    assert!(part("train") + part("valid") + part("test") == 410 && part("test") > 50, "{found}");
    let characters = fs::read_to_string(&corpus).unwrap().replace('\n', "");
    let different = characters.chars().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(found["vocab_size"], 3 + different);
    // A tenth of them stands in every document.
    let few = inspect(&[&[text(&corpus), "--vocab", "8"][..], &rules].concat());
    assert_eq!([&few["vocab_size"], &few["test"]["tokens"]], [&Value::from(8), &found["test"]["tokens"]]);

    let said = train(&corpus, &run, &[&["--steps", "2"][..], &rules].concat());
    let test = run.join("tokens/test.u16");
    let tokens = host_trainer::train::read_tokens(&test).unwrap();
    assert!(said.contains(&format!(", {} to test", tokens.len())), "{said}");
    assert_eq!(found["test"]["tokens"], tokens.len());

    // Alone, each document has the loss that it has among the others.
    let (model, alone) = (folder.join("characters.thumb"), folder.join("alone.u16"));
    thumbformer(&["export", text(&run.join("model.safetensors")), "-o", text(&model)]);
    for model in [&model, &run.join("model.safetensors")] {
        let eval = |tokens: &Path, rest: &[&str]| -> (f64, f64) {
            let args = ["eval", text(model), "--tokens", text(tokens), "--json"];
            let found: Value = serde_json::from_str(&thumbformer(&[&args[..], rest].concat())).unwrap();
            (found["loss"].as_f64().unwrap(), found["tokens"].as_f64().unwrap())
        };
        let ends: Vec<usize> = (1..tokens.len()).filter(|&i| tokens[i] == 1).take(2).collect();
        let [two, one, other] = [0..=ends[1], 0..=ends[0], ends[0]..=ends[1]].map(|range| {
            let bytes: Vec<u8> = tokens[range].iter().flat_map(|token| token.to_le_bytes()).collect();
            fs::write(&alone, bytes).unwrap();
            eval(&alone, &["--documents", "--chunk", "16"])
        });
        assert_eq!(two.1, ends[1] as f64);
        assert!(
            (two.0 * two.1 - one.0 * one.1 - other.0 * other.1).abs() < 1e-3,
            "{two:?} {one:?} {other:?}"
        );
        assert_eq!(eval(&test, &["--documents"]).1, (tokens.len() - 1) as f64);
    }
    // In another order, each part has the same documents.
    let shuffled = folder.join("shuffled");
    train(&corpus, &shuffled, &[&["--steps", "1", "--shuffle"][..], &rules].concat());
    let [ordered, shuffled] = [&run, &shuffled].map(|run| {
        ["train", "valid", "test"].map(|part| {
            let tokens = host_trainer::train::read_tokens(&run.join(format!("tokens/{part}.u16"))).unwrap();
            tokens.split(|&token| token == 1).map(<[u16]>::to_vec).collect::<Vec<_>>()
        })
    });
    for (mut before, mut after) in ordered.into_iter().zip(shuffled) {
        assert_ne!(before, after);
        before.sort_unstable();
        after.sort_unstable();
        assert_eq!(before, after);
    }
    let error = refused(&["data", "inspect", text(&corpus), "--test", "0.95"]);
    assert!(
        error.contains("test: found 0.95, wanted 0 to less than the 0.95 that held_out leaves"),
        "{error}"
    );
    let pairs = folder.join("pairs.jsonl");
    fs::write(&pairs, "{\"prompt\": \"a\", \"answer\": \"b\"}\n").unwrap();
    let model = run.join("model.safetensors");
    let error = refused(&[
        "finetune",
        text(&model),
        "--pairs",
        text(&pairs),
        "--test",
        "0.1",
        "-o",
        text(&folder.join("bot")),
    ]);
    assert!(error.contains("test: found 0.1 without --corpus"), "{error}");
}

#[test]
fn a_run_of_documents_goes_on_without_its_text() {
    let folder = Folder::new("data-resume");
    let corpus = lines(&folder, 200);
    let rules = ["--split-documents", "lines", "--steps"];
    let [whole, parts] = ["whole", "parts"].map(|name| folder.join(name));
    train(&corpus, &whole, &[&rules[..], &["8"]].concat());
    train(&corpus, &parts, &[&rules[..], &["8", "--prepare"]].concat());
    let config = fs::read_to_string(parts.join("config.toml")).unwrap();
    assert!(
        config.contains("split = \"documents\"") && config.contains("split_documents = \"lines\""),
        "{config}"
    );

    let resume = ["train", "--resume", "-o", text(&parts)];
    let error = refused(&[&resume[..], &["--split", "tail"]].concat());
    assert!(error.contains("split: found \"tail\", wanted \"documents\" as in the run"), "{error}");
    let error = refused(&[&resume[..], &["--deduplicate"]].concat());
    assert!(error.contains("deduplicate: found true, wanted false as in the run"), "{error}");
    let other = folder.join("other.txt");
    fs::write(&other, "something else entirely\n".repeat(300)).unwrap();
    let error = refused(&[&resume[..], &["--corpus", text(&other)]].concat());
    assert!(error.contains("other.txt: found another text (crc32 "), "{error}");

    thumbformer(&[&resume[..], &["--corpus", text(&corpus), "--steps", "8"]].concat());
    fs::remove_file(&corpus).unwrap();
    thumbformer(&[&resume[..], &["--steps", "12"]].concat());
    thumbformer(&["train", "--resume", "-o", text(&whole), "--steps", "12"]);
    let weights = |run: &Path| {
        host_trainer::checkpoint::load(&run.join("model.safetensors")).unwrap().model.params().values.clone()
    };
    assert!(weights(&whole) == weights(&parts));
    let tokens = parts.join("tokens/train.u16");
    let mut bytes = fs::read(&tokens).unwrap();
    bytes.pop();
    fs::write(&tokens, bytes).unwrap();
    assert!(refused(&[&resume[..], &["--steps", "13"]].concat()).contains("train.u16: length: found "));
}

#[test]
fn several_texts_and_refused_ones() {
    let folder = Folder::new("data-several");
    let (lines, other) = (lines(&folder, 300), folder.join("other.txt"));
    fs::write(&other, "a second text, of its own kind. ".repeat(20)).unwrap();
    let run = folder.join("run");
    let (both, rest) = (["--corpus", text(&other)], ["--steps", "1", "--split-documents", "lines"]);
    let said = train(&lines, &run, &[&both[..], &rest].concat());
    assert!(said.contains("lines.txt, other.txt, ") && said.contains("311 documents"), "{said}");
    // What does not fill a context leaves no folder.
    let short = folder.join("short.txt");
    fs::write(&short, "hardly a word").unwrap();
    let run = folder.join("none");
    let args = ["train", "--corpus", text(&short), "-o", text(&run), "--steps", "1"];
    assert!(refused(&[&args[..], &MODEL].concat()).contains("shorter than one context"));
    assert!(!run.exists());
}

#[test]
fn a_look_at_pairs_and_windows() {
    let folder = Folder::new("data-others");
    let pairs = folder.join("pairs.jsonl");
    let line = |i: usize| format!("{{\"q\": \"how much is {i} and {i}?\", \"a\": \"{}\"}}\n", 2 * i);
    fs::write(&pairs, (0..50).map(line).collect::<String>()).unwrap();
    let fields = ["--prompt-field", "q", "--answer-field", "a"];
    let found = inspect(&[&[text(&pairs), "--context", "64"][..], &fields].concat());
    assert_eq!([&found["pairs"], &found["seq_len"]], [50, 64]);
    let [windows, answers, ignored] =
        ["windows", "answer_tokens", "ignored_tokens"].map(|key| found[key].as_u64().unwrap());
    assert!(answers >= 100 && answers + ignored == 64 * windows, "{found}");
    let error = refused(&["data", "inspect", text(&pairs)]);
    assert!(
        error.contains("pairs.jsonl, line 1: \"prompt\": found \"a\", \"q\", wanted this field"),
        "{error}"
    );

    let steps = folder.join("walk.csv");
    fs::write(&steps, "x,y\n".to_owned() + &"0.5,-1\n".repeat(25)).unwrap();
    let found = inspect(&[text(&steps), "--window", "10", "--hop", "5", "--rate", "50"]);
    assert_eq!([&found["windows"], &found["channels"], &found["left_out_steps"]], [4, 2, 0]);
    assert_eq!(found["classes"][0]["name"], "walk");
    assert_eq!(found["ranges"][1], serde_json::json!([-1.0, -1.0, -1.0]));
    let table = thumbformer(&["data", "inspect", text(&steps), "--window", "10"]);
    assert!(table.contains("windows     2 of 10 to 10 steps, 2 channels"), "{table}");
    let error = refused(&["data", "inspect", text(&steps), text(&pairs)]);
    assert!(error.contains("walk.csv: found a file of another kind beside text, wanted one kind"), "{error}");
}
