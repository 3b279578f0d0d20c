//! What the errors of a head's rows have in common: the scores.
//!
//! A score is a query times a key, so that an error in one channel of the keys can be made up for by the others, as far as
//! queries have these channels together; and the other way round. With `Q` the second moments of the queries that meet a
//! head's keys, the squared error of the scores is the trace of `Q E H E^T`. Of `Q = (I + U) D (I + U)^T` follows what a
//! row is to be rounded to: itself, and the errors of the rows before it times `U`, whatever happens within rows
//! (docs/decisions/021).

use super::calibrate::{excerpt, windows};
use super::compensate::{Factors, Moments};
use super::equalize::{probabilities, rotate, rotated, turns};
use crate::model::Model;
use anyhow::Result;
use thumbformer::format::{TensorKind, TensorSpec};

/// For each layer the heads of the queries, and those of the keys.
pub struct Scores(Vec<[Vec<Factors>; 2]>);

impl Scores {
    /// Reads a text.
    pub fn observe(model: &Model, text: &[u16]) -> Result<Self> {
        let layers = 0..model.config().config.n_layers;
        Ok(Self(layers.map(|layer| observe(model, excerpt(text), layer)).collect::<Result<_>>()?))
    }

    /// The factors of a tensor's heads; of one that takes no part in scores, none.
    pub fn of(&self, spec: TensorSpec) -> &[Factors] {
        match (self.0.get(spec.layer), spec.kind) {
            (Some([queries, _]), TensorKind::Wq) => queries,
            (Some([_, keys]), TensorKind::Wk) => keys,
            _ => &[],
        }
    }
}

/// Reads a text and notes what the heads of a layer meet, turned to where their own matrix stands.
fn observe(model: &Model, text: &[u16], layer: usize) -> Result<[Vec<Factors>; 2]> {
    let config = model.config().config;
    let (dim, kv_dim, head_dim) = (config.dim, config.kv_dim(), config.head_dim());
    let group = config.n_heads / config.n_kv_heads;
    let heads = |count| (0..count).map(|_| Moments::new(head_dim)).collect::<Vec<_>>();
    let (mut of_queries, mut of_keys) = (heads(config.n_heads), heads(config.n_kv_heads));
    let sites = ["wq", "wk"].map(|matrix| format!("layers.{layer}.attention.{matrix}"));
    for window in windows(model, text) {
        let (mut queries, mut keys) = (Vec::new(), Vec::new());
        model.forward_observed(window, &mut |site, values| {
            if site == sites[0] {
                queries = rotated(model, values, dim);
            } else if site == sites[1] {
                keys = rotated(model, values, kv_dim);
            }
        })?;
        let back: Vec<_> = (0..window.len()).map(|position| turns(model, -(position as f64))).collect();
        for reader in 0..config.n_heads {
            let own = reader / group;
            let keys: Vec<&[f64]> =
                keys.chunks(kv_dim).map(|row| &row[own * head_dim..][..head_dim]).collect();
            let mut met = vec![vec![0.0; head_dim * head_dim]; keys.len()];
            for (t, row) in queries.chunks(dim).enumerate() {
                let query = &row[reader * head_dim..][..head_dim];
                let (mut mean, mut spread) = (vec![0.0; head_dim], vec![0.0; head_dim * head_dim]);
                let probabilities = probabilities(query, &keys[..=t]);
                for ((p, key), met) in probabilities.into_iter().zip(&keys).zip(&mut met) {
                    add_square(met, query, p * (1.0 - p));
                    add_square(&mut spread, key, p);
                    mean.iter_mut().zip(*key).for_each(|(mean, k)| *mean += p * k);
                }
                // What all keys have in common changes no probability.
                add_square(&mut spread, &mean, -1.0);
                of_queries[reader].add_moments(&turned(&spread, head_dim, &back[t]));
            }
            for (met, back) in met.iter().zip(&back) {
                of_keys[own].add_moments(&turned(met, head_dim, back));
            }
        }
    }
    Ok([of_queries, of_keys].map(|moments| moments.iter().map(Moments::factors_in_order).collect()))
}

/// Adds `weight * v v^T`.
fn add_square(sums: &mut [f64], v: &[f64], weight: f64) {
    for (sums, a) in sums.chunks_exact_mut(v.len()).zip(v) {
        sums.iter_mut().zip(v).for_each(|(sum, b)| *sum += weight * a * b);
    }
}

/// Symmetric moments of vectors, after these have been turned.
fn turned(sums: &[f64], n: usize, turns: &[(f64, f64)]) -> Vec<f64> {
    let transposed_and_turned = |sums: &[f64]| {
        let mut sums: Vec<f64> = (0..n * n).map(|i| sums[i % n * n + i / n]).collect();
        sums.chunks_exact_mut(n).for_each(|row| rotate(row, turns));
        sums
    };
    transposed_and_turned(&transposed_and_turned(sums))
}
