//! A second implementation of the arithmetic, written from docs/numerics.md and docs/format.md.
//!
//! It shares no code with the runtime, computes with 128-bit integers, asserts every bound that the document
//! states, and must agree with the runtime to the last bit: on random models of all kinds, on files whose
//! numbers are as bad as a reader lets pass, and on a real model.

mod arithmetic;
mod attention;
#[path = "../common/mod.rs"]
mod common;
mod decoder;
mod file;
mod linear;
mod mlp;
mod norm;
mod probability;
mod python;
mod random_models;
mod sampler;
mod tables;
mod vector;

use arithmetic::Int;
use decoder::Decoder;
use host_trainer::device::{Memory, ModelFile};
use host_trainer::export::{Options, Weights, export};
use host_trainer::import::{llama2c, llama2c_tokenizer};
use probability::log_prob;
use random_models::{Random, Style, any_config, file};
use sampler::{Sampler, Settings};
use std::fs;
use std::path::Path;
use tables::Tables;
use thumbformer::{Activation, Config, Logits, NormKind, Positions, Token};

/// What the two say of the logits after a token.
fn compare(decoder: &Decoder, expected: &[Int], logits: Logits<'_>) {
    let found: Vec<Int> = logits.values().iter().map(|&v| Int::from(v)).collect();
    assert_eq!(expected, found, "logits at position {}", decoder.history.len());
    for token in [0, expected.len() / 2, expected.len() - 1] {
        let expected = log_prob(&decoder.tables, expected, decoder.file.frac, token);
        assert_eq!(expected, Int::from(logits.log_prob(Token(token as u16))));
    }
}

/// Both read as many tokens as the context has, or fewer.
fn read(bytes: &[u8], random: &mut Random, most: usize) {
    let file = ModelFile::new(bytes);
    let model = file.model().unwrap();
    let config = *model.config();
    let (mut memory, mut decoder) = (Memory::new(&model), Decoder::new(bytes));
    let mut session = memory.session(&model).unwrap();
    for _ in 0..config.seq_len.min(most) {
        let token = random.of(0..=config.vocab_size as i64 - 1) as u16;
        let logits = session.step(Token(token)).unwrap();
        let expected = decoder.step(token);
        compare(&decoder, &expected, logits);
    }
    assert_eq!(decoder.saturations, session.saturations());
}

#[test]
fn tables_are_those_of_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/numerics.md");
    let document = fs::read_to_string(path).unwrap();
    for (name, bytes) in Tables::new().bytes() {
        let crc = thumbformer::format::crc32(&bytes);
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
        assert!(row.ends_with(&format!("| `{crc:08x}` |")), "{row}: computed {crc:08x}");
    }
}

#[test]
fn elementary_functions() {
    let tables = Tables::new();
    for x in 1 << 14..1 << 16 {
        tables.rsqrt(x); // asserts its bounds
    }
    for d in (0..18 << 16).chain([u32::MAX - 1, u32::MAX]) {
        assert_eq!(tables.exp2(Int::from(d)), Int::from(thumbformer::fixed::exp2_neg(d)));
    }
}

#[test]
fn random_models_of_all_kinds() {
    for seed in 0..150 {
        let random = &mut Random(seed);
        let config = any_config(random);
        let bytes = file(random, Style::Sane, config);
        ModelFile::new(&bytes).model().unwrap().verify().unwrap();
        read(&bytes, random, 6);
    }
}

#[test]
fn hostile_numbers() {
    for seed in 0..600 {
        let random = &mut Random(1000 + seed);
        let config = any_config(random);
        let bytes = file(random, Style::Hostile, config);
        read(&bytes, random, 4);
    }
}

/// A shape on which tests build.
fn narrow() -> Config {
    Config {
        dim: 8,
        hidden_dim: 12,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        vocab_size: 259,
        seq_len: 16,
        norm: NormKind::Rms,
        activation: Activation::Silu,
        gated: true,
        positions: Positions::Rope,
        tied: true,
        biases: false,
        n_classes: 0,
    }
}

#[test]
fn wide_vectors() {
    for (seed, dim, hidden_dim) in [(1, 516, 1025), (2, 1030, 3), (3, 2048, 700), (4, 2050, 520)] {
        for style in [Style::Sane, Style::Hostile] {
            for norm in [NormKind::Rms, NormKind::Layer] {
                let random = &mut Random(seed);
                let n_heads = dim / if dim % 128 == 0 { 128 } else { 2 };
                let config = Config { dim, hidden_dim, n_heads, norm, seq_len: 3, ..narrow() };
                read(&file(random, style, config), random, 2);
            }
        }
    }
}

/// Elements that are exactly `2^b` in magnitude are not cut to fewer bits than they need.
#[test]
fn wide_vectors_at_their_bounds() {
    for seed in 0..40 {
        let random = &mut Random(2000 + seed);
        let config = Config { dim: 516, hidden_dim: 5, n_heads: 6, seq_len: 2, ..narrow() };
        read(&file(random, Style::Hostile, config), random, 2);
    }
}

#[test]
fn windows_of_more_than_512_positions() {
    for (seed, seq_len) in [(1, 513), (2, 1100), (3, 32_768)] {
        for style in [Style::Sane, Style::Hostile] {
            let random = &mut Random(seed);
            let bytes = file(random, style, Config { seq_len, ..narrow() });
            read(&bytes, random, 700);
        }
    }
}

#[test]
fn a_prefill_is_as_many_steps() {
    let random = &mut Random(5);
    let bytes = file(random, Style::Sane, narrow());
    let file = ModelFile::new(&bytes);
    let model = file.model().unwrap();
    let (mut memory, mut decoder) = (Memory::new(&model), Decoder::new(&bytes));
    let mut session = memory.session(&model).unwrap();
    let tokens: Vec<u16> = (0..11).map(|_| random.of(0..=258) as u16).collect();
    let expected = tokens.iter().map(|&token| decoder.step(token)).last().unwrap();
    let tokens: Vec<Token> = tokens.into_iter().map(Token).collect();
    compare(&decoder, &expected, session.prefill(&tokens).unwrap());
}

/// Text that goes on past the window: sampler, history and sliding together.
#[test]
fn generation_that_keeps_going() {
    for seed in 0..60 {
        let random = &mut Random(seed);
        let seq_len = random.of(4..=40) as usize;
        let bytes = file(random, Style::Sane, Config { seq_len, ..narrow() });
        let settings = Settings {
            seed: random.next(),
            temperature: random.pick(&[0.0, 0.015, 0.7, 1.0, 3.0, 100.0]),
            top_k: random.pick(&[0, 1, 7, 1000]),
            min_p: random.pick(&[0.0, 0.02, 1.0]),
            top_p: random.pick(&[0.0, 0.3, 0.95, 1.0]),
            penalty: random.pick(&[1.0, 1.3, 0.5, 40.0]),
        };
        let keep = random.of(0..=1) as usize;

        let file = ModelFile::new(&bytes);
        let model = file.model().unwrap();
        let mut memory = Memory::new(&model);
        let mut session = memory.session(&model).unwrap();
        session.step(Token::BOS).unwrap();
        let mut sampler = thumbformer::Sampler::new(settings.seed)
            .temperature(settings.temperature)
            .top_k(settings.top_k)
            .min_p(settings.min_p)
            .top_p(settings.top_p)
            .repetition_penalty(settings.penalty);
        let found: Vec<u16> = session
            .generate(&mut sampler)
            .stop_at(&[])
            .keep_going(keep)
            .take(90)
            .map(|t| t.unwrap().0)
            .collect();

        let mut decoder = Decoder::new(&bytes);
        let mut sampler = Sampler::new(settings);
        let mut logits = decoder.step(1);
        let mut expected = Vec::new();
        while expected.len() < 90 {
            let token = sampler.sample(&decoder.tables, &logits, decoder.file.frac, &decoder.history);
            expected.push(token);
            if decoder.history.len() == decoder.file.seq_len {
                slide(&mut decoder, keep);
            }
            logits = decoder.step(token);
        }
        assert_eq!(expected, found, "seed {seed}, {settings:?}");
    }
}

/// Section 12.
fn slide(decoder: &mut Decoder, keep: usize) {
    let history = decoder.history.clone();
    let keep = keep.min(history.len());
    let last = (decoder.file.seq_len / 2).min(history.len() - keep);
    decoder.reset();
    for &token in history[..keep].iter().chain(&history[history.len() - last..]) {
        decoder.step(token);
    }
}

#[test]
fn stories260k() {
    let Some(folder) = common::data("stories260k") else {
        return;
    };
    let model = llama2c::read(&folder.join("stories260K.bin")).unwrap();
    let tokenizer = llama2c_tokenizer::read(&folder.join("tok512.bin")).unwrap();
    for weights in [Weights::Int8, Weights::Int4] {
        let options = Options { weights, ..Options::default() };
        writes_the_same(&export(&model, &tokenizer, &[], &[], &options).unwrap().file);
    }
}

/// Both write a text, the likeliest tokens.
fn writes_the_same(bytes: &[u8]) {
    let file = ModelFile::new(bytes);
    let model = file.model().unwrap();
    let (mut memory, mut decoder) = (Memory::new(&model), Decoder::new(bytes));
    let mut session = memory.session(&model).unwrap();
    let mut token = Token::BOS;
    for _ in 0..120 {
        let expected = decoder.step(token.0);
        let logits = session.step(token).unwrap();
        compare(&decoder, &expected, logits);
        token = logits.argmax();
        assert_eq!(expected[usize::from(token.0)], *expected.iter().max().unwrap());
    }
    assert_eq!((decoder.saturations, session.saturations()), (0, 0));
}
