//! Channels nearer to one size, before vectors and matrices are rounded.
//!
//! A vector shares a step, and so does a row of the matrix that reads it: a large channel of either costs the
//! others their precision. What makes the vector can be divided by a number per channel, and the columns of
//! the matrix multiplied by it, without a change to the model (SmoothQuant: Xiao et al. 2023; equalisation:
//! Nagel et al. 2019). The numbers are a power of the channel's size over a power of its columns' size; the
//! powers are those of the least expected error over a text (docs/decisions/007).

use super::calibrate::windows;
use super::quantize::peak;
use crate::model::Model;
use anyhow::{Context, Result};
use thumbformer::Activation;

/// Smooths every vector of the blocks that something makes channel by channel: norms' gains (unless they go
/// into the matrices anyway), values, and the MLP's hidden vector.
pub fn smooth(model: &mut Model, text: &[u16], fold_gains: bool) -> Result<()> {
    let config = model.config().config;
    let (head_dim, group) = (config.head_dim(), config.n_heads / config.n_kv_heads);
    for layer in 0..config.n_layers {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let norm = |norm: &str, readers: &[&str]| Joint {
            maker: name(norm),
            site: name(norm),
            readers: readers.iter().map(|reader| name(reader)).collect(),
            channel: (0..config.dim).collect(),
            channels: config.dim,
        };
        let up = if config.gated { "feed_forward.w3" } else { "feed_forward.w1" };
        let mut joints = Vec::new();
        if !fold_gains {
            joints.push(norm("attention_norm", &["attention.wq", "attention.wk", "attention.wv"]));
            let readers = ["feed_forward.w1", "feed_forward.w3"];
            joints.push(norm("ffn_norm", if config.gated { &readers } else { &readers[..1] }));
        }
        joints.push(Joint {
            maker: name("attention.wv"),
            site: name("attention.heads"),
            readers: vec![name("attention.wo")],
            // Query heads of a group read the same values.
            channel: (0..config.dim).map(|i| i / head_dim / group * head_dim + i % head_dim).collect(),
            channels: config.kv_dim(),
        });
        // Of the activations only ReLU lets a factor through.
        if config.gated || config.activation == Activation::Relu {
            joints.push(Joint {
                maker: name(up),
                site: name("feed_forward.hidden"),
                readers: vec![name("feed_forward.w2")],
                channel: (0..config.hidden_dim).collect(),
                channels: config.hidden_dim,
            });
        }
        for joint in joints {
            let factors = joint.observe(model, text)?.best();
            joint.apply(model, &factors)?;
        }
    }
    Ok(())
}

/// A vector, the tensor that makes it (with a row or a gain for each channel) and the matrices that read it.
struct Joint {
    maker: String,
    /// The vector's name among those that the forward pass shows.
    site: String,
    readers: Vec<String>,
    /// The channel of the maker behind each element of the vector.
    channel: Vec<usize>,
    channels: usize,
}

impl Joint {
    /// Reads a text and notes the vectors.
    fn observe<'j>(&'j self, model: &Model, text: &[u16]) -> Result<Observed<'j>> {
        let mut vectors = Vec::new();
        for window in windows(model, text) {
            model.forward_observed(window, &mut |site, values| {
                if site == self.site {
                    vectors.extend_from_slice(values);
                }
            })?;
        }
        let mut rows = Vec::new();
        for reader in &self.readers {
            rows.extend_from_slice(model.params().get(&format!("{reader}.weight")).context("a matrix")?);
        }
        Ok(Observed { joint: self, vectors, rows })
    }

    /// Divides what is made and multiplies what reads it.
    fn apply(&self, model: &mut Model, factors: &[f32]) -> Result<()> {
        for part in ["weight", "bias"] {
            if let Some(values) = model.params_mut().get_mut(&format!("{}.{part}", self.maker)) {
                let row = values.len() / self.channels;
                for (row, factor) in values.chunks_mut(row).zip(factors) {
                    row.iter_mut().for_each(|v| *v /= factor);
                }
            }
        }
        for reader in &self.readers {
            let weights = model.params_mut().get_mut(&format!("{reader}.weight")).context("a matrix")?;
            for row in weights.chunks_mut(self.channel.len()) {
                row.iter_mut().zip(&self.channel).for_each(|(w, &c)| *w *= factors[c]);
            }
        }
        Ok(())
    }
}

/// What a joint is over a text.
struct Observed<'j> {
    joint: &'j Joint,
    /// `[n, columns]`
    vectors: Vec<f32>,
    /// The rows of all readers `[rows, columns]`.
    rows: Vec<f32>,
}

/// Powers are tried in steps of this.
const POWER_STEP: f64 = 0.1;
/// Factors are powers of `2^(1/16)`: so coarse, they do not hang on a text's last digits.
const GRID: f64 = 16.0;

impl Observed<'_> {
    /// The factors of the least error.
    fn best(&self) -> Vec<f32> {
        let sizes = |rows: &[f32]| {
            let mut squares = vec![0f64; self.joint.channels];
            for row in rows.chunks(self.joint.channel.len()) {
                row.iter().zip(&self.joint.channel).for_each(|(v, &c)| squares[c] += f64::from(v * v));
            }
            squares.iter().map(|&s| libm::log2(libm::sqrt(s).max(1e-12))).collect::<Vec<f64>>()
        };
        let (vector_sizes, column_sizes) = (sizes(&self.vectors), sizes(&self.rows));
        let factors = |a: f64, b: f64| {
            let logarithms = vector_sizes.iter().zip(&column_sizes).map(|(v, c)| a * v - b * c);
            let mean = logarithms.clone().sum::<f64>() / vector_sizes.len() as f64;
            let grid =
                logarithms.map(|l| libm::round((l - mean) * GRID).clamp(-8.0 * GRID, 8.0 * GRID) / GRID);
            grid.map(|l| libm::exp2(l) as f32).collect::<Vec<f32>>()
        };
        let powers = || (0..=10).map(|i| f64::from(i) * POWER_STEP);
        let candidates = powers().flat_map(|a| powers().map(move |b| (a, b))).map(|(a, b)| factors(a, b));
        let errors = candidates.map(|factors| (self.error(&factors), factors));
        errors.min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1).unwrap_or_default()
    }

    /// The expected squared error of the products, up to a constant: each vector has a step in proportion to
    /// its peak, whose error meets all columns; each row has one, whose error meets all vectors.
    fn error(&self, factors: &[f32]) -> f64 {
        let columns: Vec<f32> = self.joint.channel.iter().map(|&c| factors[c]).collect();
        let reciprocals: Vec<f32> = columns.iter().map(|f| 1.0 / f).collect();
        let (steps, energy) = scaled(&self.vectors, &reciprocals);
        let (row_steps, row_energy) = scaled(&self.rows, &columns);
        steps * row_energy + row_steps * energy
    }
}

/// The sums over all rows, scaled by column, of their squared peaks and of all their squares.
fn scaled(rows: &[f32], factors: &[f32]) -> (f64, f64) {
    let mut scaled = vec![0f32; factors.len()];
    let (mut peaks, mut energy) = (0f64, 0f64);
    for row in rows.chunks(factors.len()) {
        scaled.iter_mut().zip(row.iter().zip(factors)).for_each(|(s, (v, f))| *s = v * f);
        peaks += f64::from(peak(&scaled)).powi(2);
        energy += f64::from(scaled.iter().map(|s| s * s).sum::<f32>());
    }
    (peaks, energy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::calibrate::write_text;
    use crate::export::equalize::equalize;

    type Change = fn(&mut Model, &[u16]) -> Result<()>;

    /// The largest difference of a logit, and of a parameter.
    fn changed(toml: &str, change: Change) -> (f32, f32) {
        let mut model = Model::init(toml::from_str(toml).unwrap(), 3).unwrap();
        // Gains and biases that differ from channel to channel.
        let tensors = model.params().tensors().to_vec();
        for tensor in tensors.iter().filter(|tensor| !tensor.is_matrix()) {
            let values = model.params_mut().get_mut(&tensor.name).unwrap();
            values.iter_mut().enumerate().for_each(|(i, v)| *v += (i * 7 % 11) as f32 / 4.0);
        }
        let before = model.clone();
        let text = write_text(&model).unwrap();
        change(&mut model, &text).unwrap();
        let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        let logits = worst(&before.forward(&text).unwrap(), &model.forward(&text).unwrap());
        (logits, worst(&before.params().values, &model.params().values))
    }

    #[test]
    fn the_model_stays_what_it_is() {
        let shape = "dim = 16\nhidden_dim = 24\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 40\nseq_len = 32\n";
        let gpt = "norm = 'layer'\ngated = false\npositions = 'learned'\nbiases = true\n";
        for more in ["", "biases = true\ntied = false\n", &format!("{gpt}activation = 'relu'\n"), gpt] {
            let toml = format!("{shape}{more}");
            let changes: [Change; 3] = [|m, t| smooth(m, t, false), |m, t| smooth(m, t, true), equalize];
            for (i, change) in changes.into_iter().enumerate() {
                let (logits, parameters) = changed(&toml, change);
                println!("{more:?}, change {i}: logits by {logits}, parameters by {parameters}");
                assert!(logits < 3e-5 && parameters > 0.01, "{more:?}, {i}: {logits}, {parameters}");
            }
        }
    }

    #[test]
    fn a_channel_that_stands_out_is_taken_back() {
        let mut model = Model::init(toml::from_str("dim = 8\nhidden_dim = 8\nn_layers = 1\nn_heads = 1\nn_kv_heads = 1\nvocab_size = 40\nseq_len = 32\n").unwrap(), 3).unwrap();
        model.params_mut().get_mut("layers.0.ffn_norm.weight").unwrap()[5] = 100.0;
        let text = write_text(&model).unwrap();
        smooth(&mut model, &text, false).unwrap();
        let gains = model.params().get("layers.0.ffn_norm.weight").unwrap();
        let largest = gains.iter().fold(0f32, |m, g| m.max(g.abs()));
        let least = gains.iter().fold(f32::MAX, |m, g| m.min(g.abs()));
        assert!(largest / least < 50.0, "{gains:?}");
    }
}
