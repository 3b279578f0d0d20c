//! One position attends to all before it: rotary positions, scores, softmax, weighted sum.
//!
//! Scores are to base two: the rows of `Wq` carry the factor log2(e) / sqrt(head_dim), so that softmax is a
//! sum of powers of two and needs no multiplication by a constant here.

use crate::cache::{Cache, step};
use crate::fixed::exp2_neg_below_32;
use crate::kernel;
use crate::shift::{bits, ceil_log2, keep_rolled, round_shift};

/// Rotates the pairs `(2i, 2i+1)` of each head in place (Su et al. 2021, eq. 34) and halves them, so that 15
/// bits of magnitude suffice for the result too. `table` is the row of a position: cosine and sine of each
/// pair in Q14.
pub fn rotate(x: &mut [i16], table: &[i16]) {
    for head in x.chunks_exact_mut(table.len().max(2)) {
        for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(table.as_chunks::<2>().0) {
            let [a, b] = pair.map(i32::from);
            let [cos, sin] = turn.map(i32::from);
            *pair = [round_shift(a * cos - b * sin, 15) as i16, round_shift(a * sin + b * cos, 15) as i16];
        }
    }
}

/// The memory that attention works in.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// Scores of one head, `[seq_len]`.
    pub scores: &'a mut [i32],
    /// Softmax weights of one head, `[seq_len]`.
    pub weights: &'a mut [i16],
}

/// Causal self-attention of the newest position over a block's cache (Vaswani et al. 2017, section 3.2;
/// grouped heads as in Ainslie et al. 2023).
///
/// `queries` `[n_heads, head_dim]` are at most 15 bits in units of 2^`unit` last bits of the residual
/// stream, which has `frac` fraction bits; `len` positions are in the cache. `out` `[n_heads, head_dim]` has
/// `frac` fraction bits. The queries are left in the order of [`kernel::arrange`].
pub fn attend(
    queries: &mut [i16],
    unit: i32,
    frac: i32,
    (keys, values): (&Cache<'_>, &Cache<'_>),
    len: usize,
    scratch: Scratch<'_>,
    out: &mut [i32],
) {
    let head_dim = keys.head_dim.max(1);
    let n_heads = queries.len() / head_dim;
    let n_kv_heads = keys.scales.len() / keys.seq_len.max(1);
    let group = (n_heads / n_kv_heads.max(1)).max(1);
    let (Some(scores), Some(weights)) = (scratch.scores.get_mut(..len), scratch.weights.get_mut(..len))
    else {
        return;
    };
    let long = long_context(keys.seq_len);
    for kv_head in 0..n_kv_heads {
        let (key_rows, key_scales) = keys.head(kv_head, len);
        let (value_rows, value_scales) = values.head(kv_head, len);
        let key_exponent = largest_exponent(key_scales);
        let value_exponent = largest_exponent(value_scales);
        for head in kv_head * group..(kv_head + 1) * group {
            let part = head * head_dim..(head + 1) * head_dim;
            let (Some(query), Some(out)) = (queries.get_mut(part.clone()), out.get_mut(part)) else {
                return;
            };
            kernel::arrange(query);
            kernel::matvec(key_rows, query, scores);
            let (max, fraction) = to_base_two(scores, head_dim, 2 * frac - unit, key_scales, key_exponent);
            let sum = exponentiate(scores, max, fraction);
            weigh(scores, value_scales, value_exponent + 6 + long, weights);
            out.fill(0);
            kernel::add_weighted_rows(value_rows, head_dim, weights, out);
            divide(out, sum, value_exponent, long);
        }
    }
}

/// The largest exponent of the steps; scale bytes are in its order.
fn largest_exponent(scales: &[u8]) -> u32 {
    scales.iter().fold(0, |m: u32, &s| m.max(u32::from(s))) >> 4
}

// The loops below stay functions of their own: inlined into one another they spill registers.

/// Dot products of a query with int8 keys to logarithms to base two; returns the largest, and how many
/// fraction bits they have: at most 16 and as many as leave every shift to the right. `frac` is that of the
/// products before the keys' steps, whose largest exponent is `largest`.
#[inline(never)]
fn to_base_two(scores: &mut [i32], head_dim: usize, frac: i32, scales: &[u8], largest: u32) -> (i32, u32) {
    // |dot| < 2^22 head_dim; four bits less of head_dim leave room for the 5 bits of the key's mantissa.
    let narrowing = ceil_log2(head_dim).saturating_sub(4);
    let fraction = (frac - narrowing as i32 - largest as i32).clamp(0, 16);
    let base = (frac - narrowing as i32 - fraction).clamp(largest as i32, 47) as u32;
    // A shift to the right by base - exponent in two, the first of which is the same for all and rounds down;
    // from 32 on the result is 0. The product is at most 16 * 127 * 2^15 * 31 < 2^31 - 2^15.
    let rounded = base.min(16);
    let common = base - rounded;
    let mut max = i32::MIN;
    for (score, &scale) in scores.iter_mut().zip(scales) {
        let (mantissa, exponent) = step(scale);
        let product = round_shift(*score, narrowing) * mantissa;
        *score = round_shift(product >> common, rounded - exponent);
        max = max.max(*score);
        keep_rolled();
    }
    (max, fraction as u32)
}

/// Scores become powers of two, `2^(score - max)` in Q16; returns their sum.
#[inline(never)]
fn exponentiate(scores: &mut [i32], max: i32, fraction: u32) -> u32 {
    let mut sum = 0u32;
    for score in scores {
        // 2^-31 is 0 in Q16: there is no need to look further down.
        let distance = (max.wrapping_sub(*score) as u32).min(31 << fraction);
        let power = exp2_neg_below_32(distance << (16 - fraction));
        sum = sum.wrapping_add(power);
        *score = power as i32;
        keep_rolled();
    }
    sum
}

/// Softmax weights before the division: powers times the steps of the values that they will multiply, with
/// the largest exponent of those steps as 0 and 15 bits, less for long contexts: `base` says how many.
#[inline(never)]
fn weigh(powers: &[i32], scales: &[u8], base: u32, weights: &mut [i16]) {
    for ((weight, &power), &scale) in weights.iter_mut().zip(powers).zip(scales) {
        let (mantissa, exponent) = step(scale);
        *weight = round_shift(power * mantissa, base - exponent) as i16;
        keep_rolled();
    }
}

/// The bits that weights lose where more than 512 positions may be summed.
const fn long_context(seq_len: usize) -> u32 {
    ceil_log2(seq_len.div_ceil(512))
}

/// Sums of weight * value become averages: divided by the sum of the powers. `exponent` is the largest of
/// the values' steps, `long` what the weights lost for a long context.
fn divide(sums: &mut [i32], sum: u32, exponent: u32, long: u32) {
    // A sum is at most sum * 2^(5 - 6) * 127 / 2^long: 15 bits after this shift; the reciprocal of the
    // divisor's leading 16 bits has 15 bits too.
    let length = bits(sum);
    let narrowing = length.saturating_sub(9 + long);
    let leading = if length >= 16 { sum >> (length - 16) } else { sum << (16 - length) };
    let reciprocal = ((1u32 << 30) / leading.max(1)) as i32;
    let place = 17u32.saturating_sub(exponent);
    for value in sums {
        *value = round_shift(round_shift(*value, narrowing) * reciprocal, place);
        keep_rolled();
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
        let seq_len = 1200;
        // The same numbers with many and with few fraction bits.
        let shapes = [(8, 1), (8, 50), (12, 700), (64, 1200)];
        for (frac, (head_dim, len)) in [18, 11].into_iter().flat_map(|frac| shapes.map(|shape| (frac, shape)))
        {
            let unit = frac - 12;
            let noise = |i: usize, j: usize| ((i * 7919 + j * 104_729 + i * j * 31) % 2001) as i32 - 1000;
            let (mut kr, mut ks) = (vec![0i8; seq_len * head_dim], vec![0u8; seq_len]);
            let (mut vr, mut vs) = (kr.clone(), ks.clone());
            let mut keys = Cache { rows: &mut kr, scales: &mut ks, seq_len, head_dim };
            let mut values = Cache { rows: &mut vr, scales: &mut vs, seq_len, head_dim };
            for p in 0..len {
                let row = |seed: usize| -> Vec<i16> {
                    (0..head_dim).map(|c| (noise(p + seed, c) * (1 + (p % 5) as i32)) as i16).collect()
                };
                keys.store(p, &row(1), unit);
                values.store(p, &row(77), unit + 1);
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
                let mut queries: Vec<i16> =
                    (0..n_heads * head_dim).map(|i| (noise(i, 5) * 8) as i16).collect();
                let mut out = vec![0; queries.len()];
                let natural = queries.clone();
                let (scores, weights) = (&mut vec![0; seq_len], &mut vec![0; seq_len]);
                let scratch = Scratch { scores, weights };
                attend(&mut queries, unit, frac, (&keys, &values), len, scratch, &mut out);
                let (k, v) = (real(&keys), real(&values));
                let peak = v.iter().flatten().fold(0f64, |m, v| m.max(v.abs()));
                for (q, out) in natural.chunks(head_dim).zip(out.chunks(head_dim)) {
                    let q: Vec<f64> = q.iter().map(|&q| f64::from(q) * 2f64.powi(unit - frac)).collect();
                    for (got, wanted) in out.iter().zip(exact(&q, &k, &v)) {
                        let got = f64::from(*got) * 2f64.powi(-frac);
                        assert!(
                            (got - wanted).abs() < 4e-3 * peak,
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
