//! Causal self-attention with grouped key and value heads (Vaswani et al. 2017, section 3.2;
//! Ainslie et al. 2023).
//!
//! Rows are taken in blocks: a block computes its scores against the keys up to its own last row
//! only, which saves almost half of the work that a full matrix and a mask would do.

use super::math::{dot, softmax};
use super::matrix::{Matrix, MatrixMut, Multiply, Write, matmul};

/// Rows that are computed together.
const BLOCK: usize = 32;

/// How a row `[query heads | key heads | value heads]` is divided.
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

    /// Width of a row of queries, keys and values.
    pub const fn stride(&self) -> usize {
        self.dim() + 2 * self.kv_dim()
    }

    /// Where the query, the key and the value of a query head start in a row.
    const fn columns(&self, head: usize) -> (usize, usize, usize) {
        let kv = head / (self.n_heads / self.n_kv_heads) * self.head_dim;
        let key = self.dim() + kv;
        (head * self.head_dim, key, key + self.kv_dim())
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// The values scratch memory of [`backward`] must hold for `t` tokens.
pub const fn scratch_len(t: usize) -> usize {
    BLOCK * t
}

/// `qkv` `[t, stride]` to `y` `[t, dim]`; keeps the attention weights `probabilities`
/// `[n_heads, t, t]`, of which the part right of a row's block is left as it was.
pub fn forward(
    multiply: Multiply,
    heads: Heads,
    t: usize,
    qkv: &[f32],
    probabilities: &mut [f32],
    y: &mut [f32],
) {
    let Heads { head_dim, .. } = heads;
    let (dim, stride, scale) = (heads.dim(), heads.stride(), heads.scale());
    for (head, p) in probabilities.chunks_exact_mut(t * t).enumerate() {
        let (q, k, v) = heads.columns(head);
        for start in (0..t).step_by(BLOCK) {
            let end = t.min(start + BLOCK);
            let rows = end - start;
            let scores = &mut p[start * t..end * t];
            multiply(
                MatrixMut::strided(scores, rows, end, t),
                Write::Set,
                Matrix::strided(&qkv[start * stride + q..], rows, head_dim, stride),
                Matrix::strided(&qkv[k..], end, head_dim, stride).transposed(),
            );
            for (i, row) in scores.chunks_exact_mut(t).enumerate() {
                let (seen, hidden) = row[..end].split_at_mut(start + i + 1);
                softmax(seen, scale);
                hidden.fill(0.0);
            }
            multiply(
                MatrixMut::strided(&mut y[start * dim + q..], rows, head_dim, dim),
                Write::Set,
                Matrix::strided(scores, rows, end, t),
                Matrix::strided(&qkv[v..], end, head_dim, stride),
            );
        }
    }
}

/// What [`forward`] was given and made, for [`backward`].
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// `[t, stride]`
    pub qkv: &'a [f32],
    /// `[n_heads, t, t]`
    pub probabilities: &'a [f32],
    /// `[t, dim]`
    pub y: &'a [f32],
}

/// `dy` `[t, dim]` to `dqkv` `[t, stride]`; `scratch` holds [`scratch_len`] values.
pub fn backward(heads: Heads, t: usize, saved: Saved<'_>, dy: &[f32], scratch: &mut [f32], dqkv: &mut [f32]) {
    let Heads { head_dim, .. } = heads;
    let (dim, stride, scale) = (heads.dim(), heads.stride(), heads.scale());
    let Saved { qkv, y, .. } = saved;
    dqkv.fill(0.0);
    for (head, p) in saved.probabilities.chunks_exact(t * t).enumerate() {
        let (q, k, v) = heads.columns(head);
        for start in (0..t).step_by(BLOCK) {
            let end = t.min(start + BLOCK);
            let rows = end - start;
            let dscores = &mut scratch[..rows * t];
            let p = &p[start * t..end * t];
            let block = Matrix::strided(&dy[start * dim + q..], rows, head_dim, dim);
            matmul(
                MatrixMut::strided(dscores, rows, end, t),
                Write::Set,
                block,
                Matrix::strided(&qkv[v..], end, head_dim, stride).transposed(),
            );
            matmul(
                MatrixMut::strided(&mut dqkv[v..], end, head_dim, stride),
                Write::Add,
                Matrix::strided(p, rows, end, t).transposed(),
                block,
            );
            // Through the softmax: ds = p * (dp - <dp, p>), and <dp, p> = <dy, y>.
            for (i, (ds, p)) in dscores.chunks_exact_mut(t).zip(p.chunks_exact(t)).enumerate() {
                let at = (start + i) * dim + q;
                let mean = dot(&dy[at..at + head_dim], &y[at..at + head_dim]);
                for (ds, p) in ds[..end].iter_mut().zip(p) {
                    *ds = p * (*ds - mean) * scale;
                }
            }
            let dscores = Matrix::strided(dscores, rows, end, t);
            matmul(
                MatrixMut::strided(&mut dqkv[start * stride + q..], rows, head_dim, stride),
                Write::Set,
                dscores,
                Matrix::strided(&qkv[k..], end, head_dim, stride),
            );
            matmul(
                MatrixMut::strided(&mut dqkv[k..], end, head_dim, stride),
                Write::Add,
                dscores.transposed(),
                Matrix::strided(&qkv[start * stride + q..], rows, head_dim, stride),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 2 };

    fn run(t: usize, qkv: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut p = vec![0.0; HEADS.n_heads * t * t];
        let mut y = vec![0.0; t * HEADS.dim()];
        forward(matmul, HEADS, t, qkv, &mut p, &mut y);
        (p, y)
    }

    #[test]
    fn gradients_across_a_block_border() {
        let t = BLOCK + 3;
        let qkv = noise(1, t * HEADS.stride());
        let dy = noise(2, t * HEADS.dim());
        let (probabilities, y) = run(t, &qkv);
        let saved = Saved { qkv: &qkv, probabilities: &probabilities, y: &y };
        let mut dqkv = vec![0.0; qkv.len()];
        let mut scratch = vec![0.0; scratch_len(t)];
        backward(HEADS, t, saved, &dy, &mut scratch, &mut dqkv);
        agree(&qkv, &dy, &dqkv, |qkv| run(t, qkv).1);
    }

    #[test]
    fn equals_the_definition_and_sees_no_future() {
        let t = BLOCK + 5;
        let (dim, stride) = (HEADS.dim(), HEADS.stride());
        let qkv = noise(3, t * stride);
        let (_, y) = run(t, &qkv);
        for i in 0..t {
            for head in 0..HEADS.n_heads {
                let group = head / 2;
                let at = |row: usize, column: usize| f64::from(qkv[row * stride + column]);
                let weights: Vec<f64> = (0..=i)
                    .map(|j| {
                        let score =
                            (0..2).map(|c| at(i, head * 2 + c) * at(j, dim + group * 2 + c)).sum::<f64>();
                        (score / 2f64.sqrt()).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                for c in 0..2 {
                    let value = |j: usize| at(j, dim + HEADS.kv_dim() + group * 2 + c);
                    let expected: f64 = (0..=i).map(|j| weights[j] * value(j)).sum::<f64>() / total;
                    let found = f64::from(y[i * dim + head * 2 + c]);
                    assert!((found - expected).abs() < 1e-5, "row {i} head {head}");
                }
            }
        }
    }
}
