//! The suite's part for attention: scores, softmax and products with two vectors, against the definitions in 64-bit numbers.
//!
//! Needs less than 8 KiB of stack.

use super::suite::{Failure, Random};
use super::{arrange, attention};
use crate::fixed::EXP2_1024;

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    arrange_pair: fn(&[i16], &[i16], &mut [i16]),
    product_pair: fn(&[i8], usize, usize, &[i16], &mut [i32]),
    scores: Scores,
    scores_pair: ScoresPair,
    softmax: Softmax<i32, u32>,
    softmax_pair: Softmax<[i32; 2], [u32; 2]>,
    weighted_sum: fn(&[i8], usize, &[i16], &mut [i32]),
    /// What `scores` and `weighted_sum` find added to the elements.
    offset: u8,
    /// How `weighted_sum` finds the values.
    transposed: bool,
}

type Scores = fn(&[i8], &[u8], &[i16], u32, &mut [i32]) -> i32;
type ScoresPair = fn(&[i8], usize, &[u8], &[i16], (u32, u32), &mut [i32]) -> [i32; 2];
type Softmax<T, S> = fn(&[u16; 1024], &mut [i32], T, u32, &[u8], u32, &mut [i16]) -> S;

macro_rules! kernel {
    ($name:expr, $implementation:path) => {{
        use $implementation as of;
        Kernel {
            name: $name,
            arrange_pair: of::arrange_pair,
            product_pair: of::product_pair,
            scores: of::scores,
            scores_pair: of::scores_pair,
            softmax: of::softmax,
            softmax_pair: of::softmax_pair,
            weighted_sum: of::weighted_sum,
            offset: of::CACHE_OFFSET,
            transposed: of::VALUES_TRANSPOSED,
        }
    }};
}

/// Every implementation that this target can run.
const KERNELS: [Kernel; 2] = [kernel!("safe attention", attention), kernel!(super::NAME, super)];

/// Lengths of the cache: every rest of the loops, and longer ones.
const LENGTHS: [usize; 22] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 50, MAX_LENGTH];
const HEADS: [usize; 6] = [4, 6, 8, 12, 16, 64];
const MAX_LENGTH: usize = 128;
/// Elements of a cache.
const MAX_CACHE: usize = 1536;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;

/// How a case is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// All of the numbers that there are.
    Random,
    /// The same, not at multiples of four bytes.
    Unaligned,
    /// The largest products, with either sign.
    Extreme(i8),
    /// Small products, whose powers are not all 0.
    Near,
}

const FILLS: [Fill; 6] =
    [Fill::Random, Fill::Near, Fill::Unaligned, Fill::Extreme(127), Fill::Extreme(-127), Fill::Near];

/// Runs all cases; returns the number of elements compared.
#[inline(never)]
pub fn run() -> Result<u32, Failure> {
    let mut compared = 0;
    for kernel in &KERNELS {
        compared += check(kernel)?;
    }
    Ok(compared)
}

fn check(kernel: &Kernel) -> Result<u32, Failure> {
    let mut random = Random(1);
    let mut compared = 0;
    for head_dim in HEADS {
        for len in LENGTHS.into_iter().filter(|len| head_dim * len.next_multiple_of(4) <= MAX_CACHE) {
            for fill in FILLS {
                compared += kernel.check_attention(head_dim, len, fill, &mut random)?;
            }
        }
    }
    Ok(compared)
}

/// A buffer whose start LDM can read.
#[repr(align(4))]
struct Aligned<T>(T);

/// `v / 2^s`, rounded half up.
fn rounded(v: i64, s: u32) -> i64 {
    let half = if s == 0 { 0 } else { 1i64 << (s - 1) };
    (v + half) >> s
}

fn mantissa(z: u8) -> i64 {
    i64::from(16 + z % 16)
}

fn exponent(z: u8) -> u32 {
    u32::from(z / 16)
}

impl Kernel {
    /// An error where the two differ, with the shape of the case.
    fn same(
        &self,
        found: i64,
        expected: i64,
        element: usize,
        rows: usize,
        columns: usize,
    ) -> Result<(), Failure> {
        if found == expected {
            return Ok(());
        }
        let (expected, found) = (expected as i32, found as i32);
        Err(Failure { kernel: self.name, rows, columns, stride: columns, element, expected, found })
    }

    /// Attention of two heads that share keys and values, and of the first one alone: scores, weights and sums.
    #[inline(never)]
    fn check_attention(
        &self,
        head_dim: usize,
        len: usize,
        fill: Fill,
        random: &mut Random,
    ) -> Result<u32, Failure> {
        let start = usize::from(fill == Fill::Unaligned);
        let largest = random.below(16);
        let mut z = [0; MAX_LENGTH + 3];
        z.fill_with(|| (random.below(largest + 1) * 16 + random.below(16)) as u8);
        let z = &z[len % 4..][..len];
        let mut keys = Aligned([0i8; MAX_CACHE + 1]);
        let mut queries = [[0i16; 64]; 2];
        for key in &mut keys.0 {
            *key = if let Fill::Extreme(key) = fill { key } else { random.within(127) as i8 };
        }
        for query in queries.as_flattened_mut() {
            *query = match fill {
                Fill::Extreme(_) => 32767,
                Fill::Near => random.within(20) as i16,
                _ => random.within(32767) as i16,
            };
        }
        let queries = queries.each_ref().map(|query| &query[..head_dim]);
        let keys = &mut keys.0[start..];
        let offset =
            |keys: &mut [i8]| keys.iter_mut().for_each(|key| *key = (*key as u8 ^ self.offset) as i8);
        let base = largest + random.below(25 - largest);
        let padded = len.next_multiple_of(4);
        let (mut pair, mut found) = (Aligned([0i16; 2 * MAX_LENGTH + 1]), [UNTOUCHED; 2 * MAX_LENGTH + 1]);
        let end = 2 * head_dim.next_multiple_of(4);
        (self.arrange_pair)(queries[0], queries[1], &mut pair.0[start..][..end]);
        let tops = (self.scores_pair)(
            keys,
            head_dim,
            z,
            &pair.0[start..][..end],
            (base, largest),
            &mut found[..2 * len],
        );
        self.same(found[2 * len].into(), UNTOUCHED.into(), 2 * len, len, head_dim)?;
        let mut single = [UNTOUCHED; MAX_LENGTH + 1];
        let mut query = Aligned([0i16; 65]);
        let query = &mut query.0[start..][..head_dim];
        query.copy_from_slice(queries[0]);
        arrange(query);
        offset(keys);
        let top = (self.scores)(keys, z, query, base, &mut single[..len]);
        offset(keys);
        let bits = (usize::BITS - (head_dim - 1).leading_zeros()).saturating_sub(4);
        let score = |query: &[i16], j: usize| {
            let products =
                query.iter().zip(&keys[j * head_dim..]).map(|(&q, &k)| i64::from(q) * i64::from(k));
            rounded(rounded(products.sum(), bits) * mantissa(z[j]), base - exponent(z[j]))
        };
        self.same(single[len].into(), UNTOUCHED.into(), len, len, head_dim)?;
        for (h, query) in queries.into_iter().enumerate() {
            let mut largest = i64::MIN;
            for j in 0..len {
                let expected = score(query, j);
                largest = largest.max(expected);
                self.same(found[2 * j + h].into(), expected, 2 * j + h, len, head_dim)?;
                if h == 0 {
                    self.same(single[j].into(), expected, j, len, head_dim)?;
                }
            }
            self.same(tops[h].into(), largest, len, len, head_dim)?;
        }
        self.same(top.into(), tops[0].into(), len, len, head_dim)?;

        let fraction = if fill == Fill::Near { 10 } else { random.below(11) };
        let base = largest + 6 + random.below(26 - largest);
        let distance =
            |h: usize, j: usize| (i64::from(tops[h]) - i64::from(found[2 * j + h])).min((32 << fraction) - 1);
        let mut expected = [[0i64; 2]; MAX_LENGTH];
        let mut powers = [0i64; 2];
        for (j, weights) in expected[..len].iter_mut().enumerate() {
            for (h, weight) in weights.iter_mut().enumerate() {
                let distance = distance(h, j);
                let entry = EXP2_1024[((distance % (1 << fraction)) << (10 - fraction)) as usize];
                let power = i64::from(entry) >> (distance >> fraction);
                powers[h] += power;
                *weight = rounded(power * mantissa(z[j]), base - exponent(z[j]));
            }
        }
        let weights = &mut pair.0[start..];
        weights.fill(-1);
        let sums = (self.softmax_pair)(
            &EXP2_1024,
            &mut found[..2 * padded],
            tops,
            fraction,
            z,
            base,
            &mut weights[..2 * padded],
        );
        for (j, expected) in expected[..padded].iter().enumerate() {
            for (h, &expected) in expected.iter().enumerate() {
                // (a0, a2, b0, b2, a1, a3, b1, b3)
                let at = j / 4 * 8 + [0, 4, 1, 5][j % 4] + 2 * h;
                self.same(weights[at].into(), expected, at, 2, len)?;
            }
            self.same(sums[j % 2].into(), powers[j % 2], j, 2, len)?;
        }
        let mut out = [UNTOUCHED; 2 * 64 + 1];
        (self.product_pair)(keys, padded, padded, &weights[..2 * padded], &mut out[..2 * head_dim]);
        let sum = |c: usize, h: usize| {
            let values = &keys[c * padded..][..padded];
            values.iter().zip(&expected).map(|(&value, weights)| i64::from(value) * weights[h]).sum()
        };
        self.same(out[2 * head_dim].into(), UNTOUCHED.into(), 2 * head_dim, head_dim, len)?;
        for c in 0..head_dim {
            for h in 0..2 {
                self.same(out[2 * c + h].into(), sum(c, h), 2 * c + h, head_dim, len)?;
            }
        }

        weights.fill(-1);
        let power =
            (self.softmax)(&EXP2_1024, &mut single[..padded], top, fraction, z, base, &mut weights[..padded]);
        self.same(power.into(), powers[0], 0, 1, len)?;
        let mut arranged = Aligned([0i16; MAX_LENGTH]);
        let arranged = &mut arranged.0[..padded];
        for (weight, expected) in arranged.iter_mut().zip(&expected) {
            *weight = expected[0] as i16;
        }
        arrange(arranged);
        for (at, (&found, &expected)) in weights.iter().zip(&*arranged).enumerate() {
            self.same(found.into(), expected.into(), at, 1, len)?;
        }
        let sums: [i64; 64] = core::array::from_fn(|c| {
            let value = |j: usize| keys[if self.transposed { c * padded + j } else { j * head_dim + c }];
            (0..if c < head_dim { len } else { 0 }).map(|j| i64::from(value(j)) * expected[j][0]).sum()
        });
        offset(keys);
        out.fill(UNTOUCHED);
        // Where positions are rows, there are none for the weights that fill up the last group.
        let values = if self.transposed { &*keys } else { &keys[..len * head_dim] };
        (self.weighted_sum)(values, padded, &weights[..padded], &mut out[..head_dim]);
        self.same(out[head_dim].into(), UNTOUCHED.into(), head_dim, head_dim, len)?;
        for (c, &found) in out[..head_dim].iter().enumerate() {
            self.same(found.into(), sums[c], c, head_dim, len)?;
        }
        Ok((3 * len + 3 * padded + 3 * head_dim) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_of_this_target_pass() {
        let compared = run().unwrap();
        assert!(compared > 10_000, "only {compared} elements");
    }

    #[test]
    fn the_suite_finds_a_wrong_kernel() {
        let wrong = Kernel {
            name: "wrong",
            softmax_pair: |exp, scores, tops, fraction, z, base, weights| {
                let sums = attention::softmax_pair(exp, scores, tops, fraction, z, base, weights);
                if z.len() == 17 {
                    weights[35] ^= 1;
                }
                sums
            },
            ..kernel!("", attention)
        };
        let failure = check(&wrong).unwrap_err();
        assert_eq!((failure.columns, failure.element), (17, 35));
    }
}
