//! Channels of keys and values to one size, before each head is rounded by one scale.
//!
//! A head's keys share a step, so a large channel costs the small ones their precision. Scores do not change
//! when a channel of the keys is divided by a number and that of the queries multiplied by it (rotary pairs
//! by one number, since rotation mixes them); attention's output does not change when a channel of the values
//! is divided and the column of `wo` multiplied. Rows have their own scales, so that keys, queries and values
//! lose nothing; only the columns of `wo` meet each other in a row, so values go half the way.

use super::calibrate::windows;
use crate::model::Model;
use anyhow::Result;
use thumbformer::Positions;

/// Equalises keys and values by their root mean squares over a text.
pub fn equalize(model: &mut Model, text: &[u16]) -> Result<()> {
    let config = model.config().config;
    let (head_dim, group) = (config.head_dim(), config.n_heads / config.n_kv_heads);
    let pair = if config.positions == Positions::Rope { 2 } else { 1 };
    for layer in 0..config.n_layers {
        let name = |part: &str| format!("layers.{layer}.attention.{part}");
        let keys = sizes(model, text, &name("wk"))?;
        let values = sizes(model, text, &name("wv"))?;
        for kv_head in 0..config.n_kv_heads {
            let channels = kv_head * head_dim..(kv_head + 1) * head_dim;
            let pairs = keys[channels.clone()].chunks(pair);
            let factors = relative(pairs.map(|k| k.iter().map(|k| k * k).sum::<f32>().sqrt()));
            for (i, factor) in factors.into_iter().enumerate() {
                for c in i * pair..(i + 1) * pair {
                    scale_row(model, &name("wk"), kv_head * head_dim + c, 1.0 / factor);
                    for head in kv_head * group..(kv_head + 1) * group {
                        scale_row(model, &name("wq"), head * head_dim + c, factor);
                    }
                }
            }
            let factors = relative(values[channels.clone()].iter().map(|v| v.sqrt()));
            for (c, factor) in factors.into_iter().enumerate() {
                scale_row(model, &name("wv"), channels.start + c, 1.0 / factor);
                for head in kv_head * group..(kv_head + 1) * group {
                    scale_column(model, &name("wo"), head * head_dim + c, factor);
                }
            }
        }
    }
    Ok(())
}

/// Sizes relative to their geometric mean, so that a head as a whole keeps its size.
fn relative(sizes: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut sizes: Vec<f32> = sizes.map(|s| s.max(1e-12)).collect();
    let logarithms = sizes.iter().map(|&s| libm::log(f64::from(s)));
    let mean = libm::exp(logarithms.sum::<f64>() / sizes.len() as f64) as f32;
    sizes.iter_mut().for_each(|s| *s /= mean);
    sizes
}

/// The root mean square of each output of a matrix over a text.
fn sizes(model: &Model, text: &[u16], site: &str) -> Result<Vec<f32>> {
    let mut squares = vec![0f32; model.config().config.kv_dim()];
    let mut count = 0;
    for window in windows(model, text) {
        model.forward_observed(window, &mut |place, values| {
            if place == site {
                for row in values.chunks(squares.len()) {
                    squares.iter_mut().zip(row).for_each(|(s, v)| *s += v * v);
                    count += 1;
                }
            }
        })?;
    }
    Ok(squares.iter().map(|s| (s / count.max(1) as f32).sqrt()).collect())
}

fn scale_row(model: &mut Model, name: &str, row: usize, factor: f32) {
    let cols = model.config().config.dim;
    if let Some(weights) = model.params_mut().get_mut(&format!("{name}.weight")) {
        weights[row * cols..(row + 1) * cols].iter_mut().for_each(|w| *w *= factor);
    }
    if let Some(bias) = model.params_mut().get_mut(&format!("{name}.bias")) {
        bias[row] *= factor;
    }
}

fn scale_column(model: &mut Model, name: &str, column: usize, factor: f32) {
    let cols = model.config().config.dim;
    if let Some(weights) = model.params_mut().get_mut(&format!("{name}.weight")) {
        weights.iter_mut().skip(column).step_by(cols).for_each(|w| *w *= factor);
    }
}
