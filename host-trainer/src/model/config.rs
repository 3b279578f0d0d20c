//! The shape of an f32 model.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use thumbformer::{Activation, Config, NormKind, Positions};

/// The shape that the runtime shares, and the two numbers that only f32 arithmetic reads.
///
/// Serialised flat, with llama2.c's names. The switches default to stories260K's: `norm = "rms"`,
/// `activation = "silu"`, `gated = true`, `positions = "rope"`, `tied = true`, `biases = false`,
/// `norm_eps = 1e-5`, `rope_theta = 10000`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct ModelConfig {
    /// The shape.
    pub config: Config,
    /// Added to the mean square (or variance) of a row before its root.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
}

impl Default for ModelConfig {
    /// The shape of stories260K with half its context.
    fn default() -> Self {
        Self {
            config: Config {
                dim: 64,
                hidden_dim: 172,
                n_layers: 5,
                n_heads: 8,
                n_kv_heads: 4,
                vocab_size: 512,
                seq_len: 256,
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
        }
    }
}

/// The largest vocabulary whose tokens fit `u16`.
const MAX_VOCAB_SIZE: usize = 65_535;
/// The largest width or length. It keeps every product of two within 32 bits.
const MAX_SIZE: usize = 65_536;
const MAX_LAYERS: usize = 1024;

impl ModelConfig {
    /// Says what is wrong with a shape that no model can have.
    pub fn validate(&self) -> Result<()> {
        let c = &self.config;
        let sizes = [
            ("dim", c.dim, MAX_SIZE),
            ("hidden_dim", c.hidden_dim, MAX_SIZE),
            ("n_layers", c.n_layers, MAX_LAYERS),
            ("n_heads", c.n_heads, MAX_SIZE),
            ("n_kv_heads", c.n_kv_heads, MAX_SIZE),
            ("vocab_size", c.vocab_size, MAX_VOCAB_SIZE),
            ("seq_len", c.seq_len, MAX_SIZE),
        ];
        for (name, found, limit) in sizes {
            if found == 0 || found > limit {
                bail!("{name}: found {found}, wanted 1 to {limit}");
            }
        }
        if !c.dim.is_multiple_of(c.n_heads) {
            bail!("dim: found {}, wanted a multiple of n_heads ({})", c.dim, c.n_heads);
        }
        if !c.n_heads.is_multiple_of(c.n_kv_heads) {
            bail!("n_heads: found {}, wanted a multiple of n_kv_heads ({})", c.n_heads, c.n_kv_heads);
        }
        if c.n_classes > MAX_VOCAB_SIZE {
            bail!("n_classes: found {}, wanted at most {MAX_VOCAB_SIZE}", c.n_classes);
        }
        if c.n_classes > 0 && c.tied {
            bail!("tied: found true with n_classes = {}, wanted false: classes are no tokens", c.n_classes);
        }
        if c.positions == Positions::Rope && !c.head_dim().is_multiple_of(2) {
            bail!("dim / n_heads: found {}, wanted an even number, since rope turns pairs", c.head_dim());
        }
        for (name, found) in [("norm_eps", self.norm_eps), ("rope_theta", self.rope_theta)] {
            if !(found > 0.0 && found.is_finite()) {
                bail!("{name}: found {found}, wanted a positive number");
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    dim: usize,
    hidden_dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    vocab_size: usize,
    seq_len: usize,
    #[serde(with = "NormName", default = "rms")]
    norm: NormKind,
    #[serde(with = "ActivationName", default = "silu")]
    activation: Activation,
    #[serde(default = "yes")]
    gated: bool,
    #[serde(with = "PositionsName", default = "rope")]
    positions: Positions,
    #[serde(default = "yes")]
    tied: bool,
    #[serde(default)]
    biases: bool,
    /// Of a classifier.
    #[serde(default, skip_serializing_if = "is_zero")]
    n_classes: usize,
    #[serde(default = "norm_eps")]
    norm_eps: f32,
    #[serde(default = "rope_theta")]
    rope_theta: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NormKind", rename_all = "snake_case")]
pub(crate) enum NormName {
    Rms,
    Layer,
    Batch,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Activation", rename_all = "snake_case")]
pub(crate) enum ActivationName {
    Silu,
    Gelu,
    GeluTanh,
    Relu,
    ReluSquared,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Positions", rename_all = "snake_case")]
pub(crate) enum PositionsName {
    Rope,
    Learned,
}

fn rms() -> NormKind {
    NormKind::Rms
}

fn silu() -> Activation {
    Activation::Silu
}

fn rope() -> Positions {
    Positions::Rope
}

fn yes() -> bool {
    true
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn norm_eps() -> f32 {
    1e-5
}

fn rope_theta() -> f32 {
    10_000.0
}

impl From<Fields> for ModelConfig {
    fn from(f: Fields) -> Self {
        Self {
            config: Config {
                dim: f.dim,
                hidden_dim: f.hidden_dim,
                n_layers: f.n_layers,
                n_heads: f.n_heads,
                n_kv_heads: f.n_kv_heads,
                vocab_size: f.vocab_size,
                seq_len: f.seq_len,
                norm: f.norm,
                activation: f.activation,
                gated: f.gated,
                positions: f.positions,
                tied: f.tied,
                biases: f.biases,
                n_classes: f.n_classes,
            },
            norm_eps: f.norm_eps,
            rope_theta: f.rope_theta,
        }
    }
}

impl From<ModelConfig> for Fields {
    fn from(m: ModelConfig) -> Self {
        let c = m.config;
        Self {
            dim: c.dim,
            hidden_dim: c.hidden_dim,
            n_layers: c.n_layers,
            n_heads: c.n_heads,
            n_kv_heads: c.n_kv_heads,
            vocab_size: c.vocab_size,
            seq_len: c.seq_len,
            norm: c.norm,
            activation: c.activation,
            gated: c.gated,
            positions: c.positions,
            tied: c.tied,
            biases: c.biases,
            n_classes: c.n_classes,
            norm_eps: m.norm_eps,
            rope_theta: m.rope_theta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "dim = 8\nhidden_dim = 16\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\n\
                         vocab_size = 10\nseq_len = 4\n";

    fn parse(text: &str) -> ModelConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults_and_round_trip() {
        let small = parse(SMALL);
        assert_eq!(small.config.activation, Activation::Silu);
        assert!(small.config.gated && small.config.tied && !small.config.biases);
        small.validate().unwrap();
        let other =
            parse(&format!("{SMALL}norm = \"layer\"\nactivation = \"gelu_tanh\"\npositions = \"learned\"\n"));
        assert_eq!(other.config.activation, Activation::GeluTanh);
        assert_eq!(parse(&toml::to_string(&other).unwrap()), other);
        let json = serde_json::to_string(&other).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&json).unwrap(), other);
    }

    #[test]
    fn impossible_shapes_are_named() {
        type Spoil = fn(&mut ModelConfig);
        let cases: [(Spoil, &str); 7] = [
            (|m| m.config.dim = 9, "dim: found 9, wanted a multiple of n_heads (2)"),
            (|m| m.config.n_kv_heads = 3, "wanted a multiple of n_kv_heads (3)"),
            (|m| m.config.n_heads = 8, "dim / n_heads: found 1, wanted an even number"),
            (|m| m.config.n_layers = 0, "n_layers: found 0, wanted 1 to"),
            (|m| m.config.vocab_size = 65_536, "vocab_size: found 65536, wanted 1 to 65535"),
            (|m| m.config.n_classes = 2, "tied: found true with n_classes = 2, wanted false"),
            (|m| m.norm_eps = f32::NAN, "norm_eps: found NaN, wanted a positive number"),
        ];
        for (spoil, message) in cases {
            let mut config = parse(SMALL);
            spoil(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
