//! What a model is trained to bear: its numbers rounded as on the device.
//!
//! The parameters that learn stay real numbers. A step rounds a copy of them with the exporter's functions
//! ([`Quantization::round`]), and the network rounds vectors, keys and values by the way. Gradients pass as if nothing had
//! been rounded (the straight-through estimator: Bengio, Leonard and Courville 2013, section 4).

use super::Params;
use crate::export::tensor_name;
use crate::glob;
use crate::nn::fake_quantize::{int4_groups, int8_rows};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use thumbformer::Config;
use thumbformer::format::{InputWidth, TensorKind, TensorSpec};

/// Where numbers are rounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantization {
    /// The weights of the matrices. None: they are what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightBits>,
    /// Of mixed bits, the tensors that get four: names or patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub int4: Vec<String>,
    /// The vectors that matrices read.
    #[serde(default = "a8", skip_serializing_if = "Option::is_none")]
    pub activations: Option<Width>,
    /// Keys and values in the cache, int8 with a step of one byte for each head, and what is 14 bits wide before that.
    #[serde(default = "yes")]
    pub cache: bool,
}

/// Bits of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum WeightBits {
    /// Eight bits and a scale for each row
    Int8,
    /// In the blocks four bits, a factor for each group of 32 columns and a scale for each row; elsewhere eight
    Int4,
    /// Four where they cost the least for the bytes that they save, as a flash budget wants it; elsewhere eight
    Mixed,
}

/// Bits of a vector that a matrix reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    /// 8
    A8,
    /// 16
    A16,
}

impl From<Width> for InputWidth {
    fn from(width: Width) -> Self {
        match width {
            Width::A8 => Self::A8,
            Width::A16 => Self::A16,
        }
    }
}

const fn a8() -> Option<Width> {
    Some(Width::A8)
}

const fn yes() -> bool {
    true
}

impl Quantization {
    /// Nothing is rounded.
    pub const NONE: Self = Self { weights: None, int4: Vec::new(), activations: None, cache: false };

    /// All that the runtime rounds, vectors to 8 bits.
    pub const fn all(weights: WeightBits) -> Self {
        Self { weights: Some(weights), int4: Vec::new(), activations: a8(), cache: true }
    }

    /// Whether a tensor of a checkpoint gets four bits.
    pub fn is_int4(&self, tensor: &str) -> bool {
        match self.weights {
            Some(WeightBits::Int4) => tensor.starts_with("layers."),
            Some(WeightBits::Mixed) => self.int4.iter().any(|pattern| glob::matches(pattern, tensor)),
            Some(WeightBits::Int8) | None => false,
        }
    }

    /// Says which tensors cannot have the bits that they would get.
    pub fn validate(&self, config: &Config) -> Result<()> {
        let mixed = self.weights == Some(WeightBits::Mixed);
        ensure!(
            mixed != self.int4.is_empty(),
            "quantization: int4: found {} names of tensors, wanted {}",
            self.int4.len(),
            if mixed {
                "those that get four bits, or a flash budget to choose them by"
            } else {
                "none without mixed bits"
            }
        );
        let names: Vec<String> = config.tensors().filter(|s| is_weight(*s)).map(tensor_name).collect();
        for pattern in &self.int4 {
            ensure!(
                names.iter().any(|name| glob::matches(pattern, name)),
                "quantization: int4: found {pattern:?}, wanted the name of a matrix"
            );
        }
        for spec in config.tensors().filter(|s| is_weight(*s)) {
            let [first, own] = [config.spec(spec.kind.first_reader(), spec.layer), spec].map(tensor_name);
            ensure!(
                self.is_int4(&first) == self.is_int4(&own),
                "quantization: int4: found one of {first} and {own}, wanted both or neither: they read one vector"
            );
        }
        Ok(())
    }

    /// Writes the parameters to `rounded`, its matrices as the device will have them.
    pub fn round(&self, config: &Config, params: &Params, rounded: &mut Vec<f32>) {
        rounded.clone_from(&params.values);
        if self.weights.is_none() {
            return;
        }
        for tensor in params.tensors().iter().filter(|tensor| tensor.is_matrix()) {
            let values = &mut rounded[tensor.range.clone()];
            let factor =
                if tensor.name.ends_with(".attention.wq.weight") { query_factor(config) } else { 1.0 };
            values.iter_mut().for_each(|w| *w *= factor);
            let round = if self.is_int4(&tensor.name) { int4_groups } else { int8_rows };
            round(values, tensor.shape[1]);
            values.iter_mut().for_each(|w| *w /= factor);
        }
    }
}

/// Whether a tensor has weights that are rounded.
fn is_weight(spec: TensorSpec) -> bool {
    spec.kind.is_matrix() || matches!(spec.kind, TensorKind::Embedding | TensorKind::PositionEmbedding)
}

/// What the weights of queries are multiplied by at export: scores are logarithms to base two.
pub fn query_factor(config: &Config) -> f32 {
    (std::f64::consts::LOG2_E / libm::sqrt(config.head_dim() as f64)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, ModelConfig};

    #[test]
    fn a_table_of_toml_has_defaults() {
        let found: Quantization = toml::from_str("weights = \"int4\"").unwrap();
        assert_eq!(found, Quantization::all(WeightBits::Int4));
        let found: Quantization =
            toml::from_str("weights = \"int8\"\nactivations = \"a16\"\ncache = false").unwrap();
        assert_eq!((found.activations, found.cache), (Some(Width::A16), false));
        assert_eq!(toml::from_str::<Quantization>(&toml::to_string(&found).unwrap()).unwrap(), found);
        assert!(toml::from_str::<Quantization>("weights = \"int2\"").is_err());
    }

    #[test]
    fn mixed_bits_are_those_of_a_list() {
        let config = &ModelConfig::default().config;
        let mixed = |int4: &[&str]| Quantization {
            int4: int4.iter().map(|&name| name.to_owned()).collect(),
            ..Quantization::all(WeightBits::Mixed)
        };
        let found = mixed(&["layers.0.feed_forward.w?.weight", "tok_embeddings.weight"]);
        found.validate(config).unwrap();
        assert!(found.is_int4("layers.0.feed_forward.w2.weight") && found.is_int4("tok_embeddings.weight"));
        assert!(!found.is_int4("layers.1.feed_forward.w2.weight"));
        for (wrong, expected) in [
            (mixed(&[]), "found 0 names"),
            (mixed(&["layers.0.ffn_norm.weight"]), "wanted the name of a matrix"),
            (mixed(&["layers.0.attention.wq.weight"]), "they read one vector"),
            (Quantization { weights: Some(WeightBits::Int8), ..found.clone() }, "none without mixed bits"),
        ] {
            let error = wrong.validate(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn matrices_are_rounded_and_gains_are_not() {
        let model = Model::init(ModelConfig::default(), 1).unwrap();
        let config = &model.config().config;
        let mut rounded = Vec::new();
        Quantization::all(WeightBits::Int4).round(config, model.params(), &mut rounded);
        for tensor in model.params().tensors() {
            let pairs =
                rounded[tensor.range.clone()].iter().zip(&model.params().values[tensor.range.clone()]);
            let changed = pairs.filter(|(a, b)| a != b).count();
            assert_eq!(changed > 0, tensor.is_matrix(), "{}", tensor.name);
        }
        // Groups of 32 columns have at most 16 values.
        let wq = &model
            .params()
            .tensors()
            .iter()
            .find(|t| t.name == "layers.0.attention.wq.weight")
            .unwrap()
            .range;
        let mut group = rounded[wq.start..wq.start + 32].to_vec();
        group.sort_by(f32::total_cmp);
        group.dedup();
        assert!((4..=16).contains(&group.len()), "{}", group.len());
    }
}
