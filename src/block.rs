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
use crate::norm::Norm;
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
pub fn attention(model: &Model<'_>, layer: usize, positions: Range<usize>, memory: &mut Memory<'_>) {
    let (config, count) = (model.config(), positions.len());
    let (dim, kv_dim, frac) = (config.dim, config.kv_dim(), model.frac());
    let Memory { hidden, sizes, out_sizes, scales, scratch, operand, vector, weights, cache, .. } = memory;
    let [q_sizes, k_sizes, v_sizes] = out_sizes;

    let wq = model.linear(TensorKind::Wq, layer);
    let norm = model.norm(TensorKind::AttentionNorm, layer);
    let x = read_hidden(&norm, &wq, count, frac, (hidden, sizes), (vector, operand, scales));
    let (q, rest) = split(scratch, count * dim); // [count, n_heads, head_dim]
    let (k, rest) = split(rest, count * kv_dim); // [count, n_kv_heads, head_dim]
    let (v, _) = split(rest, count * kv_dim); // [count, n_kv_heads, head_dim]
    wq.forward(&x, frac, q, q_sizes);
    model.linear(TensorKind::Wk, layer).forward(&x, frac, k, k_sizes);
    model.linear(TensorKind::Wv, layer).forward(&x, frac, v, v_sizes);

    // To 14 bits: values and keys into the cache, queries stay. The unit of each is `2^unit` last bits of the residual
    // stream.
    let rope = model.rope(); // [seq_len, head_dim / 2, 2]
    let (mut keys, mut values) = cache.block(layer, positions.start);
    let wo = model.linear(TensorKind::Wo, layer);
    let columns = wo.cols.next_multiple_of(4);
    let query_unit = |size| query_shift(size, config.head_dim(), frac);
    let (mut qs, mut ks, mut vs, mut xs) = (q, k, v, &mut **vector);
    let of_each = q_sizes.iter().zip(&*k_sizes).zip(&*v_sizes);
    for (position, ((&q_size, &k_size), &v_size)) in positions.clone().zip(of_each) {
        let turns = rope.at(position);
        let x = next(&mut xs, columns);
        let (heads, _) = split(x, kv_dim);
        let unit = block_shift(v_size, BITS);
        round_all(next(&mut vs, kv_dim), unit, heads);
        values.store(position, heads, unit);
        let unit = block_shift(k_size, BITS);
        round_all(next(&mut ks, kv_dim), unit, heads);
        rotate(heads, turns);
        keys.store(position, heads, unit);
        let (queries, _) = split(x, dim);
        round_all(next(&mut qs, dim), query_unit(q_size), queries);
        rotate(queries, turns);
    }

    // Nothing in the scratch memory is needed any more, and each position's queries give way to what its heads found.
    let (mut xs, (out, scores)) = (&mut **vector, split(scratch, dim)); // [n_heads, head_dim], [HEADS, seq_len]
    for (position, (&q_size, scale)) in positions.zip(q_sizes.iter().zip(&mut *scales)) {
        let x = next(&mut xs, columns);
        let scratch = Scratch { scores, weights };
        let (queries, cached) = (split(x, dim).0, (&keys, &values));
        let size = attend(queries, query_unit(q_size), frac, cached, position, scratch, out);
        *scale = quantize(out, size, -frac, x);
    }
    let x = wo.inputs(count, vector, operand, scales);
    add_products(&wo, &x, count, frac, scratch, (hidden, sizes));
}

/// `hidden += w2 (act(w1 x) * w3 x)` or `w2 act(w1 x)` with `x = norm(hidden)`
pub fn mlp(model: &Model<'_>, layer: usize, count: usize, memory: &mut Memory<'_>) {
    let config = model.config();
    let (hidden_dim, frac) = (config.hidden_dim, model.frac());
    let Memory { hidden, sizes, out_sizes, scales, scratch, operand, vector, .. } = memory;
    let [gate_sizes, up_sizes, _] = out_sizes;

    let w1 = model.linear(TensorKind::W1, layer);
    let norm = model.norm(TensorKind::MlpNorm, layer);
    let x = read_hidden(&norm, &w1, count, frac, (hidden, sizes), (vector, operand, scales));
    let (gate, rest) = split(scratch, count * hidden_dim); // [count, hidden_dim]
    let (up, _) = split(rest, if config.gated { count * hidden_dim } else { 0 }); // the same, or nothing
    w1.forward(&x, frac, gate, gate_sizes);
    if config.gated {
        model.linear(TensorKind::W3, layer).forward(&x, frac, up, up_sizes);
    }

    let w2 = model.linear(TensorKind::W2, layer);
    let (mut gates, mut ups, mut xs) = (gate, up, &mut **vector);
    let of_each = gate_sizes.iter().zip(&*up_sizes).zip(&mut *scales);
    for ((&gate_size, &up_size), scale) in of_each.take(count) {
        let gate = next(&mut gates, hidden_dim);
        let up = config.gated.then(|| (&*next(&mut ups, hidden_dim), up_size));
        let (size, unit) = activation::apply(config.activation, (gate, gate_size), up, frac);
        *scale = quantize(gate, size, unit, next(&mut xs, w2.cols.next_multiple_of(4)));
    }
    let x = w2.inputs(count, vector, operand, scales);
    add_products(&w2, &x, count, frac, scratch, (hidden, sizes));
}

/// `logits [n_outputs] = head norm(hidden)` of the newest of `count` positions, at the beginning of the scratch memory.
pub fn head(model: &Model<'_>, count: usize, memory: &mut Memory<'_>) {
    let Memory { hidden, sizes, scales, scratch, operand, vector, .. } = memory;
    let (config, frac, newest) = (model.config(), model.frac(), count.saturating_sub(1));
    let head = model.linear(TensorKind::Head, 0);
    let norm = model.norm(TensorKind::FinalNorm, 0);
    let hidden = (row(hidden, config.dim, newest), row(sizes, 1, newest));
    let x = read_hidden(&norm, &head, 1, frac, (hidden.0, hidden.1), (vector, operand, scales));
    head.forward(&x, frac, split(scratch, config.n_outputs()).0, &mut []);
}

/// How many of `count` positions have an element of the residual stream in the outer half of its range, one doubling from
/// its limit.
pub fn near_saturation(count: usize, memory: &Memory<'_>) -> u32 {
    memory.sizes.iter().take(count).map(|&size| u32::from(size >= 1 << 30)).sum()
}

/// `norm(hidden)` of `count` positions, with the magnitudes of `hidden`, as a matrix wants it.
#[inline(never)]
fn read_hidden<'v>(
    norm: &Norm<'_>,
    reader: &Linear<'_>,
    count: usize,
    frac: i32,
    (hidden, sizes): (&mut [i32], &[u32]),
    (vector, operand, scales): (&'v mut [i16], &'v mut [u32], &'v mut [Scale]),
) -> Inputs<'v> {
    // A norm is as wide as the matrix that reads it.
    let (dim, columns) = (reader.cols, reader.cols.next_multiple_of(4));
    let (mut hiddens, mut xs) = (hidden, &mut *vector);
    for (&size, scale) in sizes.iter().zip(&mut *scales).take(count) {
        *scale = norm.forward(next(&mut hiddens, dim), size, frac, next(&mut xs, columns));
    }
    reader.inputs(count, vector, operand, scales)
}

/// `hidden += matrix x` for `count` positions, by way of `out`; `sizes` become the magnitudes of `hidden`.
#[inline(never)]
fn add_products(
    matrix: &Linear<'_>,
    x: &Inputs<'_>,
    count: usize,
    frac: i32,
    out: &mut [i32],
    (hidden, sizes): (&mut [i32], &mut [u32]),
) {
    let dim = matrix.scales.len();
    let (out, _) = split(out, count * dim);
    matrix.forward(x, frac, out, &mut []);
    let (mut hiddens, mut outs) = (hidden, out);
    for size in sizes.iter_mut().take(count) {
        *size = kernel::add(next(&mut hiddens, dim), next(&mut outs, dim));
    }
}

/// The first `n` elements and the rest; the workspace plan gives every region what is asked of it here.
fn split<T>(all: &mut [T], n: usize) -> (&mut [T], &mut [T]) {
    all.split_at_mut_checked(n).unwrap_or_default()
}
