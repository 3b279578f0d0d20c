//! A token's way through the model: embedding, blocks, head. Read it from top to bottom.
//!
//! The residual stream `hidden` is i32 with `frac` fraction bits from the first line to the last; each half
//! of a block reads it through a norm and adds its result to it. Matrices read a vector of 16-bit integers
//! with one scale, and write i32 with `frac` fraction bits.

use crate::activation;
use crate::attention::{Scratch, attend, query_shift, rotate};
use crate::format::{Positions, TensorKind};
use crate::kernel::{self, Input};
use crate::linear::Linear;
use crate::model::Model;
use crate::vector::{BITS, Scale, block_shift, narrow, quantize, round_all};
use crate::workspace::Memory;

/// Token to residual stream: `hidden = embedding[token]`, plus the position's vector where it is learned.
pub fn embed(model: &Model<'_>, token: u16, position: usize, memory: &mut Memory<'_>) {
    memory.hidden.fill(0);
    model.add_row(TensorKind::Embedding, usize::from(token), memory.hidden);
    if matches!(model.config().positions, Positions::Learned) {
        model.add_row(TensorKind::PositionEmbedding, position, memory.hidden);
    }
    memory.hidden_size = kernel::magnitude(memory.hidden);
}

/// `hidden += attention(norm(hidden))`
pub fn attention(model: &Model<'_>, layer: usize, position: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (dim, kv_dim, frac) = (config.dim, config.kv_dim(), model.frac());
    let Memory { hidden, hidden_size, scratch, operand, vector, weights, cache, .. } = memory;

    let wq = model.linear(TensorKind::Wq, layer);
    let (x, scale) =
        read_hidden(model, TensorKind::AttentionNorm, layer, &wq, (hidden, *hidden_size), vector, operand);
    let (q, rest) = split(scratch, dim); // [n_heads, head_dim]
    let (k, rest) = split(rest, kv_dim); // [n_kv_heads, head_dim]
    let (v, _) = split(rest, kv_dim); // [n_kv_heads, head_dim]
    let q_size = wq.forward(&x, scale, frac, q);
    let k_size = model.linear(TensorKind::Wk, layer).forward(&x, scale, frac, k);
    let v_size = model.linear(TensorKind::Wv, layer).forward(&x, scale, frac, v);

    // To 14 bits, one after the other through `vector`: values and keys into the cache, queries stay. The
    // unit of each is `2^unit` last bits of the residual stream.
    let turns = model.rope(position); // [head_dim / 2, 2]
    let (mut keys, mut values) = cache.block(layer);
    let unit = block_shift(v_size, BITS);
    let (heads, _) = split(vector, kv_dim);
    round_all(v, unit, heads);
    values.store(position, heads, unit);
    let unit = block_shift(k_size, BITS);
    round_all(k, unit, heads);
    rotate(heads, turns);
    keys.store(position, heads, unit);
    let unit = query_shift(q_size, config.head_dim(), frac);
    let (queries, _) = split(vector, dim);
    round_all(q, unit, queries);
    rotate(queries, turns);

    let (out, scores) = split(scratch, dim); // [n_heads, head_dim], [HEADS, seq_len]
    let size = attend(queries, unit, frac, (&keys, &values), position, Scratch { scores, weights }, out);
    let wo = model.linear(TensorKind::Wo, layer);
    *hidden_size = add_product(&wo, scratch, (size, -frac), vector, operand, frac, hidden);
}

/// `hidden += w2 (act(w1 x) * w3 x)` or `w2 act(w1 x)` with `x = norm(hidden)`
pub fn mlp(model: &Model<'_>, layer: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (hidden_dim, frac) = (config.hidden_dim, model.frac());
    let Memory { hidden, hidden_size, scratch, operand, vector, .. } = memory;

    let w1 = model.linear(TensorKind::W1, layer);
    let (x, scale) =
        read_hidden(model, TensorKind::MlpNorm, layer, &w1, (hidden, *hidden_size), vector, operand);
    let (gate, up) = split(scratch, hidden_dim); // [hidden_dim] each
    let up = split(up, if config.gated { hidden_dim } else { 0 }).0;
    let gate_size = w1.forward(&x, scale, frac, gate);
    let up = if config.gated {
        let size = model.linear(TensorKind::W3, layer).forward(&x, scale, frac, up);
        Some((&*up, size))
    } else {
        None
    };
    let unit = activation::apply(config.activation, (gate, gate_size), up, frac);
    let w2 = model.linear(TensorKind::W2, layer);
    *hidden_size = add_product(&w2, scratch, unit, vector, operand, frac, hidden);
}

/// `logits [vocab_size] = head norm(hidden)`, at the beginning of the scratch memory.
pub fn head(model: &Model<'_>, memory: &mut Memory<'_>) {
    let Memory { hidden, hidden_size, scratch, operand, vector, .. } = memory;
    let head = model.linear(TensorKind::Head, 0);
    let (x, scale) =
        read_hidden(model, TensorKind::FinalNorm, 0, &head, (hidden, *hidden_size), vector, operand);
    head.forward(&x, scale, model.frac(), split(scratch, model.config().vocab_size).0);
}

/// Whether an element of the residual stream is in the outer half of its range, one doubling from its limit.
pub fn is_near_saturation(memory: &Memory<'_>) -> bool {
    memory.hidden_size >= 1 << 30
}

/// `norm(hidden)`, as a matrix wants it.
fn read_hidden<'v>(
    model: &Model<'_>,
    norm: TensorKind,
    layer: usize,
    reader: &Linear<'_>,
    (hidden, size): (&[i32], u32),
    vector: &'v mut [i16],
    operand: &'v mut [u32],
) -> (Input<'v>, Scale) {
    let (x, _) = split(vector, hidden.len().next_multiple_of(4));
    let scale = model.norm(norm, layer).forward(hidden, size, model.frac(), x);
    prepare(reader, x, scale, operand)
}

/// A vector of 14 bits, as a matrix wants it.
pub fn prepare<'v>(
    reader: &Linear<'_>,
    x: &'v mut [i16],
    scale: Scale,
    operand: &'v mut [u32],
) -> (Input<'v>, Scale) {
    let (factor, scale) = narrow(x, scale, reader.input);
    if reader.sparse {
        return (kernel::prepare_sparse(&reader.weights, reader.input, factor, x, operand), scale);
    }
    (kernel::prepare(&reader.weights, reader.input, factor, x, operand), scale)
}

/// `hidden += matrix (values * 2^exponent)` with the values, of this magnitude, at the beginning of the scratch memory,
/// where the product goes, too: it may be longer than the values. Returns the magnitude of `hidden`.
fn add_product(
    matrix: &Linear<'_>,
    scratch: &mut [i32],
    (size, exponent): (u32, i32),
    vector: &mut [i16],
    operand: &mut [u32],
    frac: i32,
    hidden: &mut [i32],
) -> u32 {
    let (x, _) = split(vector, matrix.cols.next_multiple_of(4));
    let scale = quantize(split(scratch, matrix.cols).0, size, exponent, x);
    let (x, scale) = prepare(matrix, x, scale, operand);
    let (out, _) = split(scratch, hidden.len());
    matrix.forward(&x, scale, frac, out);
    kernel::add(hidden, out)
}

/// The first `n` elements and the rest; the workspace plan gives every region what is asked of it here.
fn split<T>(all: &mut [T], n: usize) -> (&mut [T], &mut [T]) {
    all.split_at_mut_checked(n).unwrap_or_default()
}
