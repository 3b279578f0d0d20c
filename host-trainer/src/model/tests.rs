//! The whole model's gradient, and what a forward pass shows.

use super::*;
use crate::nn::graph::Training;
use crate::nn::random::Random;
use thumbformer::{Activation, Config, NormKind, Positions};

const LLAMA: ModelConfig = ModelConfig {
    config: Config {
        dim: 8,
        hidden_dim: 12,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        vocab_size: 11,
        seq_len: 6,
        norm: NormKind::Rms,
        activation: Activation::Silu,
        gated: true,
        positions: Positions::Rope,
        tied: true,
        biases: false,
        n_classes: 0,
    },
    norm_eps: 1e-5,
    rope_theta: 10_000.0,
};

fn gpt2() -> ModelConfig {
    let mut gpt2 = LLAMA;
    gpt2.config.n_kv_heads = 4;
    gpt2.config.norm = NormKind::Layer;
    gpt2.config.activation = Activation::GeluTanh;
    gpt2.config.gated = false;
    gpt2.config.positions = Positions::Learned;
    gpt2.config.tied = false;
    gpt2.config.biases = true;
    gpt2
}

/// A model whose every parameter matters.
fn model(config: ModelConfig) -> Model {
    let mut model = Model::init(config, 1).unwrap();
    let mut random = Random::new(2);
    for value in &mut model.params_mut().values {
        *value += 0.3 * random.normal();
    }
    model
}

#[test]
fn gradients_of_both_families() {
    let (tokens, targets) = ([1, 7, 7, 3, 10], [7, 7, 3, 10, 0]);
    for config in [LLAMA, gpt2()] {
        let mut net = Recorder::<Training, f64>::new(1, tokens.len());
        let logits = decoder(&mut net, &config, 0.2);
        let loss = net.cross_entropy(0.0, logits);
        let network = net.finish(loss);
        let mut params: Vec<f64> = model(config).params().values.iter().map(|&v| f64::from(v)).collect();
        let given = Given { tokens: &tokens, targets: &targets, key: 3, ..Given::default() };
        let mut memory = Memory::new(&network);
        let mut grad = vec![0.0; params.len()];
        network.forward(&params, &given, &mut memory);
        network.backward(&params, &given, &mut memory, &mut grad);
        for tensor in network.tensors() {
            // A few elements of each tensor; the operations' own tests take every one.
            for i in tensor.range.clone().step_by(tensor.range.len().div_ceil(7)) {
                let step = 1e-5;
                let mut loss_at = |delta: f64| {
                    let saved = params[i];
                    params[i] = saved + delta;
                    let loss = network.forward(&params, &given, &mut memory);
                    params[i] = saved;
                    loss
                };
                let numeric = (loss_at(step) - loss_at(-step)) / (2.0 * step);
                let error = (numeric - grad[i]).abs();
                assert!(
                    error < 1e-7 * (1.0 + numeric.abs()),
                    "{} at {i}: differences give {numeric}, the backward pass {}",
                    tensor.name,
                    grad[i]
                );
            }
        }
    }
}

#[test]
fn a_prefix_has_the_same_logits() {
    for config in [LLAMA, gpt2()] {
        let model = model(config);
        let tokens = [4, 0, 9, 2, 2, 5];
        let whole = model.forward(&tokens).unwrap();
        for t in 1..=tokens.len() {
            let part = model.forward(&tokens[..t]).unwrap();
            let close = part.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(close, "the first {t} tokens");
        }
    }
}

#[test]
fn the_loss_is_the_cross_entropy_of_the_logits() {
    let model = model(LLAMA);
    let (tokens, targets) = ([1, 2, 3], [2, 3, 4]);
    let logits = model.forward(&tokens).unwrap();
    let expected: f64 = logits
        .chunks(11)
        .zip(targets)
        .map(|(row, target)| {
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            total.ln() - f64::from(row[usize::from(target)])
        })
        .sum();
    assert!((model.evaluator(3).loss(&tokens, &targets) - expected).abs() < 1e-5);
}

#[test]
fn an_observer_sees_every_site_and_changes_last_digits_only() {
    for config in [LLAMA, gpt2()] {
        let model = model(config);
        let tokens = [1, 2, 3];
        let mut seen = Vec::new();
        let mut observe = |site: &str, values: &[f32]| seen.push((site.to_string(), values.to_vec()));
        let logits = model.forward_observed(&tokens, &mut observe).unwrap();
        let unseen = model.forward(&tokens).unwrap();
        let worst = logits.iter().zip(&unseen).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(logits.len() == unseen.len() && worst < 1e-5, "{worst}");
        let a_layer = if config.config.gated { 13 } else { 12 };
        assert_eq!(seen.len(), 3 + 2 * a_layer);
        assert_eq!(seen.last().unwrap(), &("output".to_string(), logits));
        let get = |site: &str| &seen.iter().find(|(name, _)| name == site).unwrap().1;
        let stream = get("layers.0.attention.residual").iter();
        let branch = get("layers.0.feed_forward.w2").iter();
        let after: Vec<f32> = stream.zip(branch).map(|(x, y)| x + y).collect();
        assert_eq!(&after, get("layers.0.feed_forward.residual"));
        assert_eq!(get("layers.1.attention.wk").len(), 3 * config.config.kv_dim());
    }
}

#[test]
fn sequences_that_do_not_fit_are_named() {
    let model = model(LLAMA);
    let error = |tokens: &[u16]| model.forward(tokens).unwrap_err().to_string();
    assert_eq!(error(&[]), "sequence: found no token, wanted one");
    assert_eq!(error(&[0; 7]), "sequence: found 7 tokens, wanted at most 6 (seq_len)");
    assert_eq!(error(&[0, 11]), "token 1: found 11, wanted less than 11 (vocab_size)");
}

#[test]
fn initial_parameters() {
    let params = Params::init(&LLAMA, 7);
    assert_eq!(params.values, Params::init(&LLAMA, 7).values);
    assert_ne!(params.values, Params::init(&LLAMA, 8).values);
    assert_eq!(params.get("layers.1.ffn_norm.weight").unwrap(), [1.0; 8]);
    let deviation = |name: &str| {
        let values = params.get(name).unwrap();
        (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt()
    };
    assert!((deviation("layers.0.feed_forward.w1.weight") - 0.196).abs() < 0.05);
    assert!((deviation("layers.0.feed_forward.w2.weight") - 0.08).abs() < 0.02);
    assert!(params.get("output.weight").is_none());
}

#[test]
fn attention_maps_are_the_weights_of_the_values() {
    let mut config = LLAMA;
    // More than a block of rows.
    config.config.seq_len = 40;
    let model = model(config);
    let tokens: Vec<u16> = (0..39).map(|i| i * 7 % 11).collect();
    let t = tokens.len();
    let mut seen = std::collections::BTreeMap::new();
    model
        .forward_observed(&tokens, &mut |site, values| drop(seen.insert(site.to_owned(), values.to_vec())))
        .unwrap();
    let mut maps = 0;
    model
        .attention_maps(&tokens, &mut |site, weights| {
            maps += 1;
            assert_eq!(weights.len(), 4 * t * t, "{site}");
            let values = &seen[&site.replace("heads", "wv")];
            for (row, weights) in weights.chunks(t).enumerate() {
                let (head, i) = (row / t, row % t);
                assert!(
                    weights[i + 1..].iter().all(|&w| w == 0.0),
                    "{site}: head {head} sees the future of {i}"
                );
                for c in 0..2 {
                    // Two heads share a value of width 2.
                    let found: f32 = (0..=i).map(|j| weights[j] * values[j * 4 + head / 2 * 2 + c]).sum();
                    let wanted = seen[site][i * 8 + head * 2 + c];
                    assert!(
                        (found - wanted).abs() < 1e-4,
                        "{site}: head {head}, row {i}: {found}, wanted {wanted}"
                    );
                }
            }
        })
        .unwrap();
    assert_eq!(maps, 2);
}

#[test]
fn attention_maps_are_those_of_the_rounded_weights() {
    let maps = |model: &Model| {
        let mut maps = Vec::new();
        model.attention_maps(&[1, 7, 3, 10], &mut |_, weights| maps.extend_from_slice(weights)).unwrap();
        maps
    };
    let plain = model(LLAMA);
    let learned = plain.clone().with_quantization(Some(Quantization::all(WeightBits::Int4)));
    assert!(maps(&learned) == maps(&learned.rounded()));
    assert!(maps(&learned) != maps(&plain));
}
