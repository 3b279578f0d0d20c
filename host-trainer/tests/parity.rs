//! The integer runtime against the f32 model that a file was exported from.

mod common;

use common::Difference;
use host_trainer::device::{Memory, ModelFile};
use host_trainer::export::{Input, Options, Target, Weights, export};
use host_trainer::model::{Model, ModelConfig};
use host_trainer::tokenizer::section;
use thumbformer::format::{InputWidth, tokenizer::TokenizerKind};

/// Random parameters, with random gains and biases and a spread that tells tokens apart.
fn model(toml: &str, seed: u64) -> Model {
    let config: ModelConfig = toml::from_str(toml).unwrap();
    let mut model = Model::init(config, seed).unwrap();
    let tensors = model.params().tensors().to_vec();
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 2f32.powi(23) - 1.0
    };
    for tensor in tensors {
        let is_matrix = tensor.is_matrix();
        for value in model.params_mut().get_mut(&tensor.name).unwrap() {
            *value = if is_matrix { *value * 2.0 } else { *value + 0.3 * noise() };
        }
    }
    model
}

/// Exports, and compares the logits of a text of the whole context.
fn compare(model: &Model, options: &Options) -> Difference {
    let shape = model.config().config;
    let text: Vec<u16> = (0..shape.seq_len).map(|i| (i * i * 31 % shape.vocab_size) as u16).collect();
    let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
    let exported = export(model, &tokenizer, &[], &[], options).unwrap();
    let file = ModelFile::new(&exported.file);
    let device = file.model().unwrap();
    let mut memory = Memory::new(&device);
    let mut session = memory.session(&device).unwrap();
    let difference = Difference::of(&mut session, &text, &model.forward(&text).unwrap());
    assert_eq!(session.saturations(), 0);
    difference
}

const A16: Options = Options {
    input: Input::All(InputWidth::A16),
    weights: Weights::Int8,
    flash_budget: None,
    max_loss_increase: None,
    sensitivity: false,
    target: Target::Any,
    fold_gains: false,
    equalize: true,
    headroom: 8,
    seq_len: None,
    progress: |_| {},
};
const A8: Options = Options { input: Input::All(InputWidth::A8), ..A16 };

const SHAPES: [(&str, &str); 6] = [
    (
        "Llama",
        "dim = 32\nhidden_dim = 86\nn_layers = 3\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 270\nseq_len = 48\n",
    ),
    (
        "GPT-2",
        "dim = 32\nhidden_dim = 128\nn_layers = 3\nn_heads = 4\nn_kv_heads = 4\nvocab_size = 259\nseq_len = 48\n\
         norm = 'layer'\nactivation = 'gelu_tanh'\ngated = false\npositions = 'learned'\nbiases = true\n",
    ),
    (
        "odd GPT",
        "dim = 35\nhidden_dim = 13\nn_layers = 2\nn_heads = 7\nn_kv_heads = 1\nvocab_size = 263\nseq_len = 33\n\
         norm = 'layer'\nactivation = 'relu'\ngated = false\npositions = 'learned'\nbiases = true\ntied = false\n",
    ),
    (
        "odd Llama",
        "dim = 30\nhidden_dim = 13\nn_layers = 2\nn_heads = 5\nn_kv_heads = 5\nvocab_size = 261\nseq_len = 37\n\
         activation = 'gelu'\ntied = false\n",
    ),
    (
        "long",
        "dim = 16\nhidden_dim = 8\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nvocab_size = 259\nseq_len = 300\n",
    ),
    (
        "mixed",
        "dim = 20\nhidden_dim = 27\nn_layers = 1\nn_heads = 5\nn_kv_heads = 1\nvocab_size = 260\nseq_len = 40\n\
         norm = 'layer'\nactivation = 'gelu'\nbiases = true\ntied = false\n",
    ),
];

#[test]
fn integers_follow_f32_for_every_kind_of_model() {
    for (name, toml) in SHAPES {
        let model = model(toml, 11);
        let folded = Options { fold_gains: true, ..A16 };
        let folded_a8 = Options { fold_gains: true, ..A8 };
        // Of 33 tokens a few are near ties: the divergence is the sharper test.
        for (kind, options, kl, agreement) in [
            ("a16", A16, 0.0006, 0.85),
            ("a16 folded", folded, 0.0006, 0.85),
            ("a8", A8, 0.001, 0.85),
            ("a8 folded", folded_a8, 0.001, 0.85),
        ] {
            let found = compare(&model, &options);
            println!("{name}, {kind}: {found}");
            assert!(found.spread > 0.5, "{name}: logits are flat, {found}");
            assert!(found.kl < kl && found.agreement >= agreement, "{name}, {kind}: {found}");
        }
    }
}
