//! What is done with each tensor: whether it learns, how fast, and whether it decays.

use super::Method;
use crate::glob::matches;
use crate::nn::graph::{Tensor, TensorRole};
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// How a tensor learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Where it lies in the parameters.
    pub range: Range<usize>,
    /// What its learning rate is multiplied by.
    pub rate: f32,
    /// Whether it decays.
    pub decays: bool,
    /// The number of its columns, if Muon takes its steps.
    pub muon: Option<usize>,
}

/// What of a model learns, and how fast: the table `[finetune]`. Patterns have `*` for any characters of a tensor's name
/// and `?` for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Finetune {
    /// Tensors that do not change.
    pub freeze: Vec<String>,
    /// Factor of the learning rate from each block to the one below it: 1 for the head and the last norm, this for the
    /// last block, its square for the one before, and so on down to the embeddings.
    pub layer_decay: f32,
    /// Factors of the learning rate, by pattern; all those that match are multiplied.
    pub rates: BTreeMap<String, f32>,
    /// Adapters of low rank that learn in the place of everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

impl Default for Finetune {
    fn default() -> Self {
        Self { freeze: Vec::new(), layer_decay: 1.0, rates: BTreeMap::new(), lora: None }
    }
}

impl Finetune {
    /// Whether nothing was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Says what cannot be, whatever the model is.
    pub fn validate(&self, method: Method) -> Result<()> {
        let usable = |factor: f32| factor.is_finite() && factor >= 0.0;
        ensure!(
            self.layer_decay > 0.0 && self.layer_decay <= 1.0,
            "layer_decay: found {}, wanted more than 0 and at most 1",
            self.layer_decay
        );
        for (pattern, &factor) in &self.rates {
            ensure!(usable(factor), "rates: {pattern}: found {factor}, wanted 0 or more");
        }
        let Some(lora) = &self.lora else { return Ok(()) };
        ensure!(
            self.freeze.is_empty(),
            "freeze: found {}, wanted none with lora, which freezes all but its adapters",
            self.freeze.join(", ")
        );
        ensure!(
            method == Method::AdamW,
            "optimizer: found {}, wanted adamw with lora, whose adapters are no hidden matrices",
            method.name()
        );
        ensure!(lora.rank > 0, "lora: rank: found 0, wanted at least 1");
        let alpha = lora.alpha();
        ensure!(alpha > 0.0 && alpha.is_finite(), "lora: alpha: found {alpha}, wanted a positive number");
        Ok(())
    }
}

/// Adapters (Hu et al. 2021): to each matrix that is chosen, `alpha / rank` times a product of two of low rank is added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Columns of the one factor and rows of the other.
    pub rank: usize,
    /// Weight of the adapters, times the rank [default: twice the rank].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// Patterns of the matrices that get one [default: those of all blocks].
    #[serde(default = "Lora::everywhere")]
    pub tensors: Vec<String>,
}

impl Lora {
    /// The matrices of all blocks.
    pub fn everywhere() -> Vec<String> {
        vec!["layers.*.w?.weight".into()]
    }

    /// The weight of the adapters, times the rank.
    pub fn alpha(&self) -> f32 {
        self.alpha.unwrap_or(2.0 * self.rank as f32)
    }
}

/// The end of the name of an adapter's factor `[rank, columns]`.
pub(crate) const LORA_A: &str = ".lora_a";
/// The end of the name of an adapter's factor `[rows, rank]`.
pub(crate) const LORA_B: &str = ".lora_b";

/// The rules for the tensors of a model of `n_layers` blocks, or for its adapters.
///
/// Matrices decay; gains, biases and learned positions do not. Token embeddings are matrices here: tied ones are the head,
/// too, and decay keeps their rows, which one scale each is to describe, from growing.
pub fn rules(tensors: &[Tensor], n_layers: usize, method: Method, finetune: &Finetune) -> Result<Vec<Rule>> {
    finetune.validate(method)?;
    let name_of = |tensor: &Tensor| -> String {
        let name = tensor.name.strip_suffix(LORA_A).or(tensor.name.strip_suffix(LORA_B));
        name.unwrap_or(&tensor.name).to_owned()
    };
    for (setting, pattern) in
        finetune.freeze.iter().map(|p| ("freeze", p)).chain(finetune.rates.keys().map(|p| ("rates", p)))
    {
        check_pattern(setting, pattern, tensors.iter().map(name_of))?;
    }
    let mut rules = Vec::new();
    for tensor in tensors.iter().filter(|tensor| tensor.role == TensorRole::Weight) {
        let name = name_of(tensor);
        let factors = finetune.rates.iter().filter(|(pattern, _)| matches(pattern, &name));
        let depth = libm::powf(finetune.layer_decay, blocks_above(&name, n_layers) as f32);
        let rate = factors.fold(depth, |rate, (_, factor)| rate * factor);
        if rate == 0.0 || finetune.freeze.iter().any(|pattern| matches(pattern, &name)) {
            continue;
        }
        let hidden = tensor.shape.len() == 2 && name.starts_with("layers.");
        rules.push(Rule {
            range: tensor.range.clone(),
            rate,
            decays: tensor.is_matrix() && !name.starts_with("pos_embeddings."),
            muon: (method == Method::Muon && hidden).then(|| tensor.shape[1]),
        });
    }
    ensure!(!rules.is_empty(), "freeze: found every tensor frozen, wanted some that learn");
    Ok(rules)
}

/// How often a layer's decay counts for a tensor.
fn blocks_above(name: &str, n_layers: usize) -> usize {
    let block = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match block {
        Some(block) => n_layers.saturating_sub(block),
        None if name.contains("embeddings.") => n_layers + 1,
        None => 0,
    }
}

/// Refuses a pattern that no name matches: it is misspelt.
pub(crate) fn check_pattern(
    setting: &str,
    pattern: &str,
    mut names: impl Iterator<Item = String> + Clone,
) -> Result<()> {
    let example = names.clone().next().unwrap_or_default();
    if !names.any(|name| matches(pattern, &name)) {
        bail!("{setting}: found {pattern:?}, wanted a pattern that matches some tensor, such as {example}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, Params};

    fn tensors() -> Vec<Tensor> {
        let config: ModelConfig = toml::from_str(
            "dim = 4\nhidden_dim = 4\nn_layers = 2\nn_heads = 1\nn_kv_heads = 1\nvocab_size = 3\nseq_len = 2\n\
             positions = \"learned\"\nbiases = true\ntied = false\n",
        )
        .unwrap();
        Params::tensors_of(&config)
    }

    fn with(method: Method, finetune: &Finetune) -> Result<Vec<(String, Rule)>> {
        let tensors = tensors();
        let rules = rules(&tensors, 2, method, finetune)?;
        let name = |rule: &Rule| tensors.iter().find(|t| t.range == rule.range).unwrap().name.clone();
        Ok(rules.into_iter().map(|rule| (name(&rule), rule)).collect())
    }

    #[test]
    fn matrices_decay_but_not_positions_and_muon_has_those_of_blocks() {
        let rules = with(Method::Muon, &Finetune::default()).unwrap();
        assert_eq!(rules.len(), tensors().len());
        for (name, rule) in rules {
            let hidden = name.contains(".w") && name.starts_with("layers.") && name.ends_with(".weight");
            let hidden = hidden && !name.contains("norm");
            let table = ["tok_embeddings.weight", "output.weight"].contains(&name.as_str());
            assert_eq!(rule.decays, hidden || table, "{name}");
            assert_eq!(rule.muon.is_some(), hidden, "{name}");
            assert_eq!(rule.rate, 1.0);
        }
    }

    #[test]
    fn rates_fall_from_the_head_to_the_embeddings() {
        let finetune = Finetune {
            layer_decay: 0.5,
            rates: BTreeMap::from([("*norm*".into(), 10.0), ("layers.1.*".into(), 3.0)]),
            freeze: vec!["*.wq.*".into()],
            ..Finetune::default()
        };
        let rules: BTreeMap<_, _> = with(Method::AdamW, &finetune).unwrap().into_iter().collect();
        for (name, rate) in [
            ("output.weight", 1.0),
            ("norm.weight", 10.0),
            ("layers.1.attention.wk.weight", 1.5),
            ("layers.1.ffn_norm.weight", 15.0),
            ("layers.0.feed_forward.w2.bias", 0.25),
            ("tok_embeddings.weight", 0.125),
            ("pos_embeddings.weight", 0.125),
        ] {
            assert_eq!(rules[name].rate, rate, "{name}");
        }
        assert!(rules.keys().all(|name| !name.contains("wq")));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let lora = |rank| Some(Lora { rank, alpha: None, tensors: Lora::everywhere() });
        let plain = Finetune::default();
        let cases = [
            (
                Method::AdamW,
                Finetune { freeze: vec!["layer.*".into()], ..plain.clone() },
                "freeze: found \"layer.*\"",
            ),
            (
                Method::AdamW,
                Finetune { freeze: vec!["*".into()], ..plain.clone() },
                "found every tensor frozen",
            ),
            (Method::AdamW, Finetune { layer_decay: 1.5, ..plain.clone() }, "layer_decay: found 1.5, wanted"),
            (
                Method::AdamW,
                Finetune { rates: BTreeMap::from([("*".into(), -1.0)]), ..plain.clone() },
                "rates: *: found -1, wanted 0 or more",
            ),
            (
                Method::Muon,
                Finetune { lora: lora(2), ..plain.clone() },
                "optimizer: found muon, wanted adamw with lora",
            ),
            (Method::AdamW, Finetune { lora: lora(0), ..plain.clone() }, "lora: rank: found 0"),
            (
                Method::AdamW,
                Finetune { lora: lora(2), freeze: vec!["*norm*".into()], ..plain },
                "freeze: found *norm*, wanted none with lora",
            ),
        ];
        for (method, finetune, message) in cases {
            let error = with(method, &finetune).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
