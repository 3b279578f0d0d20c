//! Channels of the keys nearer to one size, before each head is rounded by one step.
//!
//! A head's keys share a step, so a large channel costs the small ones their precision, and this is the
//! largest of all losses to integers. Scores do not change when a channel of the keys is divided by a number
//! and that of the queries multiplied by it; where positions rotate, that holds for pairs of channels, and
//! both may be turned by one angle as well, since rotations commute. Rows have their own scales, so that the
//! matrices lose nothing. Factors and angles are those of the least error of the attention over a text
//! (docs/decisions/003).

use super::calibrate::windows;
use crate::model::Model;
use anyhow::Result;
use std::f64::consts::FRAC_PI_2;
use thumbformer::Positions;

/// Equalises the keys of every head over a text.
pub fn equalize(model: &mut Model, text: &[u16]) -> Result<()> {
    for layer in 0..model.config().config.n_layers {
        for (index, head) in observe(model, text, layer)?.iter().enumerate() {
            apply(model, layer, index, &head.best());
        }
    }
    Ok(())
}

/// What happens to a part of a head, one channel or a rotary pair: the queries grow by `2^(grow / GRID)`, the
/// keys shrink by it, and both turn by `turn / TURNS` of a right angle.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    grow: i32,
    turn: usize,
}

/// Steps to a doubling. Being so coarse, factors do not hang on a text's last digits.
const GRID: i32 = 16;
/// Steps to a right angle, after which sizes are the same again.
const TURNS: usize = 8;

impl Change {
    fn factor(self) -> f64 {
        libm::exp2(f64::from(self.grow) / f64::from(GRID))
    }

    fn sin_cos(self) -> (f64, f64) {
        libm::sincos(self.turn as f64 * FRAC_PI_2 / TURNS as f64)
    }
}

/// The keys of a KV head over a text, and how much their errors matter.
struct Head {
    /// Channels of a part: two where positions rotate.
    width: usize,
    /// Parts of a head.
    parts: usize,
    /// Keys as the cache has them `[n, parts, width]`.
    keys: Vec<f64>,
    /// How much an error in a part of a key changes the attention `[n, parts]`: the squares of the queries that
    /// meet it, each times `p (1 - p)` of the probability `p` that it gives this key.
    weights: Vec<f64>,
}

impl Head {
    /// The expected error of the attention: the square of each key's step times its weight.
    fn error(&self, changes: &[Change]) -> f64 {
        let factors: Vec<f64> = changes.iter().map(|c| c.factor()).collect();
        let turns: Vec<(f64, f64)> = changes.iter().map(|c| c.sin_cos()).collect();
        let keys = self.keys.chunks(self.parts * self.width);
        keys.zip(self.weights.chunks(self.parts)).fold(0.0, |sum, (key, weights)| {
            let (mut peak, mut weight) = (0f64, 0.0);
            for (i, part) in key.chunks(self.width).enumerate() {
                let largest = match *part {
                    [a, b] => {
                        let (sin, cos) = turns[i];
                        (cos * a - sin * b).abs().max((sin * a + cos * b).abs())
                    }
                    _ => part.iter().fold(0.0, |m: f64, v| m.max(v.abs())),
                };
                peak = peak.max(largest / factors[i]);
                weight += weights[i] * factors[i] * factors[i];
            }
            sum + peak * peak * weight
        })
    }

    /// The changes of the least error: a part at a time is changed a little for as long as that helps, by
    /// smaller and smaller steps.
    fn best(&self) -> Vec<Change> {
        let mut best = vec![Change::default(); self.parts];
        let mut error = self.error(&best);
        let turns = if self.width == 2 { TURNS } else { 0 };
        for step in [GRID / 2, GRID / 4, GRID / 8, GRID / 16] {
            // Each pass that goes on has found a smaller error; the bound is for errors that are not finite.
            for _ in 0..100 {
                let before = error;
                for part in 0..self.parts {
                    let old = best[part];
                    let grown = [step, -step].map(|by| Change { grow: old.grow + by, ..old });
                    let turned = (0..turns).map(|turn| Change { turn, ..old });
                    for change in grown.into_iter().chain(turned) {
                        let last = std::mem::replace(&mut best[part], change);
                        let found = self.error(&best);
                        if found < error { error = found } else { best[part] = last }
                    }
                }
                if error >= before {
                    break;
                }
            }
        }
        // A head as a whole keeps its size.
        let mean = best.iter().map(|c| c.grow).sum::<i32>() / self.parts as i32;
        best.iter_mut().for_each(|c| c.grow -= mean);
        best
    }
}

/// Reads a text and notes the keys of a layer's heads.
fn observe(model: &Model, text: &[u16], layer: usize) -> Result<Vec<Head>> {
    let config = model.config().config;
    let (dim, kv_dim, head_dim) = (config.dim, config.kv_dim(), config.head_dim());
    let group = config.n_heads / config.n_kv_heads;
    let width = if config.positions == Positions::Rope { 2 } else { 1 };
    let parts = head_dim / width;
    let head = || Head { width, parts, keys: Vec::new(), weights: Vec::new() };
    let mut heads: Vec<Head> = (0..config.n_kv_heads).map(|_| head()).collect();
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
        for (index, head) in heads.iter_mut().enumerate() {
            let own: Vec<&[f64]> =
                keys.chunks(kv_dim).map(|row| &row[index * head_dim..][..head_dim]).collect();
            own.iter().for_each(|key| head.keys.extend_from_slice(key));
            let mut weights = vec![0.0; window.len() * parts];
            for reader in index * group..(index + 1) * group {
                for (t, row) in queries.chunks(dim).enumerate() {
                    let query = &row[reader * head_dim..][..head_dim];
                    let sizes: Vec<f64> =
                        query.chunks(width).map(|q| q.iter().map(|q| q * q).sum()).collect();
                    let probabilities = probabilities(query, &own[..=t]);
                    for (weights, p) in weights.chunks_mut(parts).zip(probabilities) {
                        weights.iter_mut().zip(&sizes).for_each(|(w, s)| *w += p * (1.0 - p) * s);
                    }
                }
            }
            head.weights.extend(weights);
        }
    }
    Ok(heads)
}

/// The attention that a query gives to each key.
pub fn probabilities(query: &[f64], keys: &[&[f64]]) -> Vec<f64> {
    let root = libm::sqrt(query.len() as f64);
    let dot = |key: &&[f64]| query.iter().zip(*key).map(|(q, k)| q * k).sum::<f64>() / root;
    let mut scores: Vec<f64> = keys.iter().map(dot).collect();
    let max = scores.iter().fold(f64::MIN, |m, &s| m.max(s));
    scores.iter_mut().for_each(|s| *s = libm::exp(*s - max));
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
    scores
}

/// Rows of `width` columns, one for each position, turned as the positions ask.
pub fn rotated(model: &Model, values: &[f32], width: usize) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    for (position, row) in values.chunks_mut(width).enumerate() {
        rotate(row, &turns(model, position as f64));
    }
    values
}

/// The sine and cosine of each pair of a head at a position; none where nothing rotates.
pub fn turns(model: &Model, position: f64) -> Vec<(f64, f64)> {
    let config = model.config();
    if config.config.positions != Positions::Rope {
        return Vec::new();
    }
    let head_dim = config.config.head_dim();
    let turn = |i: usize| {
        let frequency = libm::pow(f64::from(config.rope_theta), -2.0 * i as f64 / head_dim as f64);
        libm::sincos(position * frequency)
    };
    (0..head_dim / 2).map(turn).collect()
}

/// Turns the pairs of one head, or of several one after the other.
pub fn rotate(heads: &mut [f64], turns: &[(f64, f64)]) {
    for (pair, &(sin, cos)) in heads.as_chunks_mut::<2>().0.iter_mut().zip(turns.iter().cycle()) {
        *pair = [cos * pair[0] - sin * pair[1], sin * pair[0] + cos * pair[1]];
    }
}

/// Changes the rows of a KV head and of the query heads that read it.
fn apply(model: &mut Model, layer: usize, index: usize, changes: &[Change]) {
    let config = model.config().config;
    let (head_dim, group) = (config.head_dim(), config.n_heads / config.n_kv_heads);
    let width = head_dim / changes.len();
    let queries = (index * group..(index + 1) * group).map(|head| ("wq", head));
    for (matrix, head) in queries.chain([("wk", index)]) {
        for (i, change) in changes.iter().enumerate() {
            let factor = if matrix == "wq" { change.factor() } else { 1.0 / change.factor() };
            let row = head * head_dim + i * width;
            for (part, cols) in [("weight", config.dim), ("bias", 1)] {
                let name = format!("layers.{layer}.attention.{matrix}.{part}");
                if let Some(values) = model.params_mut().get_mut(&name) {
                    turn(&mut values[row * cols..(row + width) * cols], cols, factor, change.sin_cos());
                }
            }
        }
    }
}

/// Scales one row, or scales and turns two.
fn turn(rows: &mut [f32], cols: usize, factor: f64, (sin, cos): (f64, f64)) {
    let (first, second) = rows.split_at_mut(cols);
    for (c, a) in first.iter_mut().enumerate() {
        let (x, y) = (f64::from(*a), second.get(c).map_or(0.0, |&b| f64::from(b)));
        *a = (factor * (cos * x - sin * y)) as f32;
        if let Some(b) = second.get_mut(c) {
            *b = (factor * (sin * x + cos * y)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::calibrate::write_text;

    /// The largest difference of a logit, and of a parameter.
    fn changed(toml: &str) -> (f32, f32) {
        let mut model = Model::init(toml::from_str(toml).unwrap(), 3).unwrap();
        // Gains and biases that differ from channel to channel.
        let tensors = model.params().tensors().to_vec();
        for tensor in tensors.iter().filter(|tensor| !tensor.is_matrix()) {
            let values = model.params_mut().get_mut(&tensor.name).unwrap();
            values.iter_mut().enumerate().for_each(|(i, v)| *v += (i * 7 % 11) as f32 / 4.0);
        }
        let before = model.clone();
        let text = write_text(&model).unwrap();
        equalize(&mut model, &text).unwrap();
        let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        let logits = worst(&before.forward(&text).unwrap(), &model.forward(&text).unwrap());
        (logits, worst(&before.params().values, &model.params().values))
    }

    #[test]
    fn the_model_stays_what_it_is() {
        let shape = "dim = 16\nhidden_dim = 24\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 40\nseq_len = 32\n";
        let gpt = "norm = 'layer'\ngated = false\npositions = 'learned'\nbiases = true\n";
        for more in ["", "biases = true\ntied = false\n", gpt] {
            let (logits, parameters) = changed(&format!("{shape}{more}"));
            println!("{more:?}: logits by {logits}, parameters by {parameters}");
            assert!(logits < 3e-5 && parameters > 0.01, "{more:?}: {logits}, {parameters}");
        }
    }
}
