//! The model file: what is written is read, and what is damaged is refused or at least harmless.

mod common;

use common::{Bytes, GPT2, LLAMA, model_file, random, tokenizer_section, workspace};
use proptest::prelude::*;
use std::ops::Range;
use thumbformer::format::{
    Dtype, Emitter, InputWidth, Layout, Tensor, TensorKind, TensorPlan, TensorSpec, crc32, header,
};
use thumbformer::{Activation, Config, Error, FormatError, Model, NormKind, Positions, Session, Token};

prop_compose! {
    fn configs()(
        (n_kv_heads, group, half_head) in (1..4usize, 1..4usize, 1..5usize),
        (hidden_dim, n_layers, vocab_size, seq_len) in (1..20usize, 1..4usize, 262..300usize, 1..12usize),
        n_classes in 0..4usize,
        norm in prop_oneof![Just(NormKind::Rms), Just(NormKind::Layer), Just(NormKind::Batch)],
        activation in prop_oneof![
            Just(Activation::Silu), Just(Activation::Gelu), Just(Activation::GeluTanh), Just(Activation::Relu),
            Just(Activation::ReluSquared)
        ],
        positions in prop_oneof![Just(Positions::Rope), Just(Positions::Learned)],
        [gated, tied, biases, odd] in any::<[bool; 4]>(),
    ) -> Config {
        // Only rotary positions need an even width.
        let head_dim = 2 * half_head - usize::from(odd && positions == Positions::Learned);
        let n_heads = n_kv_heads * group;
        Config {
            dim: n_heads * head_dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len,
            norm, activation, gated, positions, biases, n_classes,
            tied: tied && n_classes == 0,
        }
    }
}

fn plan(spec: TensorSpec, random: &mut impl FnMut() -> u8) -> TensorPlan {
    let (norm, matrix) = (spec.kind.is_norm(), spec.kind.is_matrix());
    let dtype = match spec.kind {
        TensorKind::RopeTable => Dtype::I16,
        _ if norm && random() & 1 == 0 => Dtype::Folded,
        _ if norm => Dtype::I16,
        _ if random() & 1 == 0 => Dtype::I4,
        _ => Dtype::I8,
    };
    let input = if random() & 1 == 0 { InputWidth::A8 } else { InputWidth::A16 };
    let layout = match (dtype, random() % 3) {
        (Dtype::I8, 1) => Layout::Bytes,
        (Dtype::I8, 2) => Layout::Halves,
        (Dtype::I4, _) => Layout::Nibbles,
        _ => Layout::Rows,
    };
    TensorPlan { dtype, layout, input, exponent: random() as i8, bias: matrix && random() & 1 == 0 }
}

fn plans(config: &Config, random: &mut impl FnMut() -> u8) -> Vec<TensorPlan> {
    let mut plans: Vec<_> = config.tensors().map(|spec| plan(spec, random)).collect();
    for (i, spec) in config.tensors().enumerate() {
        let first = plans[config.index_of(spec.kind.first_reader(), spec.layer)];
        (plans[i].input, plans[i].layout, plans[i].dtype) = (first.input, first.layout, first.dtype);
        if config.tied && spec.kind == TensorKind::Head {
            (plans[i].layout, plans[i].dtype) = (plans[0].layout, plans[0].dtype);
        }
    }
    plans
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(config in configs(), seed: u32, metadata in "([a-z]{1,9} = [a-zé ]{0,20}\n){0,3}") {
        let mut random = random(seed);
        let metadata = "label = é\n".repeat(config.n_classes) + &metadata;
        let plans = plans(&config, &mut random);
        let section = tokenizer_section();
        let (frac, epsilon) = (4 + random() % 21, (u32::from(random()) << 15, -i32::from(random() % 201)));
        let mut file = Bytes::zeros(Emitter::file_len(&config, &plans, section.len(), metadata.len()));
        let mut emitter =
            Emitter::new(file.as_mut(), config, frac, epsilon, &plans, section.len(), metadata.len()).unwrap();
        emitter.tokenizer().copy_from_slice(&section);
        emitter.metadata().copy_from_slice(metadata.as_bytes());
        let mut written = Vec::new();
        for i in 0..plans.len() {
            let data = emitter.data(i).unwrap();
            data.fill_with(&mut random);
            let data = data.to_vec();
            let scales = emitter.scales(i).unwrap();
            scales.as_chunks_mut::<2>().0.fill_with(|| (0x400 + 64 * u16::from(random())).to_le_bytes());
            let scales = scales.to_vec();
            emitter.bias(i).unwrap().fill_with(&mut random);
            written.push((data, scales, emitter.bias(i).unwrap().to_vec()));
        }
        emitter.finish();
        if config.tied {
            // The head is the embedding: filled last, it is what both are.
            let (data, scales, _) = written.last().unwrap().clone();
            (written[0].0, written[0].1) = (data, scales);
        }

        let model = file.model();
        prop_assert_eq!(model.verify(), Ok(()));
        prop_assert_eq!(model.config(), &config);
        prop_assert_eq!((model.header().frac, model.header().epsilon), (frac, epsilon));
        prop_assert_eq!(model.metadata(), metadata);
        prop_assert!(model.labels().eq(std::iter::repeat_n("é", config.n_classes)));
        prop_assert_eq!(model.tokenizer().vocab_size(), 262);
        prop_assert_eq!(model.tokenizer().decode(Token(261)), b"hell");
        for (i, (plan, (data, scales, bias))) in plans.iter().zip(&written).enumerate() {
            let tensor = model.tensor(i).unwrap();
            let part = |at: usize, len: usize| &file.as_ref()[at..at + len];
            prop_assert_eq!(tensor.spec, config.tensor(i));
            prop_assert_eq!(config.index_of(tensor.spec.kind, tensor.spec.layer), i);
            let read = TensorPlan {
                dtype: tensor.dtype,
                layout: tensor.layout,
                input: tensor.input,
                exponent: tensor.exponent,
                bias: tensor.bias != 0,
            };
            prop_assert_eq!(&read, plan);
            prop_assert_eq!(part(tensor.data, tensor.data_len()), data);
            prop_assert_eq!(part(tensor.scales, tensor.scales_len()), scales);
            prop_assert_eq!(part(tensor.bias, tensor.bias_len()), bias);
        }
        prop_assert!(model.tensor(plans.len()).is_err());
    }

    #[test]
    fn random_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool) {
        if magic && bytes.len() >= 12 {
            bytes[..12].copy_from_slice(b"THMB\x02\0\x02\0\0\0\0\0");
        }
        prop_assert!(Model::from_bytes(&bytes).is_err());
    }
}

#[test]
fn every_prefix_is_refused() {
    for config in [LLAMA, GPT2] {
        let file = model_file(config, 1);
        let whole = file.as_ref();
        for have in 0..whole.len() {
            let need = if have < header::LEN { header::LEN } else { whole.len() };
            let refused = Model::from_bytes(&whole[..have]).unwrap_err();
            assert_eq!(refused, FormatError::Truncated { need, have });
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let mut file = model_file(Config { dim: 8, hidden_dim: 3, n_layers: 1, ..LLAMA }, 2);
    for at in 0..file.as_ref().len() {
        for bit in 0..8 {
            file.as_mut()[at] ^= 1 << bit;
            let found = Model::from_bytes(file.as_ref()).and_then(|model| model.verify());
            assert!(found.is_err(), "bit {bit} of byte {at}");
            file.as_mut()[at] ^= 1 << bit;
        }
    }
    file.model().verify().unwrap();
}

/// Where everything but the tensors' data lies.
fn description(model: &Model<'_>) -> Range<usize> {
    0..model.header().metadata.offset
}

/// All that a session does; its results do not matter.
fn use_up(model: &Model<'_>) -> Result<(), Error> {
    let mut memory = workspace(model);
    let mut session = Session::new(model, &mut memory)?;
    let mut buffer = [Token::BOS; 16];
    let prompt = model.tokenizer().encode("hello", &mut buffer)?;
    session.prefill(&prompt[..prompt.len().min(model.config().seq_len)])?;
    let mut sampler = thumbformer::Sampler::new(3);
    for token in session.generate(&mut sampler).keep_going(1).stop_at(&[]).take(model.config().seq_len) {
        model.tokenizer().decode(token?);
    }
    Ok(())
}

#[test]
fn damage_that_is_not_refused_is_harmless() {
    let mut accepted = 0;
    for config in [LLAMA, GPT2] {
        let mut file = model_file(config, 3);
        for at in description(&file.model()) {
            let good = file.as_ref()[at];
            for bad in (0..8).map(|bit| good ^ 1 << bit).chain([0, 0x7f, 0x80, 0xff]) {
                file.as_mut()[at] = bad;
                if let Ok(model) = Model::from_bytes(file.as_ref()) {
                    accepted += 1;
                    let _ = use_up(&model);
                }
            }
            file.as_mut()[at] = good;
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// A good file with some bytes replaced.
fn spoiled(at: usize, bytes: &[u8]) -> Result<(), FormatError> {
    let mut file = model_file(LLAMA, 4);
    file.as_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    Model::from_bytes(file.as_ref()).map(|_| ())
}

#[test]
fn what_is_wrong_is_named() {
    use header::field;
    assert_eq!(spoiled(0, b"THM"), Ok(()));
    assert_eq!(spoiled(0, b"GGUF"), Err(FormatError::BadMagic { found: *b"GGUF" }));
    for found in [1, 3] {
        let other = FormatError::UnsupportedVersion { found, wanted: 2 };
        assert_eq!(spoiled(field::VERSION.start, &[found as u8]), Err(other));
        assert_eq!(other.to_string(), format!("unsupported format version: found {found}, wanted 2"));
    }
    let numerics = FormatError::UnsupportedNumerics { found: 257, wanted: 2 };
    assert_eq!(spoiled(field::NUMERICS.start, &[1, 1]), Err(numerics));
    let features = FormatError::UnsupportedFeatures { bits: 0x8000_0000 };
    assert_eq!(spoiled(field::FEATURES.start + 3, &[0x80]), Err(features));
    for (at, field, found) in [
        (field::DIM, "dim", 0),
        (field::N_LAYERS, "n_layers", 256),
        (field::N_HEADS, "n_heads (must divide dim)", 5),
        (field::N_TENSORS, "n_tensors", 4),
    ] {
        let bytes = (found as u32).to_le_bytes();
        assert_eq!(spoiled(at.start, &bytes), Err(FormatError::BadConfig { field, found }));
    }
    let relu = FormatError::BadConfig { field: "activation", found: 5 };
    assert_eq!(spoiled(field::ACTIVATION.start, &[5]), Err(relu));
    let kind = LLAMA.tensor(3).kind;
    let tensor = FormatError::BadTensor { kind, layer: 0, field: "rows" };
    assert_eq!(spoiled(header::LEN + 3 * Tensor::ENTRY + 8, &[99]), Err(tensor));
    for (word, field) in [(16, "data"), (20, "scales"), (24, "bias")] {
        let unaligned = FormatError::BadTensor { kind, layer: 0, field };
        assert_eq!(spoiled(header::LEN + 3 * Tensor::ENTRY + word, &[2, 8]), Err(unaligned));
        assert_eq!(spoiled(header::LEN + 3 * Tensor::ENTRY + word, &[0, 0, 1]), Err(unaligned));
    }
    let kind = TensorKind::W3;
    let width = FormatError::BadTensor { kind, layer: 0, field: "input width" };
    let entry = header::LEN + LLAMA.index_of(kind, 0) * Tensor::ENTRY;
    assert_eq!(spoiled(entry + 4, &[8]), Err(width));
    // The layout of one of two matrices that read the same vector, and one that does not exist.
    for layout in [Layout::Bytes as u8, 3] {
        let layout_error = FormatError::BadTensor { kind, layer: 0, field: "layout" };
        assert_eq!(spoiled(entry + 3, &[layout]), Err(layout_error));
    }
    let cache = Config { dim: 512, n_layers: 255, seq_len: 32_768, ..LLAMA };
    let field = "seq_len (the KV cache exceeds 1 GiB)";
    assert_eq!(cache.check(), Err(FormatError::BadConfig { field, found: 32_768 }));
    let tokenizer = header::LEN + LLAMA.n_tensors() * Tensor::ENTRY;
    assert_eq!(spoiled(tokenizer, &[7]), Err(FormatError::UnknownTokenizer { kind: 7 }));
    assert_eq!(spoiled(tokenizer + 1, &[7]), Err(FormatError::BadTokenizer));
}

#[test]
fn int4_has_its_own_layout() {
    let kind = TensorKind::Wq;
    let entry = header::LEN + LLAMA.index_of(kind, 0) * Tensor::ENTRY;
    let refused = Err(FormatError::BadTensor { kind, layer: 0, field: "layout" });
    for (dtype, layout) in [(3, 0), (3, 1), (3, 2), (3, 4), (1, 3), (1, 5)] {
        assert_eq!(spoiled(entry + 2, &[dtype, layout]), refused, "type {dtype}, layout {layout}");
    }
}

#[test]
fn what_only_reading_everything_finds_is_named() {
    let mut file = model_file(LLAMA, 5);
    let stated = file.model().header().crc;
    let tensor = file.model().tensor(2 + 3).unwrap();
    file.as_mut()[tensor.data] ^= 1;
    let computed = crc32(&file.as_ref()[header::field::CRC.end..]);
    assert_eq!(file.model().verify(), Err(FormatError::BadChecksum { stated, computed }));
    file.as_mut()[tensor.data] ^= 1;

    // Negative, the most negative, zero: with a checksum that is right.
    for scale in [-1i16, i16::MIN, 0] {
        let mut file = model_file(LLAMA, 5);
        let at = tensor.scales + 2 * 4;
        file.as_mut()[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        let crc = crc32(&file.as_ref()[header::field::CRC.end..]).to_le_bytes();
        file.as_mut()[header::field::CRC].copy_from_slice(&crc);
        let bad = FormatError::BadScale { kind: tensor.spec.kind, layer: 0, row: 4 };
        assert_eq!(file.model().verify(), Err(bad));
    }
}

#[test]
fn length_and_address_are_checked() {
    let file = model_file(LLAMA, 6);
    let len = file.as_ref().len();
    let longer = [file.as_ref(), &[0]].concat();
    let trailing = FormatError::TrailingBytes { expected: len, have: len + 1 };
    assert_eq!(Model::from_bytes(&longer).unwrap_err(), trailing);

    let mut shifted = Bytes::zeros(len + 2);
    shifted.as_mut()[2..].copy_from_slice(file.as_ref());
    let model = Model::from_bytes(&shifted.as_ref()[2..]).unwrap();
    assert_eq!(model.verify(), Err(FormatError::Misaligned));
    let mut memory = workspace(&model);
    let refused = Session::new(&model, &mut memory).unwrap_err();
    assert_eq!(refused, Error::Format(FormatError::Misaligned));
}

#[test]
fn a_tokenizer_knows_no_more_than_the_model() {
    for (vocab_size, wanted) in [(262, Ok(())), (261, Err("vocab_size"))] {
        let config = Config { vocab_size, ..LLAMA };
        let model = model_file(config, 6);
        let found = Model::from_bytes(model.as_ref()).map(|_| ());
        assert_eq!(found, wanted.map_err(|field| FormatError::BadConfig { field, found: vocab_size }));
    }
}

/// Files of version 2 lie with users: a change of these numbers needs a new version.
#[test]
fn version_2_is_these_bytes() {
    let file = model_file(LLAMA, 7);
    let (header, rest) = file.as_ref().split_at(header::LEN);
    let words: Vec<u32> = header.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
    assert_eq!(header[..4], *b"THMB");
    assert_eq!(words[1..4], [2 | 2 << 16, 0, 6836]); // version and numerics, features, length
    assert_eq!(words[5..12], [12, 10, 2, 2, 1, 262, 16]); // dim to seq_len
    assert_eq!(header[48..56], [0, 0, 1, 0, 1, 0, 16, 0]); // norm to biases, fraction bits
    assert_eq!(words[14..16], [10_995_116, -40i32 as u32]); // epsilon
    assert_eq!(words[16..], [22, 96, 800, 40, 840, 14, 0, 0]); // directory, tokenizer, metadata
    // kind, block, type, layout, input width, exponent; rows, columns; data, scales, biases
    let embedding = [262u32, 12, 856, 4000, 0, 0].map(u32::to_le_bytes);
    assert_eq!(rest[..8], [0, 0, 1, 0, 16, -20i8 as u8, 0, 0]);
    assert_eq!(rest[8..Tensor::ENTRY], *embedding.as_flattened());
    assert_eq!(crc32(file.as_ref()), 0x3756_BCE7);
}
