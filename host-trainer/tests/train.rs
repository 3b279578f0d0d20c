//! Whole runs on a corpus that repeats itself.

mod common;

use common::{Folder, tiny_config};
use host_trainer::checkpoint::{self, Info, State};
use host_trainer::eval::loss_f32;
use host_trainer::train::{TrainConfig, Trainer, TrainingConfig, train};
use std::fs;

/// A phrase of thirteen different tokens, over and over.
fn corpus(len: usize) -> Vec<u16> {
    (0..len).map(|i| (i % 13 * 5 % 32) as u16).collect()
}

fn config(steps: u64) -> TrainConfig {
    TrainConfig {
        model: tiny_config(),
        training: TrainingConfig {
            steps: Some(steps),
            batch: 4,
            learning_rate: 1e-2,
            threads: 2,
            eval_interval: 20,
            ..TrainingConfig::default()
        },
        ..TrainConfig::default()
    }
}

#[test]
fn a_run_learns_and_leaves_its_files() {
    let folder = Folder::new("train-learns");
    let run = folder.join("run");
    let (text, held_out) = (corpus(2000), corpus(500));
    let tokenizer = Some(vec![1, 2, 3]);
    let outcome = train(&run, config(60), Info::default(), &text, &held_out, tokenizer, false).unwrap();
    assert!(!outcome.interrupted);
    assert_eq!(outcome.steps, 60);
    let valid_loss = outcome.valid_loss.unwrap();
    // A guess costs ln 32 = 3.5 nats, one among the tokens that occur ln 13 = 2.6.
    assert!(valid_loss < 0.5, "{valid_loss}");
    assert!(outcome.best_loss <= valid_loss);

    let saved = checkpoint::load(&run.join("model.safetensors")).unwrap();
    assert_eq!(saved.tokenizer.as_deref(), Some(&[1, 2, 3][..]));
    let (loss, _) = loss_f32(&saved.model, &held_out, 24).unwrap();
    assert_eq!(loss, valid_loss);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 60 + 3);
    assert_eq!(lines[20]["valid_tokens"], 480);
    let written = fs::read_to_string(run.join("config.toml")).unwrap();
    assert_eq!(toml::from_str::<TrainConfig>(&written).unwrap(), config(60));

    let error = train(&run, config(60), Info::default(), &text, &[], None, false).unwrap_err();
    assert!(error.to_string().contains("found a run"), "{error}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let folder = Folder::new("train-resume");
    let text = corpus(2000);
    let mut config = config(12);
    config.training.dropout = 0.1;

    let whole = folder.join("whole");
    train(&whole, config.clone(), Info::default(), &text, &text, None, false).unwrap();

    // Stop after five steps, as an interruption would, with two more that were not saved.
    let parts = folder.join("parts");
    train(&parts, config.clone(), Info::default(), &text, &text, None, false).unwrap();
    let mut trainer = Trainer::new(config.clone()).unwrap();
    for _ in 0..5 {
        trainer.advance(&text).unwrap();
    }
    let state = parts.join("state.safetensors");
    trainer.state(f64::INFINITY, 0).save(&state).unwrap();
    // The last line was cut off within a character.
    let metrics = parts.join("metrics.jsonl");
    let lines = fs::read(&metrics).unwrap();
    fs::write(&metrics, [&lines[..], b"{\"step\":7,\"sample\":\"caf\xc3"].concat()).unwrap();
    let outcome = train(&parts, config, Info::default(), &text, &text, None, true).unwrap();
    assert_eq!(outcome.steps, 12);

    let model = |run: &std::path::Path| {
        checkpoint::load(&run.join("model.safetensors")).unwrap().model.params().values.clone()
    };
    assert_eq!(model(&whole), model(&parts));
    let len = model(&whole).len();
    let state = |run: &std::path::Path| State::load(&run.join("state.safetensors"), len).unwrap();
    assert_eq!(state(&whole).m, state(&parts).m);
    assert_eq!(state(&whole).v, state(&parts).v);
    let steps = |run: &std::path::Path| -> Vec<_> {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let values = text.lines().map(|line| serde_json::from_str(line).unwrap());
        values.map(|v: serde_json::Value| (v["step"].clone(), v["loss"].clone())).collect()
    };
    assert_eq!(steps(&whole), steps(&parts));
}

#[test]
fn the_seed_decides() {
    let text = corpus(500);
    let weights = |seed| {
        let mut config = config(3);
        config.training.seed = seed;
        config.training.dropout = 0.1;
        let mut trainer = Trainer::new(config).unwrap();
        while trainer.fraction() < 1.0 {
            trainer.advance(&text).unwrap();
        }
        trainer.model().params().values.clone()
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let text = corpus(500);
    let run = |threads| {
        let mut config = config(4);
        config.training.threads = threads;
        config.training.batch = 5;
        config.training.dropout = 0.1;
        let mut trainer = Trainer::new(config).unwrap();
        let losses: Vec<f64> = (0..4).map(|_| trainer.advance(&text).unwrap().loss).collect();
        (losses, trainer.model().params().values.clone())
    };
    let alone = run(1);
    for threads in [2, 3, 5] {
        assert!(run(threads) == alone, "{threads} threads");
    }
}

#[test]
fn a_budget_of_minutes_ends_the_run() {
    let folder = Folder::new("train-minutes");
    let mut config = config(1);
    config.training.steps = None;
    config.training.minutes = Some(0.005);
    let outcome =
        train(&folder.join("run"), config, Info::default(), &corpus(500), &[], None, false).unwrap();
    assert!(!outcome.interrupted && outcome.valid_loss.is_none());
    assert!((0.3..2.0).contains(&outcome.seconds), "{}", outcome.seconds);
}

#[test]
fn what_cannot_be_trained_on_is_named() {
    let folder = Folder::new("train-refuses");
    let run = folder.join("run");
    let error = |train_tokens: &[u16], valid: &[u16], resume| {
        let error = train(&run, config(1), Info::default(), train_tokens, valid, None, resume).unwrap_err();
        format!("{error:#}")
    };
    let text = corpus(100);
    let message = "training tokens: found 24, wanted at least 25 (seq_len and one target)";
    assert_eq!(error(&text[..24], &text, false), message);
    let message = "validation tokens: found 3, wanted at least 25 (seq_len and one target)";
    assert_eq!(error(&text, &text[..3], false), message);
    let mut strange = text.clone();
    strange[50] = 32;
    let message = "training tokens: token 50: found 32, wanted less than 32 (vocab_size)";
    assert_eq!(error(&strange, &text, false), message);
    assert!(error(&text, &text, true).contains("found no run to resume"));
    assert!(!run.exists());
}
