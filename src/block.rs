//! A token's way through the model: embedding, blocks, head. Read it from top to bottom.
//!
//! The residual stream `hidden` is i32 with `frac` fraction bits from the first line to the last; each half
//! of a block reads it through a norm and adds its result to it. Matrices read a vector of 16-bit integers
//! with one scale, and write i32 with `frac` fraction bits.

use crate::activation;
use crate::attention::{Scratch, attend, rotate};
use crate::format::{InputWidth, Positions, TensorKind};
use crate::kernel;
use crate::linear::Linear;
use crate::model::Model;
use crate::vector::{Scale, block_shift_of, peak, quantize, round_all};
use crate::workspace::Memory;

/// Token to residual stream: `hidden = embedding[token]`, plus the position's vector where it is learned.
pub fn embed(model: &Model<'_>, token: u16, position: usize, memory: &mut Memory<'_>) {
    memory.hidden.fill(0);
    model.add_row(TensorKind::Embedding, usize::from(token), memory.hidden);
    if matches!(model.config().positions, Positions::Learned) {
        model.add_row(TensorKind::PositionEmbedding, position, memory.hidden);
    }
}

/// `hidden += attention(norm(hidden))`
pub fn attention(model: &Model<'_>, layer: usize, position: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (dim, kv_dim, frac) = (config.dim, config.kv_dim(), model.frac());
    let Memory { hidden, scratch, vector, weights, cache, .. } = memory;
    let (vector, _) = split(vector, dim.next_multiple_of(4));

    let wq = model.linear(TensorKind::Wq, layer);
    let scale = read_hidden(model, TensorKind::AttentionNorm, layer, wq.input, hidden, vector);
    let (q, rest) = split(scratch, dim); // [n_heads, head_dim]
    let (k, rest) = split(rest, kv_dim); // [n_kv_heads, head_dim]
    let (v, _) = split(rest, kv_dim); // [n_kv_heads, head_dim]
    wq.forward(vector, scale, frac, q);
    model.linear(TensorKind::Wk, layer).forward(vector, scale, frac, k);
    model.linear(TensorKind::Wv, layer).forward(vector, scale, frac, v);

    // To 15 bits, one after the other through `vector`: values and keys into the cache, queries stay. The
    // unit of each is `2^unit` last bits of the residual stream.
    let turns = model.rope(position); // [head_dim / 2, 2]
    let (mut keys, mut values) = cache.block(layer);
    let unit = to_15_bits(v, vector, &[]);
    values.store(position, split(vector, kv_dim).0, unit);
    let unit = to_15_bits(k, vector, turns);
    keys.store(position, split(vector, kv_dim).0, unit);
    let unit = to_15_bits(q, vector, turns);

    let (out, scores) = split(scratch, dim); // [n_heads, head_dim], [seq_len]
    let queries = split(vector, dim).0;
    attend(queries, unit, frac, (&keys, &values), position + 1, Scratch { scores, weights }, out);
    add_product(&model.linear(TensorKind::Wo, layer), scratch, -frac, vector, frac, hidden);
}

/// `hidden += w2 (act(w1 x) * w3 x)` or `w2 act(w1 x)` with `x = norm(hidden)`
pub fn mlp(model: &Model<'_>, layer: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (dim, hidden_dim, frac) = (config.dim, config.hidden_dim, model.frac());
    let Memory { hidden, scratch, vector, .. } = memory;

    let w1 = model.linear(TensorKind::W1, layer);
    let (x, _) = split(vector, dim.next_multiple_of(4));
    let scale = read_hidden(model, TensorKind::MlpNorm, layer, w1.input, hidden, x);
    let (gate, up) = split(scratch, hidden_dim); // [hidden_dim] each
    let up = split(up, if config.gated { hidden_dim } else { 0 }).0;
    w1.forward(x, scale, frac, gate);
    if config.gated {
        model.linear(TensorKind::W3, layer).forward(x, scale, frac, up);
    }
    let exponent = activation::apply(config.activation, gate, up, frac);
    let (x, _) = split(vector, hidden_dim.next_multiple_of(4));
    add_product(&model.linear(TensorKind::W2, layer), scratch, exponent, x, frac, hidden);
}

/// `logits [vocab_size] = head norm(hidden)`, at the beginning of the scratch memory.
pub fn head(model: &Model<'_>, memory: &mut Memory<'_>) {
    let config = model.config();
    let Memory { hidden, scratch, vector, .. } = memory;
    let (vector, _) = split(vector, config.dim.next_multiple_of(4));
    let head = model.linear(TensorKind::Head, 0);
    let scale = read_hidden(model, TensorKind::FinalNorm, 0, head.input, hidden, vector);
    head.forward(vector, scale, model.frac(), split(scratch, config.vocab_size).0);
}

/// Whether an element of the residual stream is at the limit of its range.
pub fn is_saturated(memory: &Memory<'_>) -> bool {
    peak(memory.hidden) >= i32::MAX as u32
}

/// `vector = norm(hidden)`, as a matrix with inputs of this width reads it.
fn read_hidden(
    model: &Model<'_>,
    norm: TensorKind,
    layer: usize,
    width: InputWidth,
    hidden: &[i32],
    vector: &mut [i16],
) -> Scale {
    let scale = model.norm(norm, layer).forward(hidden, model.frac(), width, vector);
    kernel::arrange(vector);
    scale
}

/// `hidden += matrix (values * 2^exponent)` with the values at the beginning of the scratch memory, where the
/// product goes, too: it may be longer than the values.
fn add_product(
    matrix: &Linear<'_>,
    scratch: &mut [i32],
    exponent: i32,
    vector: &mut [i16],
    frac: i32,
    hidden: &mut [i32],
) {
    let scale = quantize(split(scratch, matrix.cols).0, exponent, matrix.input, vector);
    kernel::arrange(vector);
    let (out, _) = split(scratch, hidden.len());
    matrix.forward(vector, scale, frac, out);
    for (h, y) in hidden.iter_mut().zip(out) {
        *h = h.saturating_add(*y);
    }
}

/// Queries, keys or values to 15 bits, turned by the position's row of the rotary table if there is one.
fn to_15_bits(values: &[i32], vector: &mut [i16], turns: &[i16]) -> i32 {
    let unit = block_shift_of(values, 15);
    round_all(values, unit, vector);
    if turns.is_empty() {
        return unit;
    }
    rotate(split(vector, values.len()).0, turns);
    unit + 1
}

/// The first `n` elements and the rest; the workspace plan gives every region what is asked of it here.
fn split<T>(all: &mut [T], n: usize) -> (&mut [T], &mut [T]) {
    all.split_at_mut_checked(n).unwrap_or_default()
}
