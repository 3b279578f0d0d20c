//! One position attends to all before it: rotary positions, scores, softmax, weighted sum.
//!
//! Scores are to base two: the rows of `Wq` carry the factor log2(e) / sqrt(head_dim), so that softmax is a
//! sum of powers of two and needs no multiplication by a constant here.

use crate::cache::{Cache, Head};
use crate::chunks::chunks_mut;
use crate::fixed::EXP2_1024;
use crate::format::align;
use crate::kernel::{self, Divisor};
use crate::shift::{bits, ceil_log2, keep_rolled};
use crate::vector::{BITS, block_shift};

/// Rotates the pairs `(2i, 2i+1)` of each head in place (Su et al. 2021, eq. 34). `turns` is the row of a position:
/// cosine and sine of each pair in Q14; none where positions are learned.
pub fn rotate(x: &mut [i16], turns: &[i16]) {
    if !turns.is_empty() {
        for head in chunks_mut(x, turns.len()) {
            kernel::rotate(head, turns);
        }
    }
}

/// Fraction bits of the scores, where the keys' steps leave as many.
const FRACTION: i32 = 10;
/// The most that scores are shifted by: what is lost beyond is less than their last bit.
const MAX_SHIFT: i32 = 24;

/// The block shift of queries of this [`magnitude`](kernel::magnitude): to 14 bits, but tiny ones, whose scores are
/// nothing, stay so small that no score is shifted by more than [`MAX_SHIFT`].
pub fn query_shift(magnitude: u32, head_dim: usize, frac: i32) -> i32 {
    block_shift(magnitude, BITS).max(2 * frac - kernel::narrowing(head_dim) as i32 - FRACTION - MAX_SHIFT)
}

/// Query heads that are worked on together, where they share keys and values.
pub const HEADS: usize = 2;

/// The memory that attention works in.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// Scores, then weighted sums: `[HEADS, align(max(seq_len, head_dim))]`.
    pub scores: &'a mut [i32],
    /// Queries, then softmax weights: as many.
    pub weights: &'a mut [i16],
}

/// Causal self-attention of the newest position over a block's cache (Vaswani et al. 2017, section 3.2;
/// grouped heads as in Ainslie et al. 2023).
///
/// `queries` `[n_heads, head_dim]` are in units of 2^`unit` last bits of the residual stream, which has `frac`
/// fraction bits; the newest position is `position`. `out` `[n_heads, head_dim]` has `frac` fraction bits; its
/// [`magnitude`](kernel::magnitude) is returned. The queries are left in the order of [`kernel::arrange`].
pub fn attend(
    queries: &mut [i16],
    unit: i32,
    frac: i32,
    (keys, values): (&Cache<'_>, &Cache<'_>),
    position: usize,
    mut scratch: Scratch<'_>,
    out: &mut [i32],
) -> u32 {
    let mut size = 0;
    let (head_dim, seq_len) = (keys.head_dim.max(1), keys.seq_len);
    let n_heads = queries.len() / head_dim;
    let n_kv_heads = keys.scales.len() / seq_len.max(1);
    let group = (n_heads / n_kv_heads.max(1)).max(1);
    let queries = chunks_mut(queries, group * head_dim).zip(chunks_mut(out, group * head_dim));
    for (head, (queries, out)) in queries.enumerate() {
        let (Some(keys), Some(values)) = (keys.head(head, position), values.head(head, position)) else {
            return size;
        };
        let units = Units::new(head_dim, 2 * frac - unit, keys.exponent);
        let shared = Shared { keys, values, units, head_dim, seq_len };
        let paired = if kernel::PAIRS { group / HEADS * HEADS * head_dim } else { 0 };
        let ((pairs, singles), (pairs_out, out)) = (split(queries, paired), split(out, paired));
        let of_pairs = chunks_mut(pairs, HEADS * head_dim).zip(chunks_mut(pairs_out, HEADS * head_dim));
        for (queries, out) in of_pairs {
            size |= shared.attend_pair(queries, &mut scratch, out);
        }
        for (query, out) in chunks_mut(singles, head_dim).zip(chunks_mut(out, head_dim)) {
            size |= shared.attend(query, &mut scratch, out);
        }
    }
    size
}

/// What query heads share.
#[derive(Debug)]
struct Shared<'c> {
    keys: Head<'c>,
    values: Head<'c>,
    units: Units,
    head_dim: usize,
    seq_len: usize,
}

impl Shared<'_> {
    /// One query.
    #[inline(never)]
    fn attend(&self, query: &mut [i16], scratch: &mut Scratch<'_>, out: &mut [i32]) -> u32 {
        let Self { keys, values, units, seq_len, .. } = *self;
        let (len, long) = (keys.scales.len(), long_context(seq_len));
        kernel::arrange(query);
        let top = kernel::scores(keys.elements, keys.scales, query, units.base, part(scratch.scores, len));
        let (scores, weights) = (part(scratch.scores, align(len)), part(scratch.weights, align(len)));
        let base = values.exponent + 6 + long;
        let sum = kernel::softmax(&EXP2_1024, scores, top, units.fraction, values.scales, base, weights);
        kernel::weighted_sum(values.elements, align(seq_len), weights, out);
        divide(out, sum, values.exponent, long)
    }

    /// Two queries.
    #[inline(never)]
    fn attend_pair(&self, queries: &[i16], scratch: &mut Scratch<'_>, out: &mut [i32]) -> u32 {
        let Self { keys, values, units, head_dim, seq_len } = *self;
        let (len, long) = (keys.scales.len(), long_context(seq_len));
        let (a, b) = queries.split_at_checked(head_dim).unwrap_or_default();
        let pair = part(scratch.weights, 2 * align(head_dim));
        kernel::arrange_pair(a, b, pair);
        let scores = part(scratch.scores, 2 * len);
        let tops = kernel::scores_pair(
            keys.elements,
            head_dim,
            keys.scales,
            pair,
            (units.base, keys.exponent),
            scores,
        );
        let (scores, weights) = (part(scratch.scores, 2 * align(len)), part(scratch.weights, 2 * align(len)));
        let base = values.exponent + 6 + long;
        let sums =
            kernel::softmax_pair(&EXP2_1024, scores, tops, units.fraction, values.scales, base, weights);
        let totals = part(scratch.scores, 2 * head_dim);
        kernel::product_pair(values.elements, align(seq_len), align(len), weights, totals);
        divide_pair(totals, sums, values.exponent, long, out)
    }
}

/// How dot products become scores.
#[derive(Debug, Clone, Copy)]
struct Units {
    /// Fraction bits of the scores: at most [`FRACTION`] and as many as leave every shift to the right.
    fraction: u32,
    /// The shift to the right that makes a score, where the key's exponent is 0.
    base: u32,
}

impl Units {
    /// `frac` are the fraction bits of the dot products before the keys' steps, whose largest exponent is `largest`.
    fn new(head_dim: usize, frac: i32, largest: u32) -> Self {
        let whole = frac - kernel::narrowing(head_dim) as i32;
        let fraction = (whole - largest as i32).clamp(0, FRACTION);
        let base = (whole - fraction).clamp(largest as i32, MAX_SHIFT) as u32;
        Self { fraction: fraction as u32, base }
    }
}

/// The bits that weights lose where more than 512 positions may be summed.
const fn long_context(seq_len: usize) -> u32 {
    ceil_log2(seq_len.div_ceil(512))
}

/// What makes averages of sums of weight * value, with this sum of the weights: `exponent` is the largest of the values'
/// steps, `long` what the weights lost for a long context.
fn divisor(sum: u32, exponent: u32, long: u32) -> Divisor {
    // A sum is at most sum * 2^(5 - 6) * 128 / 2^long: 15 bits after this shift; the reciprocal of the
    // divisor's leading 16 bits has 15 bits too.
    let length = bits(sum);
    let leading = if length >= 16 { sum >> (length - 16) } else { sum << (16 - length) };
    Divisor {
        narrowing: length.saturating_sub(9 + long),
        reciprocal: ((1u32 << 30) / leading.max(1)) as i32,
        place: 17u32.saturating_sub(exponent),
    }
}

/// Totals of one head to averages, in place; returns their magnitude.
pub fn divide(totals: &mut [i32], sum: u32, exponent: u32, long: u32) -> u32 {
    let divisor = divisor(sum, exponent, long);
    let mut size = 0;
    for total in totals {
        *total = divisor.divide(*total);
        size |= (*total ^ (*total >> 31)) as u32;
        keep_rolled();
    }
    size
}

/// Totals of two heads, by turns, to averages of one head after the other; returns their magnitude.
pub fn divide_pair(totals: &[i32], sums: [u32; 2], exponent: u32, long: u32, out: &mut [i32]) -> u32 {
    kernel::divide_pair(totals, &sums.map(|sum| divisor(sum, exponent, long)), out)
}

/// The first `n` elements and the rest.
fn split<T>(all: &mut [T], n: usize) -> (&mut [T], &mut [T]) {
    all.split_at_mut_checked(n).unwrap_or_default()
}

/// The first `n` elements of a region, which the workspace plan makes long enough.
fn part<T>(region: &mut [T], n: usize) -> &mut [T] {
    region.get_mut(..n).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::step;

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
            let cache = |elements, scales, transposed| Cache {
                elements,
                scales,
                largest: &[0],
                finished: 0,
                transposed,
                seq_len,
                head_dim,
            };
            let mut keys = cache(&mut kr[..], &mut ks[..], false);
            let mut values = cache(&mut vr[..], &mut vs[..], true);
            for p in 0..len {
                let row = |seed: usize| -> Vec<i16> {
                    (0..head_dim).map(|c| (noise(p + seed, c) * (1 + (p % 5) as i32)) as i16).collect()
                };
                keys.store(p, &row(1), unit);
                values.store(p, &row(77), unit + 1);
            }
            let real = |cache: &Cache<'_>| -> Vec<Vec<f64>> {
                let Head { elements, scales, .. } = cache.head(0, len - 1).unwrap();
                let row = |p: usize| {
                    let (mantissa, exponent) = step(scales[p]);
                    let step = f64::from(mantissa) * 2f64.powi(exponent as i32 - frac);
                    let element =
                        |c| elements[if cache.transposed { c * seq_len + p } else { p * head_dim + c }];
                    (0..head_dim).map(|c| f64::from(element(c)) * step).collect()
                };
                (0..len).map(row).collect()
            };
            for n_heads in [1, 2] {
                let mut queries: Vec<i16> =
                    (0..n_heads * head_dim).map(|i| (noise(i, 5) * 8) as i16).collect();
                let mut out = vec![0; queries.len()];
                let natural = queries.clone();
                let (scores, weights) = (&mut vec![0; 2 * seq_len], &mut vec![0; 2 * seq_len]);
                let scratch = Scratch { scores, weights };
                attend(&mut queries, unit, frac, (&keys, &values), len - 1, scratch, &mut out);
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
        let mut x = [16384, 0, 0, 16384, 1000, -1000, 16384, 16384];
        rotate(&mut x, &[16384, 0, 0, 16384]);
        assert_eq!(x, [16384, 0, -16384, 0, 1000, -1000, -16384, 16384]);
    }
}
