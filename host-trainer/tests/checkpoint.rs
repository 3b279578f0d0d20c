//! Checkpoints survive a round trip, and broken ones are refused in one clear line.

mod common;

use common::{Folder, tiny_config};
use host_trainer::checkpoint::{self, Info, State};
use host_trainer::model::Model;

fn info() -> Info {
    Info {
        name: "tiny".into(),
        licence: "MIT".into(),
        provenance: "drawn at random".into(),
        ..Info::default()
    }
}

#[test]
fn a_model_comes_back_equal_and_the_bytes_are_reproducible() {
    let folder = Folder::new("checkpoint-round-trip");
    let path = folder.join("model.safetensors");
    let mut config = tiny_config();
    config.config.tied = false;
    config.config.biases = true;
    let model = Model::init(config, 3).unwrap();
    checkpoint::save(&path, &model, &info(), Some(b"\x00tokens")).unwrap();
    let bytes = std::fs::read(&path).unwrap();

    let read = checkpoint::load(&path).unwrap();
    assert_eq!(read.model.config(), model.config());
    assert_eq!(read.model.params().values, model.params().values);
    assert_eq!(read.info, info());
    assert_eq!(read.tokenizer.as_deref(), Some(&b"\x00tokens"[..]));

    checkpoint::save(&path, &model, &info(), Some(b"\x00tokens")).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    checkpoint::save(&path, &model, &info(), None).unwrap();
    assert_eq!(checkpoint::load(&path).unwrap().tokenizer, None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A checkpoint's file with every tensor in 16 bits.
fn in_16_bits(file: &[u8], dtype: &str, convert: impl Fn(f32) -> [u8; 2]) -> Vec<u8> {
    let (len, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    for (name, tensor) in header.as_object_mut().unwrap() {
        if name != "__metadata__" {
            tensor["dtype"] = dtype.into();
            for offset in tensor["data_offsets"].as_array_mut().unwrap() {
                *offset = (offset.as_u64().unwrap() / 2).into();
            }
        }
    }
    let header = header.to_string();
    let len = (header.len() as u64).to_le_bytes();
    let data = data.as_chunks().0.iter().flat_map(|&value| convert(f32::from_le_bytes(value)));
    [&len[..], header.as_bytes(), &data.collect::<Vec<u8>>()].concat()
}

#[test]
fn tensors_may_have_16_bits() {
    let folder = Folder::new("checkpoint-16-bits");
    let path = folder.join("model.safetensors");
    let model = Model::init(tiny_config(), 3).unwrap();
    checkpoint::save(&path, &model, &info(), None).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let f16 = in_16_bits(&bytes, "F16", |v| half::f16::from_f32(v).to_le_bytes());
    let bf16 = in_16_bits(&bytes, "BF16", |v| half::bf16::from_f32(v).to_le_bytes());
    for (file, precision) in [(f16, 2f32.powi(-11)), (bf16, 2f32.powi(-8))] {
        std::fs::write(&path, file).unwrap();
        let read = checkpoint::load(&path).unwrap();
        let pairs = || read.model.params().values.iter().zip(&model.params().values);
        assert!(pairs().any(|(read, value)| read != value));
        for (read, value) in pairs() {
            assert!((read - value).abs() <= value.abs() * precision + 1e-7, "{read} for {value}");
        }
    }
}

#[test]
fn every_truncation_is_refused_and_names_the_file() {
    let folder = Folder::new("checkpoint-truncated");
    let path = folder.join("model.safetensors");
    let model = Model::init(tiny_config(), 3).unwrap();
    checkpoint::save(&path, &model, &info(), None).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let error = format!("{:#}", checkpoint::load(&path).unwrap_err());
        assert!(error.contains("model.safetensors: not a checkpoint: "), "{error}");
    }
    let error = format!("{:#}", checkpoint::load(&path).unwrap_err());
    let lengths = format!("found {} bytes, wanted {}", bytes.len() - 1, bytes.len());
    assert!(error.ends_with(&lengths), "{error}");
}

#[test]
fn other_models_tensors_are_named() {
    let folder = Folder::new("checkpoint-mismatch");
    let path = folder.join("model.safetensors");
    let model = Model::init(tiny_config(), 3).unwrap();
    checkpoint::save(&path, &model, &info(), None).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let error = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        let at = at.expect("the text to replace");
        let mut spoiled = bytes.clone();
        spoiled[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, &spoiled).unwrap();
        format!("{:#}", checkpoint::load(&path).unwrap_err())
    };
    let wrong_name = error("layers.0.ffn_norm.weight", "layers.0.ffn_nurm.weight");
    assert!(wrong_name.contains("tensor layers.0.ffn_nurm.weight: found"), "{wrong_name}");
    let wrong_shape = error("\"shape\":[16,48]", "\"shape\":[48,16]");
    assert!(wrong_shape.contains("found F32 [48, 16], wanted F32 [16, 48]"), "{wrong_shape}");
    let wrong_offset = error("[0,2048]", "[9,2048]");
    assert!(wrong_offset.contains("not a safetensors file"), "{wrong_offset}");
    let wrong_config = error("\\\"n_heads\\\":4", "\\\"n_heads\\\":3");
    assert!(wrong_config.contains("wanted a multiple of n_heads"), "{wrong_config}");
}

#[test]
fn a_state_comes_back_equal() {
    let folder = Folder::new("state-round-trip");
    let path = folder.join("state.safetensors");
    let state = State {
        step: 7,
        seed: u64::MAX,
        seconds: 0.1 + 0.2,
        best_loss: f64::INFINITY,
        stale: 3,
        optimizer: "muon".into(),
        params: vec![1.0, -2.5e-40],
        adapters: None,
        m: vec![0.1, 0.2],
        v: vec![3.0, 4.0],
        average: Some(vec![5.0, 6.0]),
    };
    state.save(&path).unwrap();
    assert_eq!(State::load(&path, 2).unwrap(), state);
    let error = format!("{:#}", State::load(&path, 3).unwrap_err());
    assert!(error.contains("tensor params: found F32 [2], wanted F32 [3]"), "{error}");
}

#[test]
fn an_unwritable_place_is_named() {
    let folder = Folder::new("checkpoint-unwritable");
    let path = folder.join("missing/model.safetensors");
    let model = Model::init(tiny_config(), 3).unwrap();
    let error = checkpoint::save(&path, &model, &info(), None).unwrap_err();
    assert!(format!("{error:#}").contains("model.safetensors: cannot be written: "));
}
