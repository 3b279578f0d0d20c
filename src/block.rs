//! A token's way through the model: embedding, blocks, head. Read it from top to bottom.
//!
//! The residual stream `hidden` is i32 with `frac` fraction bits from the first line to the last; each half
//! of a block reads it through a norm and adds its result to it. Matrices read a vector of 16-bit integers
//! with one scale, and write i32 with `frac` fraction bits.
//!
//! Several positions that follow one another go this way together, so that a matrix is read once for all of them; what is
//! between the matrices is done for one after the other. The numbers are those of one position at a time.

use crate::activation;
use crate::attention::{Scratch, attend, query_shift, rotate};
use crate::format::{Positions, TensorKind};
use crate::kernel;
use crate::linear::{Inputs, Linear};
use crate::model::Model;
use crate::vector::{BITS, Scale, block_shift, next, quantize, round_all, row};
use crate::workspace::Memory;
use core::ops::Range;

/// Tokens, which are in the history, to residual streams: `hidden = embedding[token]`, plus the position's vector where it
/// is learned.
pub fn embed(model: &Model<'_>, positions: Range<usize>, memory: &mut Memory<'_>) {
    let Memory { hidden, sizes, history, .. } = memory;
    let tokens = history.get(positions.clone()).unwrap_or_default();
    let mut rest = &mut **hidden;
    for ((token, position), size) in tokens.iter().zip(positions).zip(sizes) {
        let hidden = next(&mut rest, model.config().dim);
        hidden.fill(0);
        model.add_row(TensorKind::Embedding, usize::from(token.0), hidden);
        if matches!(model.config().positions, Positions::Learned) {
            model.add_row(TensorKind::PositionEmbedding, position, hidden);
        }
        *size = kernel::magnitude(hidden);
    }
}

/// `hidden += attention(norm(hidden))`
///
/// Here and below, a single position, which each token that is written is, gets machine code without loops over positions.
pub fn attention(model: &Model<'_>, layer: usize, positions: Range<usize>, memory: &mut Memory<'_>) {
    if positions.len() == 1 {
        attention_of(model, layer, positions.start, 1, memory);
    } else {
        attention_of(model, layer, positions.start, positions.len(), memory);
    }
}

/// `hidden += w2 (act(w1 x) * w3 x)` or `w2 act(w1 x)` with `x = norm(hidden)`
pub fn mlp(model: &Model<'_>, layer: usize, count: usize, memory: &mut Memory<'_>) {
    if count == 1 { mlp_of(model, layer, 1, memory) } else { mlp_of(model, layer, count, memory) }
}

/// [`attention`] of `count` positions from `first` on.
#[inline(always)]
fn attention_of(model: &Model<'_>, layer: usize, first: usize, count: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (dim, kv_dim, frac) = (config.dim, config.kv_dim(), model.frac());
    let positions = first..first + count;
    let Memory { hidden, sizes, out_sizes, scales, scratch, operand, vector, weights, cache, .. } = memory;

    let wq = model.linear(TensorKind::Wq, layer);
    let x = read_hidden(
        model,
        TensorKind::AttentionNorm,
        layer,
        &wq,
        count,
        (hidden, sizes),
        (vector, operand, scales),
    );
    let (q, rest) = split(scratch, count * dim); // [count, n_heads, head_dim]
    let (k, rest) = split(rest, count * kv_dim); // [count, n_kv_heads, head_dim]
    let (v, _) = split(rest, count * kv_dim); // [count, n_kv_heads, head_dim]
    let [q_sizes, k_sizes, v_sizes] = &mut *out_sizes;
    wq.forward(&x, count, frac, q, q_sizes);
    model.linear(TensorKind::Wk, layer).forward(&x, count, frac, k, k_sizes);
    model.linear(TensorKind::Wv, layer).forward(&x, count, frac, v, v_sizes);

    // To 14 bits, one after the other through `vector`: values and keys into the cache, queries stay. The
    // unit of each is `2^unit` last bits of the residual stream.
    let rope = model.rope(); // [seq_len, head_dim / 2, 2]
    let (mut keys, mut values) = cache.block(layer, positions.start);
    let (heads, _) = split(vector, kv_dim);
    let (mut ks, mut vs) = (k, v);
    for ((position, &k_size), &v_size) in positions.clone().zip(&*k_sizes).zip(&*v_sizes) {
        let unit = block_shift(v_size, BITS);
        round_all(next(&mut vs, kv_dim), unit, heads);
        values.store(position, heads, unit);
        let unit = block_shift(k_size, BITS);
        round_all(next(&mut ks, kv_dim), unit, heads);
        rotate(heads, rope.at(position));
        keys.store(position, heads, unit);
    }
    let unit = |size| query_shift(size, config.head_dim(), frac);
    let wo = model.linear(TensorKind::Wo, layer);
    let columns = wo.cols.next_multiple_of(4);
    let (mut qs, mut vectors) = (q, &mut **vector);
    for (position, &q_size) in positions.clone().zip(&*q_sizes) {
        let (queries, _) = split(next(&mut vectors, columns), dim);
        round_all(next(&mut qs, dim), unit(q_size), queries);
        rotate(queries, rope.at(position));
    }

    // Nothing in the scratch memory is needed any more, and each position's queries give way to what its heads found.
    let x = wo.inputs(count, vector, operand, scales, |i, x| {
        let unit = unit(q_sizes.get(i).copied().unwrap_or(0));
        let (out, scores) = split(scratch, dim); // [n_heads, head_dim], [HEADS, seq_len]
        let scratch = Scratch { scores, weights };
        let size = attend(split(x, dim).0, unit, frac, (&keys, &values), positions.start + i, scratch, out);
        quantize(out, size, -frac, x)
    });
    add_products(&wo, &x, frac, scratch, (hidden, sizes), (count, q_sizes));
}

/// [`mlp`] of `count` positions.
#[inline(always)]
fn mlp_of(model: &Model<'_>, layer: usize, count: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (hidden_dim, frac) = (config.hidden_dim, model.frac());
    let Memory { hidden, sizes, out_sizes, scales, scratch, operand, vector, .. } = memory;

    let w1 = model.linear(TensorKind::W1, layer);
    let x = read_hidden(
        model,
        TensorKind::MlpNorm,
        layer,
        &w1,
        count,
        (hidden, sizes),
        (vector, operand, scales),
    );
    let (gate, up) = split(scratch, count * hidden_dim); // [count, hidden_dim] each
    let [gate_sizes, up_sizes, _] = &mut *out_sizes;
    w1.forward(&x, count, frac, gate, gate_sizes);
    if config.gated {
        let (up, _) = split(up, count * hidden_dim);
        model.linear(TensorKind::W3, layer).forward(&x, count, frac, up, up_sizes);
    }
    let w2 = model.linear(TensorKind::W2, layer);
    let mut sizes_of_both = gate_sizes.iter().zip(&*up_sizes);
    let x = w2.inputs(count, vector, operand, scales, |i, x| {
        let (&gate_size, &up_size) = sizes_of_both.next().unwrap_or((&0, &0));
        let gate = row(gate, hidden_dim, i);
        let up = config.gated.then(|| (&*row(up, hidden_dim, i), up_size));
        let (size, unit) = activation::apply(config.activation, (gate, gate_size), up, frac);
        quantize(gate, size, unit, x)
    });
    let [out_sizes, ..] = out_sizes;
    add_products(&w2, &x, frac, scratch, (hidden, sizes), (count, out_sizes));
}

/// `logits [vocab_size] = head norm(hidden)` of the newest of `count` positions, at the beginning of the scratch memory.
pub fn head(model: &Model<'_>, count: usize, memory: &mut Memory<'_>) {
    let Memory { hidden, sizes, out_sizes, scales, scratch, operand, vector, .. } = memory;
    let (dim, newest) = (model.config().dim, count.saturating_sub(1));
    let head = model.linear(TensorKind::Head, 0);
    let newest = (row(hidden, dim, newest), row(sizes, 1, newest));
    let x = read_hidden(
        model,
        TensorKind::FinalNorm,
        0,
        &head,
        1,
        (newest.0, newest.1),
        (vector, operand, scales),
    );
    head.forward(&x, 1, model.frac(), split(scratch, model.config().vocab_size).0, &mut out_sizes[0]);
}

/// How many of `count` positions have an element of the residual stream in the outer half of its range, one doubling from
/// its limit.
pub fn near_saturation(count: usize, memory: &Memory<'_>) -> u32 {
    memory.sizes.iter().take(count).map(|&size| u32::from(size >= 1 << 30)).sum()
}

/// `norm(hidden)` of `count` positions, with the magnitudes of `hidden`, as a matrix wants it.
#[inline(always)]
fn read_hidden<'v>(
    model: &Model<'_>,
    norm: TensorKind,
    layer: usize,
    reader: &Linear<'_>,
    count: usize,
    (hidden, sizes): (&mut [i32], &[u32]),
    (vector, operand, scales): (&'v mut [i16], &'v mut [u32], &'v mut [Scale]),
) -> Inputs<'v> {
    let (dim, frac) = (model.config().dim, model.frac());
    let norm = model.norm(norm, layer);
    let (mut rest, mut each) = (hidden, sizes.iter());
    reader.inputs(count, vector, operand, scales, |_, x| {
        norm.forward(next(&mut rest, dim), each.next().copied().unwrap_or(0), frac, x)
    })
}

/// `hidden += matrix x` for `count` positions, by way of the scratch memory; `sizes` become the magnitudes of `hidden`.
#[inline(always)]
fn add_products(
    matrix: &Linear<'_>,
    x: &Inputs<'_>,
    frac: i32,
    scratch: &mut [i32],
    (hidden, sizes): (&mut [i32], &mut [u32]),
    (count, out_sizes): (usize, &mut [u32]),
) {
    let dim = matrix.scales.len();
    let (out, _) = split(scratch, count * dim);
    matrix.forward(x, count, frac, out, out_sizes);
    let (mut hidden, mut out) = (hidden, out);
    if let (1, [size, ..]) = (count, &mut *sizes) {
        *size = kernel::add(hidden, out);
        return;
    }
    for size in sizes.iter_mut().take(count) {
        *size = kernel::add(next(&mut hidden, dim), next(&mut out, dim));
    }
}

/// The first `n` elements and the rest; the workspace plan gives every region what is asked of it here.
fn split<T>(all: &mut [T], n: usize) -> (&mut [T], &mut [T]) {
    all.split_at_mut_checked(n).unwrap_or_default()
}
