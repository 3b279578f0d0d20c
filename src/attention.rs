//! One position attends to all before it: rotary positions, scores, softmax, weighted sum.
//!
//! Scores are to base two: the rows of `Wq` carry the factor log2(e) / sqrt(head_dim), so that softmax is a
//! sum of powers of two and needs no multiplication by a constant here.

use crate::cache::{Cache, step};
use crate::fixed::exp2_neg;
use crate::shift::{bits, ceil_log2, shift_right};

/// Rotates the pairs `(2i, 2i+1)` of each head in place (Su et al. 2021, eq. 34) and halves them, so that 15
/// bits of magnitude suffice for the result too. `table` is the row of a position: cosine and sine of each
/// pair in Q14.
pub fn rotate(x: &mut [i16], table: &[i16]) {
    for head in x.chunks_exact_mut(table.len().max(2)) {
        for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(table.as_chunks::<2>().0) {
            let [a, b] = pair.map(i32::from);
            let [cos, sin] = turn.map(i32::from);
            *pair = [shift_right(a * cos - b * sin, 15) as i16, shift_right(a * sin + b * cos, 15) as i16];
        }
    }
}

/// Causal self-attention of the newest position over a block's cache (Vaswani et al. 2017, section 3.2;
/// grouped heads as in Ainslie et al. 2023).
///
/// `queries` `[n_heads, head_dim]` are at most 15 bits in units of 2^`unit` last bits of the residual
/// stream, which has `frac` fraction bits; `len` positions are in the cache; `scores` holds at least `len`.
/// `out` `[n_heads, head_dim]` has `frac` fraction bits.
#[allow(clippy::too_many_arguments)]
pub fn attend(
    queries: &[i16],
    unit: i32,
    frac: i32,
    keys: &Cache<'_>,
    values: &Cache<'_>,
    len: usize,
    scores: &mut [i32],
    out: &mut [i32],
) {
    let head_dim = keys.head_dim.max(1);
    let n_heads = queries.len() / head_dim;
    let n_kv_heads = keys.scales.len() / keys.seq_len.max(1);
    let group = (n_heads / n_kv_heads.max(1)).max(1);
    let Some(scores) = scores.get_mut(..len) else {
        return;
    };
    let heads = queries.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
    for (head, (query, out)) in heads.enumerate() {
        let (key_rows, key_scales) = keys.head(head / group, len);
        let (value_rows, value_scales) = values.head(head / group, len);
        let fraction = score_all(query, unit, frac, key_rows, key_scales, scores);
        let (sum, exponent) = weigh(scores, fraction, value_scales, keys.seq_len);
        sum_up(scores, value_rows, sum, exponent, keys.seq_len, out);
    }
}

/// Dot products of a query with all keys, as logarithms to base two; returns their fraction bits, at most 16
/// and as many as leave every shift to the right.
fn score_all(query: &[i16], unit: i32, frac: i32, rows: &[i8], scales: &[u8], scores: &mut [i32]) -> u32 {
    // |dot| < 2^22 head_dim; four bits less of head_dim leave room for the 5 bits of the key's mantissa.
    let narrowing = ceil_log2(query.len()).saturating_sub(4);
    let fraction = (2 * frac - unit - narrowing as i32 - 15).clamp(0, 16);
    let base = (2 * frac - unit - narrowing as i32 - fraction).clamp(15, 100) as u32;
    for ((score, row), &scale) in scores.iter_mut().zip(rows.chunks_exact(query.len().max(1))).zip(scales) {
        let dot: i32 = query.iter().zip(row).map(|(&q, &k)| i32::from(q) * i32::from(k)).sum();
        let (mantissa, exponent) = step(scale);
        *score = shift_right(shift_right(dot, narrowing) * mantissa, base - exponent);
    }
    fraction as u32
}

/// Softmax in two passes: scores become weights `2^(score - max)` times the step of the value they will
/// multiply, relative to the largest exponent of those steps, with as many bits as keep a sum over `seq_len`
/// values of int8 within i32. Returns the sum of the powers in Q16 and that largest exponent.
fn weigh(scores: &mut [i32], fraction: u32, scales: &[u8], seq_len: usize) -> (u32, u32) {
    let max = scores.iter().fold(i32::MIN, |m, &s| m.max(s));
    let (_, largest) = step(scales.iter().fold(0, |m, &s| m.max(s)));
    let base = largest + 6 + long_context(seq_len);
    let mut sum = 0u32;
    for (score, &scale) in scores.iter_mut().zip(scales) {
        // 2^-31 is 0 in Q16: there is no need to look further down.
        let distance = (max.wrapping_sub(*score) as u32).min(31 << fraction);
        let power = exp2_neg(distance << (16 - fraction));
        sum = sum.wrapping_add(power);
        let (mantissa, exponent) = step(scale);
        *score = shift_right(power as i32 * mantissa, base - exponent);
    }
    (sum, largest)
}

/// The bits that weights lose where more than 512 positions may be summed.
const fn long_context(seq_len: usize) -> u32 {
    ceil_log2(seq_len.div_ceil(512))
}

/// The columns that are summed together, so that their accumulators stay in registers.
const BLOCK: usize = 8;

/// `out = sum of weight * value / sum of powers`.
fn sum_up(weights: &[i32], rows: &[i8], sum: u32, exponent: u32, seq_len: usize, out: &mut [i32]) {
    let head_dim = out.len();
    // The accumulators are at most sum * 2^(5 - 6) * 127 / 2^long: 15 bits after this shift; the reciprocal
    // has 15 bits too, of the sum's leading 16.
    let length = bits(sum);
    let narrowing = length.saturating_sub(9 + long_context(seq_len));
    let leading = if length >= 16 { sum >> (length - 16) } else { sum << (16 - length) };
    let reciprocal = ((1u32 << 30) / leading.max(1)) as i32;
    let place = 17u32.saturating_sub(exponent);
    let finish = |acc: i32| shift_right(shift_right(acc, narrowing) * reciprocal, place);
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let column = block * BLOCK;
        let mut acc = [0i32; BLOCK];
        for (&weight, row) in weights.iter().zip(rows.chunks_exact(head_dim.max(1))) {
            let row = row.get(column..).unwrap_or_default();
            if let Some(row) = row.first_chunk::<BLOCK>() {
                for (acc, &v) in acc.iter_mut().zip(row) {
                    *acc = acc.wrapping_add(weight * i32::from(v));
                }
            } else {
                for (acc, &v) in acc.iter_mut().zip(row) {
                    *acc = acc.wrapping_add(weight * i32::from(v));
                }
            }
        }
        for (out, acc) in out.iter_mut().zip(acc) {
            *out = finish(acc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in floating point, over what the cache holds.
    fn exact(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
        let scores: Vec<f64> = keys.iter().map(|k| query.iter().zip(k).map(|(q, k)| q * k).sum()).collect();
        let max = scores.iter().fold(f64::MIN, |m, &s| m.max(s));
        let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp2()).collect();
        let sum: f64 = weights.iter().sum();
        let column = |c: usize| weights.iter().zip(values).map(|(w, v)| w * v[c]).sum::<f64>() / sum;
        (0..query.len()).map(column).collect()
    }

    #[test]
    fn attention_is_near_the_real_one() {
        let (frac, seq_len) = (18, 1200);
        for (head_dim, len) in [(8, 1), (8, 50), (12, 700), (64, 1200)] {
            let noise = |i: usize, j: usize| ((i * 7919 + j * 104_729 + i * j * 31) % 2001) as i32 - 1000;
            let (mut kr, mut ks) = (vec![0i8; seq_len * head_dim], vec![0u8; seq_len]);
            let (mut vr, mut vs) = (kr.clone(), ks.clone());
            let mut keys = Cache { rows: &mut kr, scales: &mut ks, seq_len, head_dim };
            let mut values = Cache { rows: &mut vr, scales: &mut vs, seq_len, head_dim };
            for p in 0..len {
                let row = |seed: usize| -> Vec<i16> {
                    (0..head_dim).map(|c| (noise(p + seed, c) * (1 + (p % 5) as i32)) as i16).collect()
                };
                keys.store(p, &row(1), 6);
                values.store(p, &row(77), 7);
            }
            let real = |cache: &Cache<'_>| -> Vec<Vec<f64>> {
                let (rows, scales) = cache.head(0, len);
                rows.chunks(head_dim)
                    .zip(scales)
                    .map(|(r, &s)| {
                        let (mantissa, exponent) = step(s);
                        let step = f64::from(mantissa) * 2f64.powi(exponent as i32 - frac);
                        r.iter().map(|&q| f64::from(q) * step).collect()
                    })
                    .collect()
            };
            for n_heads in [1, 2] {
                let queries: Vec<i16> = (0..n_heads * head_dim).map(|i| (noise(i, 5) * 8) as i16).collect();
                let mut out = vec![0; queries.len()];
                attend(&queries, 6, frac, &keys, &values, len, &mut vec![0; seq_len], &mut out);
                let (k, v) = (real(&keys), real(&values));
                let peak = v.iter().flatten().fold(0f64, |m, v| m.max(v.abs()));
                for (q, out) in queries.chunks(head_dim).zip(out.chunks(head_dim)) {
                    let q: Vec<f64> = q.iter().map(|&q| f64::from(q) * 2f64.powi(6 - frac)).collect();
                    for (got, wanted) in out.iter().zip(exact(&q, &k, &v)) {
                        let got = f64::from(*got) * 2f64.powi(-frac);
                        assert!(
                            (got - wanted).abs() < 1.5e-3 * peak,
                            "{head_dim} {len}: {got}, wanted {wanted}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn rotation_turns_pairs() {
        let mut x = [16384, 0, 0, 16384, 1000, -1000, 32767, 32767];
        rotate(&mut x, &[16384, 0, 0, 16384]);
        assert_eq!(x, [8192, 0, -8192, 0, 500, -500, -16383, 16384]);
    }
}
