//! A run goes on where it was left, to the bit, whatever it was told, and however it was ended.

mod common;

use common::{Folder, text, tiny_config};
use host_trainer::checkpoint::{self, State};
use host_trainer::optimizer::Method;
use host_trainer::train::{Samples, TrainConfig, Trainer, TrainingConfig};

fn corpus(len: usize) -> Vec<u16> {
    (0..len).map(|i| (i * i % 31 + i % 2) as u16).collect()
}

/// Configurations with everything that a step may remember.
fn configs() -> Vec<(&'static str, TrainConfig)> {
    let config = |training: &str| -> TrainConfig {
        let mut config: TrainConfig = toml::from_str(training).unwrap();
        config.model = tiny_config();
        config
    };
    vec![
        ("adamw", config("[training]\nsteps = 9\nbatch = 3\ndropout = 0.1\nema = 0.9\n")),
        (
            "muon",
            config(
                "[training]\nsteps = 9\nbatch = 2\naccumulate = 2\noptimizer = \"muon\"\nschedule = \"wsd\"\n",
            ),
        ),
        (
            "frozen",
            config(
                "[training]\nsteps = 9\nbatch = 3\nschedule = \"linear\"\n\
                 [finetune]\nfreeze = [\"*norm*\"]\nlayer_decay = 0.7\n[finetune.rates]\n\"*.wq.*\" = 3.0\n",
            ),
        ),
        ("lora", config("[training]\nsteps = 9\nbatch = 3\nema = 0.9\n[finetune.lora]\nrank = 2\n")),
    ]
}

#[test]
fn at_any_step_a_state_goes_on_to_the_same_bits_on_any_number_of_threads() {
    let folder = Folder::new("resume-any-step");
    let path = folder.join("state.safetensors");
    let text = corpus(500);
    for (name, mut config) in configs() {
        config.training.threads = 2;
        let mut whole = Trainer::new(config.clone()).unwrap();
        let mut states = Vec::new();
        let mut losses = Vec::new();
        while whole.fraction() < 1.0 {
            states.push(whole.state(1.5, 2));
            losses.push(whole.learn(Samples::Text(&text)).unwrap().loss);
        }
        let last = State { seconds: 0.0, ..whole.state(1.5, 2) };
        assert_ne!(last.m, states[1].m, "{name}");
        for (k, state) in states.into_iter().enumerate() {
            state.save(&path).unwrap();
            config.training.threads = 1 + k % 3;
            let mut rest = Trainer::new(config.clone()).unwrap();
            rest.restore(State::load(&path, last.params.len()).unwrap()).unwrap();
            for loss in &losses[k..] {
                assert_eq!(rest.learn(Samples::Text(&text)).unwrap().loss, *loss, "{name} from {k}");
            }
            assert!(State { seconds: 0.0, ..rest.state(1.5, 2) } == last, "{name} from {k}");
            assert!(rest.model().params().values == whole.model().params().values, "{name} from {k}");
        }
    }
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let text = corpus(500);
    let run = |batch, accumulate| {
        let training = TrainingConfig { steps: Some(4), batch, accumulate, ..TrainingConfig::default() };
        let config = TrainConfig { model: tiny_config(), training, ..TrainConfig::default() };
        let mut trainer = Trainer::new(config).unwrap();
        while trainer.fraction() < 1.0 {
            trainer.advance(&text).unwrap();
        }
        trainer.model().params().values.clone()
    };
    assert!(run(2, 3) == run(6, 1));
    assert!(run(2, 3) != run(2, 1));
}

#[test]
fn a_state_of_another_kind_is_refused() {
    let [_, (_, muon), (_, plain), (_, lora)] = configs().try_into().unwrap();
    let error = |from: &TrainConfig, to: &TrainConfig| {
        let state = Trainer::new(from.clone()).unwrap().state(0.0, 0);
        Trainer::new(to.clone()).unwrap().restore(state).unwrap_err().to_string()
    };
    let message = "optimizer: found muon in the state, wanted adamw as in the configuration";
    assert_eq!(error(&muon, &plain), message);
    assert!(error(&lora, &plain).starts_with("lora: found adapters of "));
    assert!(error(&plain, &lora).starts_with("lora: found adapters of 0 values in the state, wanted "));
    let mut wider = lora.clone();
    wider.finetune.lora.as_mut().unwrap().rank = 3;
    assert!(error(&lora, &wider).starts_with("lora: found adapters of "));
    assert_eq!(muon.training.optimizer, Method::Muon);
}

/// Processes that are killed at random moments, each going on from what the last one left.
#[test]
#[cfg(unix)]
fn a_killed_run_loses_no_more_than_the_steps_since_its_last_checkpoint() {
    use std::fs;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = Folder::new("resume-killed");
    let (run, corpus) = (folder.join("run"), folder.join("text.txt"));
    fs::write(&corpus, "the cat sat on the mat and saw its hat. ".repeat(200)).unwrap();
    let config = folder.join("config.toml");
    // A checkpoint after every step, so that a kill may meet one at any of its moments.
    fs::write(
        &config,
        "[model]\ndim = 16\nhidden_dim = 32\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 280\nseq_len = 16\n\
         [training]\nsteps = 1000000\nbatch = 2\nthreads = 1\nema = 0.9\noptimizer = \"muon\"\n\
         eval_interval = 7\ncheckpoint_seconds = 0.0\n",
    )
    .unwrap();
    let prepare =
        ["train", "--prepare", "--config", text(&config), "--corpus", text(&corpus), "-o", text(&run)];
    common::thumbformer(&prepare);

    let len = checkpoint::load(&run.join("model.safetensors")).unwrap().model.params().values.len();
    let state = || State::load(&run.join("state.safetensors"), len).unwrap();
    let last_recorded = || -> u64 {
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        // The last line may be cut off.
        let whole = metrics.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64();
        whole.lines().last().and_then(step).unwrap_or(0)
    };
    let mut random = host_trainer::nn::random::Random::new(u64::from(std::process::id()));
    let mut done = 0;
    for round in 0..20 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_thumbformer"))
            .args(["train", "--resume", "-o", text(&run)])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while last_recorded() <= done {
            assert!(child.try_wait().unwrap().is_none(), "round {round}: it ended by itself");
            assert!(started.elapsed() < Duration::from_secs(60), "round {round}: no step was done");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let (state, recorded) = (state(), last_recorded());
        assert!(state.step >= done, "round {round}: from step {done} back to {}", state.step);
        assert!(recorded <= state.step + 1, "round {round}: {recorded} steps done, {} saved", state.step);
        for name in ["model.safetensors", "ema.safetensors"] {
            // The first may not be there before a first checkpoint.
            let path = run.join(name);
            assert!(path.exists(), "round {round}: {name}");
            checkpoint::load(&path).unwrap();
        }
        done = state.step;
    }
    assert!(done >= 20, "{done} steps in 20 rounds");

    // What is there now is what an uninterrupted run would have.
    let mut config = TrainConfig::read(&run.join("config.toml")).unwrap();
    config.training.threads = 2;
    let tokens = host_trainer::train::read_tokens(&run.join("tokens/train.u16")).unwrap();
    let mut whole = Trainer::new(config).unwrap();
    for _ in 0..done {
        whole.advance(&tokens).unwrap();
    }
    let (found, wanted) = (state(), whole.state(0.0, 0));
    assert!(found.params == wanted.params && found.m == wanted.m && found.average == wanted.average);
    let best = run.join("best.safetensors");
    if done >= 7 {
        checkpoint::load(&best).unwrap();
    }
}
