//! Attention over an int8 cache in safe Rust: scores to base two, softmax, and products with two vectors at once, for
//! query heads that share keys and values.
//!
//! A scale byte `z` is the step `(16 + z mod 16) * 2^(z div 16)`, see [`step`].

use crate::cache::step;
use crate::kernel::{matvec_strided, rows};
use crate::shift::{ceil_log2, keep_rolled, round_shift};

/// The table of powers has 2^10 entries to the octave, which is the most fraction bits that scores may have.
pub(super) const FRACTION: u32 = 10;

/// What is added to the elements of a cache, modulo 2^8; a core may want them positive.
pub const CACHE_OFFSET: u8 = 0;
/// Whether values lie transposed, a row for each channel; else a row for each position.
pub const VALUES_TRANSPOSED: bool = true;

/// The bits that a dot product loses where a head is longer than 16: 5 bits of the key's mantissa must fit beside it.
pub const fn narrowing(head_dim: usize) -> u32 {
    ceil_log2(head_dim).saturating_sub(4)
}

/// Scores of one query: `scores[j]` becomes the product of `query` with row j of `keys`, rounded to 22 bits where a head
/// is longer than 16, times the mantissa of `z[j]`, shifted by `base` less its exponent (which is 0 to 24), rounded half
/// up. Returns the largest.
///
/// - `keys`: rows of `query.len()` elements, as the cache has them, see [`CACHE_OFFSET`]; `z`: their scale bytes
/// - `query`: in the order that [`arrange`](super::arrange) makes
pub fn scores(keys: &[i8], z: &[u8], query: &[i16], base: u32, scores: &mut [i32]) -> i32 {
    let len = z.len().min(scores.len());
    let scores = scores.get_mut(..len).unwrap_or_default();
    matvec_strided(keys, query.len(), query, scores);
    match narrowing(query.len()) {
        0 => to_base_two(scores, z, 0, base),
        narrowing => to_base_two(scores, z, narrowing, base),
    }
}

/// A copy of its own where nothing is cut off.
#[inline(always)]
fn to_base_two(scores: &mut [i32], z: &[u8], narrowing: u32, base: u32) -> i32 {
    let mut top = i32::MIN;
    for (score, &z) in scores.iter_mut().zip(z) {
        let (mantissa, exponent) = step(z);
        // At most 16 * 127 * 2^15 * 31 + 2^23 < 2^31.
        *score = round_shift(round_shift(*score, narrowing) * mantissa, base.wrapping_sub(exponent));
        if *score > top {
            top = rarely(*score);
        }
        keep_rolled();
    }
    top
}

/// Values, weighted and summed: `y[channel]` becomes the sum over positions of `weights[position]` times the value.
///
/// - `values`: as the cache has them, see [`VALUES_TRANSPOSED`] and [`CACHE_OFFSET`]
/// - `stride`: from one row to the next, where they are transposed
/// - `weights`: as [`softmax`] makes them
pub fn weighted_sum(values: &[i8], stride: usize, weights: &[i16], y: &mut [i32]) {
    matvec_strided(values, stride, weights, y);
}

/// [`scores`] of two queries, one after the other for each position.
///
/// - `pair`: the queries, as [`arrange_pair`] makes them
/// - the base, and the largest exponent of `z`
/// - `scores`: two for each of `z`
pub fn scores_pair(
    keys: &[i8],
    head_dim: usize,
    z: &[u8],
    pair: &[i16],
    (base, _): (u32, u32),
    scores: &mut [i32],
) -> [i32; 2] {
    super::product_pair(keys, head_dim, head_dim, pair, scores);
    match narrowing(head_dim) {
        0 => to_base_two_pair(scores, z, 0, base),
        narrowing => to_base_two_pair(scores, z, narrowing, base),
    }
}

/// A copy of its own where nothing is cut off.
#[inline(always)]
fn to_base_two_pair(scores: &mut [i32], z: &[u8], narrowing: u32, base: u32) -> [i32; 2] {
    let mut tops = [i32::MIN; 2];
    for (scores, &z) in scores.as_chunks_mut::<2>().0.iter_mut().zip(z) {
        let (mantissa, exponent) = step(z);
        for (score, top) in scores.iter_mut().zip(&mut tops) {
            *score = round_shift(round_shift(*score, narrowing) * mantissa, base.wrapping_sub(exponent));
            if *score > *top {
                *top = rarely(*score);
            }
        }
    }
    tops
}

/// The same number, but where it is wanted is out of the way of the loop.
#[cold]
fn rarely(score: i32) -> i32 {
    score
}

/// Softmax weights of one query: `scores` with `fraction` fraction bits (at most 10) to powers `2^(score - top)` in Q16,
/// and these times the mantissas of `z`, shifted by `base` less their exponents (which is 6 to 31), rounded half up.
/// Returns the sum of the powers.
///
/// - `exp`: `2^16 * 2^(-i/1024)`, 65535 for i = 0
/// - `scores`: one for each of `z`, in whole groups of four; what is in them afterwards says nothing
/// - `weights`: as many, in the order that [`arrange`](super::arrange) makes; those that fill up the last group become 0
pub fn softmax(
    exp: &[u16; 1024],
    scores: &mut [i32],
    top: i32,
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> u32 {
    let len = z.len();
    let mut tops = [top];
    if fraction < FRACTION {
        widen(scores.get_mut(..len).unwrap_or_default(), &mut tops, fraction);
    }
    let sum = powers(exp, scores, tops[0], z, base, weights);
    weights.get_mut(len..).unwrap_or_default().fill(0);
    super::arrange(weights);
    sum
}

#[inline(never)]
fn powers(exp: &[u16; 1024], scores: &[i32], top: i32, z: &[u8], base: u32, weights: &mut [i16]) -> u32 {
    let mut sum = 0u32;
    for ((weight, &score), &z) in weights.iter_mut().zip(scores).zip(z) {
        let e = power(exp, top, score);
        sum = sum.wrapping_add(e);
        let (mantissa, exponent) = step(z);
        *weight = round_shift(e as i32 * mantissa, base.wrapping_sub(exponent)) as i16;
        keep_rolled();
    }
    sum
}

/// `2^(score - top)` in Q16, of scores with ten fraction bits.
#[inline(always)]
fn power(exp: &[u16; 1024], top: i32, score: i32) -> u32 {
    let distance = top.wrapping_sub(score) as u32;
    // 2^-31 is 0 in Q16: there is no need to look further down.
    let octaves = (distance >> FRACTION).min(31);
    u32::from(exp[(distance & 1023) as usize]) >> octaves
}

/// [`softmax`] of two queries; `scores` as [`scores_pair`] makes them, `weights` in the order of [`arrange_pair`], both in
/// whole groups of eight.
pub fn softmax_pair(
    exp: &[u16; 1024],
    scores: &mut [i32],
    mut tops: [i32; 2],
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> [u32; 2] {
    let len = scores.len().min(2 * z.len());
    let (scores, _) = scores.split_at_mut(len);
    if fraction < FRACTION {
        widen(scores, &mut tops, fraction);
    }
    let (eights, rest) = scores.as_chunks::<8>();
    let mut last = [i32::MIN; 8];
    for (last, &score) in last.iter_mut().zip(rest) {
        *last = score;
    }
    let mut last_z = [0; 4];
    for (last, &z) in last_z.iter_mut().zip(z.get(eights.len() * 4..).unwrap_or_default()) {
        *last = z;
    }
    let (last, last_z) = if rest.is_empty() { (None, None) } else { (Some(&last), Some(&last_z)) };
    let scores = eights.iter().chain(last);
    let z = z.as_chunks::<4>().0.iter().take(eights.len()).chain(last_z);
    let mut sums = [0u32; 2];
    for ((weights, scores), z) in weights.as_chunks_mut::<8>().0.iter_mut().zip(scores).zip(z) {
        *weights = four(exp, scores, tops, z, base, &mut sums);
    }
    sums
}

/// Brings the scores of some queries to ten fraction bits, less what the largest ones have.
#[cold]
pub(super) fn widen<const QUERIES: usize>(scores: &mut [i32], tops: &mut [i32; QUERIES], fraction: u32) {
    for scores in scores.as_chunks_mut::<QUERIES>().0 {
        for (score, top) in scores.iter_mut().zip(*tops) {
            let distance = (top.wrapping_sub(*score) as u32).min((32 << (fraction & 15)) - 1);
            *score = -((distance << (FRACTION.wrapping_sub(fraction) & 31)) as i32);
        }
    }
    *tops = [0; QUERIES];
}

/// Weights of four positions, whose scores have ten fraction bits.
#[inline(always)]
fn four(
    exp: &[u16; 1024],
    scores: &[i32; 8],
    tops: [i32; 2],
    z: &[u8; 4],
    base: u32,
    sums: &mut [u32; 2],
) -> [i16; 8] {
    let mut weights = [[0; 4]; 2];
    for (i, &z) in z.iter().enumerate() {
        let (mantissa, exponent) = step(z);
        for (h, weights) in weights.iter_mut().enumerate() {
            let e = power(exp, tops[h], scores[2 * i + h]);
            sums[h] = sums[h].wrapping_add(e);
            weights[i] = round_shift(e as i32 * mantissa, base.wrapping_sub(exponent)) as i16;
        }
    }
    let [a, b] = &weights;
    group(a, b)
}

/// Puts two vectors of the same length into the order in which [`product_pair`] wants them: of every group of four
/// elements of `a` and `b`, (a0, a2, b0, b2, a1, a3, b1, b3).
///
/// `pair` holds twice as many elements, in whole groups of eight; what the vectors lack counts as 0.
pub fn arrange_pair(a: &[i16], b: &[i16], pair: &mut [i16]) {
    let four = |from: &[i16]| -> [i16; 4] { core::array::from_fn(|i| from.get(i).copied().unwrap_or(0)) };
    for (pair, (a, b)) in pair.as_chunks_mut::<8>().0.iter_mut().zip(a.chunks(4).zip(b.chunks(4))) {
        *pair = group(&four(a), &four(b));
    }
}

#[inline(always)]
fn group(a: &[i16; 4], b: &[i16; 4]) -> [i16; 8] {
    [a[0], a[2], b[0], b[2], a[1], a[3], b[1], b[3]]
}

/// Multiplies a matrix by two vectors: `y[2 * row]` becomes the sum over `column` of `weights[row * stride + column] *
/// a[column]`, `y[2 * row + 1]` that with `b`.
///
/// - `weights`: rows of `columns` elements, `stride` apart; the last one may end before a whole stride
/// - `pair`: `a` and `b`, as [`arrange_pair`] makes them
/// - `y`: two sums for each row
///
/// Where `weights` has fewer whole rows than `y` has pairs, the other elements stay as they are; where `pair` is too
/// short, all of them.
pub fn product_pair(weights: &[i8], stride: usize, columns: usize, pair: &[i16], y: &mut [i32]) {
    let (groups, _) = pair.as_chunks::<8>();
    if groups.len() < columns.div_ceil(4) {
        return;
    }
    for (row, y) in rows::rows(weights, stride, columns).zip(y.as_chunks_mut::<2>().0) {
        let mut sums = [0i32; 2];
        for (weights, [a0, a2, b0, b2, a1, a3, b1, b3]) in row.chunks(4).zip(groups) {
            for (sum, x) in sums.iter_mut().zip([[a0, a1, a2, a3], [b0, b1, b2, b3]]) {
                for (&w, &x) in weights.iter().zip(x) {
                    *sum = sum.wrapping_add(i32::from(w) * i32::from(x));
                }
            }
        }
        *y = sums;
    }
}
