//! Attention with grouped key and value heads (Vaswani et al. 2017, section 3.2; Ainslie et al. 2023): causal,
//! bidirectional, or across from one sequence to another.
//!
//! Rows are taken in blocks: a causal block computes its scores against the keys up to its own last
//! row only, which saves almost half of the work that a full matrix and a mask would do.

use super::dropout::{apply as drop, check_rate};
use super::graph::{Backward, Forward, Freeze, Keeps, Mode, Operation, Recorder, Training, Value};
use super::math::{dot, softmax, vectorized};
use super::matrix::{Matrix, MatrixMut, Write, matmul};
use super::real::Real;

/// Rows that are computed together.
const BLOCK: usize = 32;

/// How rows of queries `[dim]`, of keys `[kv_dim]` and of values `[kv_dim]` are divided.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Number of query heads, a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Number of key heads and of value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Heads {
    /// Width of the query heads together.
    pub const fn dim(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of the key heads together.
    pub const fn kv_dim(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// What a row sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// The rows up to itself.
    Causal,
    /// Every row of its sequence.
    Bidirectional,
}

/// Saves the attention weights of a block behind one another, `[rows, keys that any of them sees]`.
#[derive(Debug, Clone)]
struct Attention {
    heads: Heads,
    mask: Mask,
    sequences: usize,
    /// Rows of a sequence of queries.
    queries: usize,
    /// Rows of a sequence of keys.
    keys: usize,
    /// Whether queries come from the first input and keys and values from the second, instead of all from the first.
    across: bool,
    /// Dropout of the weights.
    rate: f32,
    place: u64,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// Each row's attention to rows of its own sequence: `qkv` `[rows, dim + 2 kv_dim]`, a row
    /// `[query heads | key heads | value heads]`, to `[rows, dim]`.
    pub fn attention(&mut self, heads: Heads, mask: Mask, qkv: Value) -> Value {
        let attention = self.within(heads, mask, qkv, 0.0);
        self.record(attention, &[qkv], qkv.rows(), heads.dim())
    }

    /// Each row's attention to all rows of the same sequence of another value: `q` `[rows, dim]` and `kv`
    /// `[other rows, 2 kv_dim]`, a row `[key heads | value heads]`, to `[rows, dim]`.
    pub fn cross_attention(&mut self, heads: Heads, q: Value, kv: Value) -> Value {
        let attention = self.between(heads, q, kv, 0.0);
        self.record(attention, &[q, kv], q.rows(), heads.dim())
    }

    fn within(&mut self, heads: Heads, mask: Mask, qkv: Value, rate: f32) -> Attention {
        assert_eq!(qkv.width(), heads.dim() + 2 * heads.kv_dim(), "the width of queries, keys and values");
        let (sequences, place) = (self.sequences(), if rate > 0.0 { self.place() } else { 0 });
        let rows = qkv.rows() / sequences;
        Attention { heads, mask, sequences, queries: rows, keys: rows, across: false, rate, place }
    }

    fn between(&mut self, heads: Heads, q: Value, kv: Value, rate: f32) -> Attention {
        assert_eq!(q.width(), heads.dim(), "the width of queries");
        assert_eq!(kv.width(), 2 * heads.kv_dim(), "the width of keys and values");
        let (sequences, place) = (self.sequences(), if rate > 0.0 { self.place() } else { 0 });
        let (queries, keys) = (q.rows() / sequences, kv.rows() / sequences);
        Attention { heads, mask: Mask::Bidirectional, sequences, queries, keys, across: true, rate, place }
    }
}

impl<R: Real> Recorder<Training, R> {
    /// [`attention`](Self::attention) under dropout of its weights.
    pub fn attention_with_dropout(&mut self, heads: Heads, mask: Mask, rate: f32, qkv: Value) -> Value {
        check_rate(rate);
        let attention = self.within(heads, mask, qkv, rate);
        self.record(attention, &[qkv], qkv.rows(), heads.dim())
    }

    /// [`cross_attention`](Self::cross_attention) under dropout of its weights.
    pub fn cross_attention_with_dropout(&mut self, heads: Heads, rate: f32, q: Value, kv: Value) -> Value {
        check_rate(rate);
        let attention = self.between(heads, q, kv, rate);
        self.record(attention, &[q, kv], q.rows(), heads.dim())
    }
}

/// A block of rows of a head of a sequence, and where its numbers lie.
struct Block {
    /// Which of its input's rows is the first.
    first: usize,
    /// Rows.
    rows: usize,
    /// Keys that any of them sees.
    end: usize,
    /// Where queries and results begin in the block's first row's output.
    y: usize,
    /// Where queries, keys and values begin in their inputs.
    q: usize,
    k: usize,
    v: usize,
    /// Where the block's weights begin.
    p: usize,
    /// Names the block's mask of dropout.
    name: u64,
}

impl Attention {
    /// Widths of the rows that hold queries, and keys and values.
    fn strides(&self) -> (usize, usize) {
        let (dim, kv_dim) = (self.heads.dim(), self.heads.kv_dim());
        if self.across { (dim, 2 * kv_dim) } else { (dim + 2 * kv_dim, dim + 2 * kv_dim) }
    }

    fn scale<R: Real>(&self) -> R {
        R::ONE / R::of(self.heads.head_dim as f64).sqrt()
    }

    /// Where the weights of the block that begins at row `first` lie among those of its head.
    fn weights_before(&self, first: usize) -> usize {
        match self.mask {
            Mask::Bidirectional => first * self.keys,
            // Whole blocks, each of which sees one block more than the one before.
            Mask::Causal if first < self.queries => first * (first + BLOCK) / 2,
            Mask::Causal => {
                let last = (first - 1) / BLOCK * BLOCK;
                self.weights_before(last) + (first - last) * first
            }
        }
    }

    /// The number of weights of all heads of all sequences.
    fn weights(&self) -> usize {
        self.sequences * self.heads.n_heads * self.weights_before(self.queries)
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        let &Self { heads, queries, keys, .. } = self;
        let (q_stride, kv_stride) = self.strides();
        let head_weights = self.weights_before(queries);
        let keys_at = if self.across { 0 } else { heads.dim() };
        let group = heads.n_heads / heads.n_kv_heads;
        (0..self.sequences * heads.n_heads).flat_map(move |i| {
            let (sequence, head) = (i / heads.n_heads, i % heads.n_heads);
            let key = keys_at + head / group * heads.head_dim;
            (0..queries).step_by(BLOCK).map(move |first| {
                let rows = (queries - first).min(BLOCK);
                let row = sequence * queries + first;
                let keys_start = sequence * keys * kv_stride;
                Block {
                    first,
                    rows,
                    end: if self.mask == Mask::Causal { first + rows } else { keys },
                    y: row * heads.dim() + head * heads.head_dim,
                    q: row * q_stride + head * heads.head_dim,
                    k: keys_start + key,
                    v: keys_start + key + heads.kv_dim(),
                    p: i * head_weights + self.weights_before(first),
                    name: (i * queries + first) as u64,
                }
            })
        })
    }

    /// How many keys row `i` of a block sees.
    fn seen(&self, block: &Block, i: usize) -> usize {
        if self.mask == Mask::Causal { block.first + i + 1 } else { block.end }
    }

    /// Under dropout, the weights `p` of a block as they are applied, in `dropped`; else the weights themselves.
    fn dropped<'a, R: Real>(&self, block: &Block, key: u64, p: &'a [R], dropped: &'a mut [R]) -> &'a [R] {
        if self.rate == 0.0 {
            return p;
        }
        dropped[..p.len()].copy_from_slice(p);
        drop(self.rate, &[key, self.place, block.name], &mut dropped[..p.len()]);
        &dropped[..p.len()]
    }
}

impl<R: Real> Operation<R> for Attention {
    fn keeps(&self) -> Keeps {
        Keeps::BOTH
    }

    fn saved(&self) -> usize {
        // Under dropout, and a block of weights as they are applied.
        self.weights() + if self.rate > 0.0 { BLOCK * self.keys } else { 0 }
    }

    fn scratch(&self) -> usize {
        BLOCK * self.keys * if self.rate > 0.0 { 2 } else { 1 }
    }

    /// The weights `[sequences, n_heads, queries, keys]`; 0 for what a row does not see.
    fn inside(&self, saved: &[R]) -> Vec<R> {
        let mut weights = vec![R::ZERO; self.sequences * self.heads.n_heads * self.queries * self.keys];
        let mut rows = weights.chunks_exact_mut(self.keys);
        // Blocks are in the order of the rows.
        for block in self.blocks() {
            let found = saved[block.p..][..block.rows * block.end].chunks_exact(block.end);
            for (row, found) in rows.by_ref().take(block.rows).zip(found) {
                row[..block.end].copy_from_slice(found);
            }
        }
        weights
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let Heads { head_dim, .. } = self.heads;
        let (dim, scale) = (self.heads.dim(), self.scale());
        let (q_stride, kv_stride) = self.strides();
        let [qs, kvs] = if self.across { pass.inputs } else { [pass.inputs[0]; 2] };
        let (weights, spare) = pass.saved.split_at_mut(self.weights());
        for block in self.blocks() {
            let Block { rows, end, .. } = block;
            let scores = &mut weights[block.p..][..rows * end];
            (pass.multiply)(
                MatrixMut::new(scores, rows, end),
                Write::Set,
                Matrix::strided(&qs[block.q..], rows, head_dim, q_stride),
                Matrix::strided(&kvs[block.k..], end, head_dim, kv_stride).transposed(),
            );
            vectorized(
                #[inline(always)]
                || {
                    for (i, row) in scores.chunks_exact_mut(end).enumerate() {
                        let (seen, hidden) = row.split_at_mut(self.seen(&block, i));
                        softmax(seen, scale);
                        hidden.fill(R::ZERO);
                    }
                },
            );
            let applied = self.dropped(&block, pass.given.key, scores, spare);
            (pass.multiply)(
                MatrixMut::strided(&mut pass.output[block.y..], rows, head_dim, dim),
                Write::Set,
                Matrix::new(applied, rows, end),
                Matrix::strided(&kvs[block.v..], end, head_dim, kv_stride),
            );
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let Heads { head_dim, .. } = self.heads;
        let (dim, scale) = (self.heads.dim(), self.scale::<R>());
        let (q_stride, kv_stride) = self.strides();
        let [qs, kvs] = if self.across { pass.inputs } else { [pass.inputs[0]; 2] };
        let (y, dy) = (pass.output, pass.doutput);
        let (first, spare) = pass.scratch.split_at_mut(BLOCK * self.keys);
        // Queries' rows are set once, keys' and values' rows are added to by every block that sees them.
        let [dq, dkv] = pass.dinputs;
        let q_write = if self.across { dq.write } else { Write::Add };
        let dinputs = [if self.across { dq.values } else { dq.cleared() }, dkv.cleared()];
        let kv = usize::from(self.across);
        for block in self.blocks() {
            let Block { rows, end, .. } = block;
            let dscores = &mut first[..rows * end];
            let p = &pass.saved[block.p..][..rows * end];
            let dy_rows = Matrix::strided(&dy[block.y..], rows, head_dim, dim);
            matmul(
                MatrixMut::new(dscores, rows, end),
                Write::Set,
                dy_rows,
                Matrix::strided(&kvs[block.v..], end, head_dim, kv_stride).transposed(),
            );
            let applied = self.dropped(&block, pass.given.key, p, spare);
            matmul(
                MatrixMut::strided(&mut dinputs[kv][block.v..], end, head_dim, kv_stride),
                Write::Add,
                Matrix::new(applied, rows, end).transposed(),
                dy_rows,
            );
            // Through the softmax: ds = p * (dp - <dp, p>), and <dp, p> = <dy, y>. Dropout multiplies p and dp by
            // the same mask.
            vectorized(
                #[inline(always)]
                || {
                    let each =
                        dscores.chunks_exact_mut(end).zip(applied.chunks_exact(end)).zip(p.chunks_exact(end));
                    for (i, ((ds, applied), p)) in each.enumerate() {
                        let at = block.y + i * dim;
                        let mean = dot(&dy[at..at + head_dim], &y[at..at + head_dim]);
                        if self.rate == 0.0 {
                            for (ds, &p) in ds.iter_mut().zip(p) {
                                *ds = p * (*ds - mean) * scale;
                            }
                        } else {
                            for ((ds, &applied), &p) in ds.iter_mut().zip(applied).zip(p) {
                                *ds = (applied * *ds - p * mean) * scale;
                            }
                        }
                    }
                },
            );
            let dscores = Matrix::new(dscores, rows, end);
            matmul(
                MatrixMut::strided(&mut dinputs[0][block.q..], rows, head_dim, q_stride),
                q_write,
                dscores,
                Matrix::strided(&kvs[block.k..], end, head_dim, kv_stride),
            );
            matmul(
                MatrixMut::strided(&mut dinputs[kv][block.k..], end, head_dim, kv_stride),
                Write::Add,
                dscores.transposed(),
                Matrix::strided(&qs[block.q..], rows, head_dim, q_stride),
            );
        }
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::Becomes(Box::new(Self { rate: 0.0, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{check, noise, output};
    use crate::nn::graph::Given;

    const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 2 };
    const STRIDE: usize = 16;

    #[test]
    fn gradients_across_a_block_border() {
        for mask in [Mask::Causal, Mask::Bidirectional] {
            check(1, BLOCK + 3, |net| {
                let qkv = net.variable("qkv", BLOCK + 3, STRIDE);
                net.attention(HEADS, mask, qkv)
            });
        }
    }

    #[test]
    fn gradients_of_several_sequences_under_dropout() {
        for mask in [Mask::Causal, Mask::Bidirectional] {
            check(3, 5, |net| {
                let qkv = net.variable("qkv", 15, STRIDE);
                net.attention_with_dropout(HEADS, mask, 0.3, qkv)
            });
        }
    }

    #[test]
    fn gradients_from_one_sequence_to_another() {
        for rate in [0.0, 0.3] {
            check(2, 3, |net| {
                let (q, kv) = (net.variable("q", 2 * 3, 8), net.variable("kv", 2 * 5, 8));
                net.cross_attention_with_dropout(HEADS, rate, q, kv)
            });
        }
    }

    #[test]
    fn a_query_that_is_read_again_has_both_gradients() {
        check(2, 3, |net| {
            let (q, kv) = (net.variable("q", 2 * 3, 8), net.variable("kv", 2 * 5, 8));
            let y = net.cross_attention(HEADS, q, kv);
            net.residual(q, y)
        });
    }

    #[test]
    fn equals_the_definition_and_sees_what_it_may() {
        let t = BLOCK + 5;
        let qkv = noise(3, t * STRIDE);
        for mask in [Mask::Causal, Mask::Bidirectional] {
            let mut net = Recorder::<Training, f64>::new(1, t);
            let x = net.variable("qkv", t, STRIDE);
            let y = net.attention(HEADS, mask, x);
            let y = output(&net.finish(y), &qkv, &Given::default());
            for i in 0..t {
                let seen = if mask == Mask::Causal { i + 1 } else { t };
                for head in 0..HEADS.n_heads {
                    let group = head / 2;
                    let at = |row: usize, column: usize| qkv[row * STRIDE + column];
                    let score = |j: usize, c: usize| at(i, head * 2 + c) * at(j, 8 + group * 2 + c);
                    let weights: Vec<f64> =
                        (0..seen).map(|j| ((score(j, 0) + score(j, 1)) / 2f64.sqrt()).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for c in 0..2 {
                        let value = |j: usize| at(j, 12 + group * 2 + c);
                        let expected = (0..seen).map(|j| weights[j] * value(j)).sum::<f64>() / total;
                        let found = y[i * 8 + head * 2 + c];
                        assert!((found - expected).abs() < 1e-12, "{mask:?}, row {i} head {head}");
                    }
                }
            }
        }
    }
}
