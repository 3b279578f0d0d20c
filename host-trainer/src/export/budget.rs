//! Which tensors have four bits, so that a file fits a budget with the least divergence from f32.

use super::sensitivity::{Cost, is_rounded};
use anyhow::{Result, bail};
use std::fmt::{Display, Formatter, Result as FmtResult};
use thumbformer::Config;

/// What was chosen.
#[derive(Debug, Clone)]
pub struct Bits {
    /// Whether each tensor has four bits, in the order of the file.
    pub int4: Vec<bool>,
    /// Tensors with four bits, and of those that can have them.
    four: usize,
    all: usize,
    /// Bytes of the file.
    bytes: usize,
    budget: usize,
    /// The divergence from f32, with 16-bit inputs: measured, and as the sum of what each tensor costs alone.
    kl: f64,
    sum: f64,
}

/// Tensors that have the same type: they share a vector, or are one.
struct Unit {
    tensors: Vec<usize>,
    /// What four bits cost more than eight.
    kl: f64,
    /// What they save.
    bytes: f64,
}

/// The tensors of a file that have the same type, by their place in the directory.
fn units(config: &Config) -> Vec<Vec<usize>> {
    let mut units: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, spec) in config.tensors().enumerate().filter(|&(_, spec)| is_rounded(config, spec)) {
        let first = config.index_of(spec.kind.first_reader(), spec.layer);
        match units.iter_mut().find(|(unit, _)| *unit == first) {
            Some((_, tensors)) => tensors.push(index),
            None => units.push((first, vec![index])),
        }
    }
    if let Some((_, tensors)) = units.first_mut().filter(|_| config.tied) {
        // The head has the embedding's data.
        tensors.push(config.n_tensors() - 1);
    }
    units.into_iter().map(|(_, tensors)| tensors).collect()
}

/// Chooses by the costs of eight and of four bits of each tensor alone: four go where they cost least for the bytes
/// that they save, until the file fits, and are taken back from what then turns out unnecessary. The same is done by
/// the cost alone, and of both choices that with the least measured divergence is taken.
///
/// `len` is the length of a file, with four bits everywhere at most the budget, and `kl` its divergence.
pub fn choose(
    config: &Config,
    budget: usize,
    costs: &[(Cost, Cost)],
    len: &dyn Fn(&[bool]) -> usize,
    kl: &dyn Fn(&[bool]) -> Result<f64>,
) -> Result<Bits> {
    let none = vec![false; config.n_tensors()];
    let with = |chosen: &[bool], unit: &[usize], value: bool| {
        let mut chosen = chosen.to_vec();
        unit.iter().for_each(|&tensor| chosen[tensor] = value);
        chosen
    };
    let mut units: Vec<Unit> = units(config)
        .into_iter()
        .map(|tensors| {
            let kl = tensors.iter().map(|&t| costs[t].1.kl - costs[t].0.kl).sum::<f64>().max(0.0);
            let bytes = len(&none) as f64 - len(&with(&none, &tensors, true)) as f64;
            Unit { tensors, kl, bytes }
        })
        .filter(|unit| unit.bytes > 0.0)
        .collect();
    let all = units.iter().fold(none.clone(), |chosen, unit| with(&chosen, &unit.tensors, true));
    let mut fill = |cost: &dyn Fn(&Unit) -> f64| {
        units.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let mut chosen = none.clone();
        for unit in &units {
            if len(&chosen) > budget {
                chosen = with(&chosen, &unit.tensors, true);
            }
        }
        units.sort_by(|a, b| b.kl.total_cmp(&a.kl));
        for unit in &units {
            let fewer = with(&chosen, &unit.tensors, false);
            if len(&fewer) <= budget {
                chosen = fewer;
            }
        }
        chosen
    };
    let mut found = vec![fill(&|unit| unit.kl / unit.bytes), fill(&|unit| unit.kl)];
    found.dedup();
    let mut best: Option<(f64, Vec<bool>)> = None;
    for int4 in found {
        let kl = kl(&int4)?;
        if best.as_ref().is_none_or(|(least, _)| kl < *least) {
            best = Some((kl, int4));
        }
    }
    let Some((kl, int4)) = best else { bail!("flash budget: found no choice of bits, wanted one") };
    let sum = costs.iter().zip(&int4).map(|(costs, &int4)| if int4 { costs.1.kl } else { costs.0.kl }).sum();
    let count = |chosen: &[bool]| {
        chosen.iter().zip(config.tensors()).filter(|&(&int4, spec)| int4 && is_rounded(config, spec)).count()
    };
    Ok(Bits { four: count(&int4), all: count(&all), bytes: len(&int4), budget, kl, sum, int4 })
}

impl Display for Bits {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(
            f,
            "bits: 4 for {} of {} tensors, 8 for the others: {} of {} bytes\n  KL(f32 || integers) {:.6} nats per token \
             with 16-bit inputs; the weights of each tensor alone add up to {:.6}",
            self.four, self.all, self.bytes, self.budget, self.kl, self.sum
        )
    }
}
