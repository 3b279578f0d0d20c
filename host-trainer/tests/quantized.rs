//! Training that rounds as the device does: one network in training, in use and on the device, and what it gains.

mod common;
mod steps;

use common::{Difference, Folder, data, refused, text, thumbformer, u16s};
use host_trainer::checkpoint::{self, Info, State};
use host_trainer::device::{Memory, ModelFile};
use host_trainer::eval::compare;
use host_trainer::export::{Options, Weights, export};
use host_trainer::import::llama2c;
use host_trainer::model::{Model, ModelConfig, Quantization, WeightBits, Width, decoder};
use host_trainer::nn::graph::{Given, Memory as Arena, Recorder, Training};
use host_trainer::nn::random::Random;
use host_trainer::tokenizer::section;
use host_trainer::train::read_tokens;
use host_trainer::train::{
    Begin, Data, DistillationConfig, Samples, TrainConfig, Trainer, TrainingConfig, train_on,
};
use steps::Steps;
use thumbformer::format::tokenizer::TokenizerKind;

/// What `thumbformer export` makes of a model by default.
fn exported(model: &Model) -> ModelFile {
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let weights = Weights::trained(model).unwrap_or_default();
    let options = Options { weights, ..Options::default() };
    ModelFile::new(&export(model, &tokenizer, &[], &[], &options).unwrap().file)
}

const LLAMA: &str =
    "dim = 48\nhidden_dim = 84\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 270\nseq_len = 40\n";
const GPT: &str = "dim = 32\nhidden_dim = 128\nn_layers = 2\nn_heads = 4\nn_kv_heads = 4\nvocab_size = 259\nseq_len = 40\n\
    norm = 'layer'\nactivation = 'gelu_tanh'\ngated = false\npositions = 'learned'\nbiases = true\ntied = false\n";

/// Random parameters, gains and biases too, with a spread that tells tokens apart.
fn model(toml: &str) -> Model {
    let config: ModelConfig = toml::from_str(toml).unwrap();
    let mut model = Model::init(config, 11).unwrap();
    let mut random = Random::new(5);
    let tensors = model.params().tensors().to_vec();
    for tensor in tensors {
        for value in model.params_mut().get_mut(&tensor.name).unwrap() {
            *value = if tensor.is_matrix() { *value * 2.0 } else { *value + 0.15 * random.normal() };
        }
    }
    model
}

fn tokens(model: &Model) -> Vec<u16> {
    let shape = &model.config().config;
    (0..shape.seq_len).map(|i| (i * i * 31 % shape.vocab_size) as u16).collect()
}

#[test]
fn a_whole_sequence_in_training_is_one_step_after_the_other_in_use() {
    for toml in [LLAMA, GPT] {
        let model = model(toml);
        let tokens = tokens(&model);
        let mut net = Recorder::<Training, f32>::new(1, tokens.len());
        let logits = decoder(&mut net, model.config(), 0.0);
        let network = net.finish(logits);
        let mut arena = Arena::new(&network);
        let given = Given { tokens: &tokens, ..Given::default() };
        network.forward(&model.params().values, &given, &mut arena);
        let (whole, frozen) = (network.output(&arena), model.forward(&tokens).unwrap());
        let mut steps = Steps::new(&model);
        let stepped: Vec<f64> = tokens.iter().flat_map(|&token| steps.step(token)).collect();
        let spread = stepped.iter().fold(0f64, |m, x| m.max(x.abs()));
        for found in [whole, &frozen] {
            assert_eq!(found.len(), stepped.len());
            let worst =
                found.iter().zip(&stepped).map(|(&f, s)| (f64::from(f) - s).abs()).fold(0.0, f64::max);
            println!("worst difference {worst:.1e} of logits up to {spread:.1}");
            assert!(spread > 1.0 && worst < 1e-5 * spread, "{worst}");
        }
    }
}

#[test]
fn the_rounding_network_is_the_device() {
    let a16 = Quantization { activations: Some(Width::A16), ..Quantization::all(WeightBits::Int8) };
    for toml in [LLAMA, GPT] {
        // How much nearer than the model in f32; of int8 with 8-bit vectors, most of the noise is not the weights'.
        for (quantization, nearer) in [
            (Quantization::all(WeightBits::Int4), 8.0),
            (Quantization::all(WeightBits::Int8), 1.0),
            (a16.clone(), 4.0),
        ] {
            let plain = model(toml);
            let model = plain.clone().with_quantization(Some(quantization.clone()));
            let tokens = tokens(&model);
            let file = exported(&model);
            let device = file.model().unwrap();
            let mut memory = Memory::new(&device);
            let difference = |expected: &Model| {
                Difference::of(
                    &mut memory.session(&device).unwrap(),
                    &tokens,
                    &expected.forward(&tokens).unwrap(),
                )
            };
            let [found, unrounded] = [&model, &plain].map(difference);
            println!("{quantization:?}: {found}; from f32: {unrounded}");
            assert!(found.spread > 0.5 && found.kl < 0.002, "{found}");
            assert!(unrounded.kl > nearer * found.kl, "{unrounded}, rounded {found}");
        }
    }
}

#[test]
fn the_rounding_network_is_the_device_for_stories260k() {
    let Some(folder) = data("stories260k") else {
        return;
    };
    let plain = llama2c::read(&folder.join("stories260K.bin")).unwrap();
    let stream = u16s(&std::fs::read(folder.join("ref/val_stream_n_102401.u16")).unwrap());
    let stream = &stream[..10 * 512 + 1];
    for bits in [WeightBits::Int8, WeightBits::Int4] {
        let a8 = Quantization::all(bits);
        let a16 = Quantization { activations: Some(Width::A16), ..a8.clone() };
        let [wide, narrow] = [a16, a8].map(|quantization| {
            let model = plain.clone().with_quantization(Some(quantization));
            let file = exported(&model);
            let device = file.model().unwrap();
            let weights_alone = Quantization { weights: Some(bits), ..Quantization::NONE };
            let weights_alone = plain.clone().with_quantization(Some(weights_alone));
            [model, weights_alone].map(|twin| compare(&device, &twin, stream, 512).unwrap().1.kl)
        });
        println!("{bits:?}: KL of the device from the rounding network, and with rounded weights alone:");
        println!("16-bit vectors {wide:.6?}, 8-bit vectors {narrow:.6?}");
        assert!(wide[0] < 0.002 && wide[0] < wide[1], "{bits:?}: {wide:?}");
        // Five layers on, what 8 bits round away has come to depend on the last digit of what it is rounded from: two
        // roundings of one size, up to twice as far from each other as from what they round.
        assert!(narrow[0] < 2.0 * narrow[1], "{bits:?}: {narrow:?}");
    }
}

/// The smallest vocabulary that a tokenizer has.
fn tiny_config() -> ModelConfig {
    toml::from_str(
        "dim = 32\nhidden_dim = 48\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 259\nseq_len = 24\n",
    )
    .unwrap()
}

/// A model that has learned a text of three phrases in random order, and the text.
fn teacher(folder: &Folder) -> Vec<u16> {
    let mut random = Random::new(1);
    let phrases: [&[u16]; 3] = [&[1, 5, 9, 13, 17, 2], &[1, 7, 9, 30, 4], &[1, 5, 22, 11, 28, 6, 3]];
    let text: Vec<u16> = (0..1000).flat_map(|_| phrases[random.below(3)]).copied().collect();
    let training =
        TrainingConfig { steps: Some(80), learning_rate: 1e-2, threads: 2, ..TrainingConfig::default() };
    let mut trainer =
        Trainer::new(TrainConfig { model: tiny_config(), training, ..TrainConfig::default() }).unwrap();
    for _ in 0..80 {
        trainer.advance(&text).unwrap();
    }
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let info = Info { name: "teacher".into(), ..Info::default() };
    checkpoint::save(&folder.join("teacher.safetensors"), trainer.model(), &info, Some(&tokenizer)).unwrap();
    text
}

fn student(folder: &Folder) -> TrainConfig {
    let path = folder.join("teacher.safetensors");
    TrainConfig {
        model: tiny_config(),
        training: TrainingConfig {
            steps: Some(40),
            learning_rate: 2e-3,
            final_rate: 0.0,
            weight_decay: 0.0,
            threads: 2,
            ..TrainingConfig::default()
        },
        quantization: Some(Quantization::all(WeightBits::Int4)),
        distillation: Some(DistillationConfig::new(path)),
        ..TrainConfig::default()
    }
}

#[test]
fn a_student_comes_nearer_to_its_teacher() {
    let folder = Folder::new("quantized-student");
    // Random weights lose much to rounding, whatever the text.
    let teacher = model(LLAMA);
    let mut random = Random::new(3);
    let text: Vec<u16> = (0..8000).map(|_| random.below(270) as u16).collect();
    let path = folder.join("teacher.safetensors");
    checkpoint::save(&path, &teacher, &Info::default(), None).unwrap();
    let mut config = TrainConfig { model: *teacher.config(), ..student(&folder) };
    (config.training.learning_rate, config.training.steps) = (3e-4, Some(150));
    let run = folder.join("run");
    let data = Data { train: Samples::Text(&text[1000..]), valid: Samples::Text(&text[..1000]) };
    train_on(&run, config, Info::default(), data, None, Begin::With(&teacher)).unwrap();
    let student = checkpoint::load(&run.join("model.safetensors")).unwrap().model;
    assert_eq!(student.quantization(), Some(&Quantization::all(WeightBits::Int4)));
    let kl =
        |model: &Model| compare(&exported(model).model().unwrap(), &teacher, &text[..1000], 40).unwrap().1.kl;
    let (rounded, trained) =
        (kl(&teacher.clone().with_quantization(student.quantization().cloned())), kl(&student));
    println!("KL from the teacher: rounded {rounded:.5}, trained to be rounded {trained:.5}");
    assert!(trained < 0.95 * rounded, "{rounded}, {trained}");
}

#[test]
fn a_resumed_student_is_the_same_to_the_bit() {
    let folder = Folder::new("quantized-resume");
    let text = teacher(&folder);
    let begin = checkpoint::load(&folder.join("teacher.safetensors")).unwrap().model;
    let mut whole = Trainer::from(student(&folder), begin.clone()).unwrap();
    for _ in 0..6 {
        whole.advance(&text).unwrap();
    }
    let mut config = student(&folder);
    config.training.threads = 3;
    let mut first = Trainer::from(config.clone(), begin).unwrap();
    for _ in 0..3 {
        first.advance(&text).unwrap();
    }
    let path = folder.join("state.safetensors");
    first.state(f64::INFINITY, 0).save(&path).unwrap();
    // What comes from the state, not from the beginning.
    let mut second = Trainer::new(config).unwrap();
    second.restore(State::load(&path, first.model().params().values.len()).unwrap()).unwrap();
    for _ in 0..3 {
        second.advance(&text).unwrap();
    }
    assert_eq!(second.model().params().values, whole.model().params().values);
    assert_ne!(second.model().params().values, first.model().params().values);
}

#[test]
fn the_command_trains_on_what_a_teacher_writes() {
    let folder = Folder::new("quantized-command");
    teacher(&folder);
    let teacher = folder.join("teacher.safetensors");
    let train = |run: &str, more: &[&str]| {
        let (run, teacher) = (folder.join(run), text(&teacher));
        let own = ["finetune", teacher, "--teacher", teacher, "--quantize", "int4", "-o", text(&run)];
        let rest =
            ["--teacher-text", "1200", "--held-out", "0.1", "--steps", "2", "--learning-rate", "0.001"];
        thumbformer(&[&own[..], &rest, more].concat())
    };
    let line: serde_json::Value = serde_json::from_str(&train("run", &["--threads", "1"])).unwrap();
    assert_eq!(line["steps"], 2);
    let written = |run: &str| read_tokens(&folder.join(run).join("tokens/train.u16")).unwrap();
    assert_eq!(written("run").len(), 1200 - 120);
    assert!(
        written("run").iter().step_by(24).all(|&token| token == 1),
        "each text begins with the begin token"
    );
    train("same", &["--threads", "2"]);
    train("other", &["--seed", "7"]);
    assert_eq!(written("same"), written("run"));
    assert_ne!(written("other"), written("run"));

    let (thumb, run) = (folder.join("x.thumb"), folder.join("run/model.safetensors"));
    thumbformer(&["export", text(&run), "-o", text(&thumb)]);
    let file = ModelFile::read(&thumb).unwrap();
    assert!(file.model().unwrap().tensor(3).is_ok());
    let tokens = folder.join("run/valid.u16");
    let eval =
        thumbformer(&["eval", text(&thumb), "--tokens", text(&tokens), "--against", text(&run), "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert!(eval["kl"].as_f64().unwrap() < 0.002, "{eval}");

    // A little more than four bits in all blocks take.
    let budget = (std::fs::metadata(&thumb).unwrap().len() + 2000).to_string();
    let mixed = [
        "finetune",
        text(&teacher),
        "--teacher",
        text(&teacher),
        "--quantize",
        "mixed",
        "--flash-budget",
        &budget,
    ];
    let mixed_run = folder.join("mixed");
    let short = ["--teacher-text", "600", "--held-out", "0.1", "--steps", "2", "-o", text(&mixed_run)];
    thumbformer(&[&mixed[..], &short].concat());
    let model = mixed_run.join("model.safetensors");
    let found = checkpoint::load(&model).unwrap().model.quantization().cloned().unwrap();
    let matrices =
        checkpoint::load(&model).unwrap().model.params().tensors().iter().filter(|t| t.is_matrix()).count();
    assert_eq!(found.weights, Some(WeightBits::Mixed));
    assert!((1..matrices).contains(&found.int4.len()), "{found:?}");
    let other = folder.join("mixed.thumb");
    thumbformer(&["export", text(&model), "-o", text(&other), "--flash-budget", &budget]);
    assert!(std::fs::metadata(&other).unwrap().len() <= budget.parse().unwrap());
    let error = refused(
        &[
            &mixed[..2],
            &["--teacher", text(&teacher), "--quantize", "int4", "--flash-budget", "1M"],
            &short[..6],
            &["-o", text(&folder.join("none"))],
        ]
        .concat(),
    );
    assert!(
        error.contains("--flash-budget: found weights whose bits are given, wanted --quantize mixed"),
        "{error}"
    );

    let error = refused(&["export", text(&run), "--fold-norms", "-o", text(&thumb)]);
    assert!(error.contains("folded norms: found a model that was trained to be rounded"), "{error}");
    let error = refused(&["export", text(&run), "--bits", "8", "-o", text(&thumb)]);
    assert!(
        error.contains("weights: found Int8, wanted Int4, which the model was trained to have"),
        "{error}"
    );
    let out = folder.join("none");
    let rounded =
        ["finetune", text(&teacher), "--teacher", text(&run), "--teacher-text", "600", "-o", text(&out)];
    let error = refused(&rounded);
    assert!(
        error.contains("found a teacher that was trained to be rounded, wanted one that was not"),
        "{error}"
    );
}
