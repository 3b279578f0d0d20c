//! llama2.c's version 0 checkpoint: seven `i32`, then every tensor as `f32`, all little-endian.

use crate::model::{Model, ModelConfig, Params};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use thumbformer::{Activation, Config, NormKind, Positions};

const HEADER_LEN: usize = 7 * 4;
const HEADER_NAMES: [&str; 7] =
    ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"];

/// Reads a checkpoint file.
pub fn read(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    parse(&bytes).with_context(|| format!("{}: not a llama2.c checkpoint", path.display()))
}

/// Reads the bytes of a checkpoint.
pub fn parse(bytes: &[u8]) -> Result<Model> {
    let config = header(bytes)?;
    config.validate()?;
    let c = &config.config;
    let tensors = Params::tensors_of(&config);
    // Cosines and sines that old versions of llama2.c read; they stand before a separate head.
    let tables = c.seq_len * c.head_dim();
    let values: usize = tensors.iter().map(|tensor| tensor.range.len()).sum();
    let wanted = HEADER_LEN + 4 * (values + tables);
    ensure!(
        bytes.len() == wanted,
        "length: found {} bytes, wanted {wanted} for the header's shape",
        bytes.len()
    );

    let mut params = Params::zeros(&config);
    let mut values = bytes[HEADER_LEN..].as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let mut fill = |name: &str| {
        let tensor = params.get_mut(name).expect("a name of this layout");
        tensor.iter_mut().zip(&mut values).for_each(|(to, from)| *to = from);
    };
    fill("tok_embeddings.weight");
    for name in [
        "attention_norm",
        "attention.wq",
        "attention.wk",
        "attention.wv",
        "attention.wo",
        "ffn_norm",
        "feed_forward.w1",
        "feed_forward.w2",
        "feed_forward.w3",
    ] {
        // Each kind of tensor is stored for all layers together.
        for l in 0..c.n_layers {
            fill(&format!("layers.{l}.{name}.weight"));
        }
    }
    fill("norm.weight");
    if !c.tied {
        values.nth(tables - 1);
        let output = params.get_mut("output.weight").expect("an untied head");
        output.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    }
    if let Some(at) = params.values.iter().position(|value| !value.is_finite()) {
        bail!("value {at}: found {}, wanted a finite number", params.values[at]);
    }
    Model::from_params(config, params)
}

/// A negative vocabulary size says that the head is a matrix of its own.
fn header(bytes: &[u8]) -> Result<ModelConfig> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        bail!("length: found {} bytes, wanted a header of {HEADER_LEN}", bytes.len());
    };
    let mut fields = [0; 7];
    for (i, (field, bytes)) in fields.iter_mut().zip(header.as_chunks::<4>().0).enumerate() {
        let found = i32::from_le_bytes(*bytes);
        let is_vocab_size = i == 5;
        ensure!(
            found > 0 || (is_vocab_size && found != 0),
            "{}: found {found}, wanted a positive number",
            HEADER_NAMES[i]
        );
        *field = found;
    }
    let [dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len] =
        fields.map(|field| field.unsigned_abs() as usize);
    Ok(ModelConfig {
        config: Config {
            dim,
            hidden_dim,
            n_layers,
            n_heads,
            n_kv_heads,
            vocab_size,
            seq_len,
            norm: NormKind::Rms,
            activation: Activation::Silu,
            gated: true,
            positions: Positions::Rope,
            tied: fields[5] > 0,
            biases: false,
            n_classes: 0,
        },
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint whose value at index i, counted over the whole body, is i.
    fn file(vocab_size: i32) -> Vec<u8> {
        // dim 4, hidden_dim 2, two layers, two heads, one KV head, three positions
        let (embedding, norms, tables) = (5 * 4, 2 * 4, 3 * 2);
        let layers = 2 * (16 + 8 + 8 + 16 + 3 * 8);
        let head = if vocab_size < 0 { embedding } else { 0 };
        let len = embedding + 2 * norms + layers + 4 + tables + head;
        let header = [4, 2, 2, 2, 1, vocab_size, 3i32].map(i32::to_le_bytes);
        let body = (0..len).map(|i| (i as f32).to_le_bytes());
        header.into_iter().chain(body).flatten().collect()
    }

    #[test]
    fn tensors_come_from_their_places() {
        let model = parse(&file(5)).unwrap();
        let first = |name: &str| model.params().get(name).unwrap()[0];
        assert_eq!(first("tok_embeddings.weight"), 0.0);
        assert_eq!(first("layers.1.attention_norm.weight"), 24.0);
        assert_eq!(first("layers.0.attention.wq.weight"), 28.0);
        assert_eq!(first("layers.1.attention.wk.weight"), 68.0);
        assert_eq!(first("norm.weight"), 180.0);
        let untied = parse(&file(-5)).unwrap();
        assert_eq!(untied.params().get("output.weight").unwrap()[0], 190.0);
        assert!(!untied.config().config.tied);
    }

    #[test]
    fn bad_files_are_named() {
        let error = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        let whole = file(5);
        assert_eq!(error(&whole[..20]), "length: found 20 bytes, wanted a header of 28");
        assert_eq!(
            error(&whole[..whole.len() - 1]),
            "length: found 787 bytes, wanted 788 for the header's shape"
        );
        assert_eq!(
            error(&[whole, vec![0]].concat()),
            "length: found 789 bytes, wanted 788 for the header's shape"
        );
        let mut spoiled = file(5);
        spoiled[..4].copy_from_slice(&(-4i32).to_le_bytes());
        assert_eq!(error(&spoiled), "dim: found -4, wanted a positive number");
        spoiled[..4].copy_from_slice(&3i32.to_le_bytes());
        assert!(error(&spoiled).contains("wanted a multiple of n_heads"));
        let mut spoiled = file(5);
        spoiled[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(error(&spoiled), "value 3: found NaN, wanted a finite number");
    }
}
