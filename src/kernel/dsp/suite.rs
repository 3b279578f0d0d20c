//! Checks what only these kernels have, attention, rescaling and the other passes, against the definitions in 64-bit numbers.
//!
//! Needs less than 16 KiB of stack.

use super::super::passes::{BlockShift, Gate};
use super::super::suite::Failure;
use super::{
    NAME, activate_gated, add, arrange, arrange_pair, magnitude, matvec_strided, multiply, operand_len, peak,
    prepare, prepare_scaled, product_pair, rescale, rotate, round, scale, scores, scores_pair, softmax,
    softmax_pair, squares, store,
};
use crate::format::InputWidth;

/// Lengths of the cache: every rest of the loops, and longer ones.
const LENGTHS: [usize; 22] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 50, MAX_LENGTH];
const HEADS: [usize; 6] = [4, 6, 8, 12, 16, 64];
const MAX_LENGTH: usize = 256;
/// Elements of a cache.
const MAX_CACHE: usize = 4096;
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
pub fn check() -> Result<u32, Failure> {
    let mut random = Random(1);
    let mut compared = check_rescale(&mut random)?;
    for len in 0..MAX_PASS {
        for start in 0..2 {
            for shift in -3..17 {
                compared += check_rounding(len, start, shift, &mut random)?;
            }
            compared += check_elements(len, start, &mut random)?;
        }
    }
    for head_dim in HEADS {
        for len in LENGTHS.into_iter().filter(|len| head_dim * len.next_multiple_of(4) <= MAX_CACHE) {
            for fill in FILLS {
                compared += check_attention(head_dim, len, fill, &mut random)?;
            }
        }
    }
    Ok(compared)
}

/// xorshift32 (Marsaglia 2003).
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(end)) >> 32) as u32
    }

    fn within(&mut self, bound: i32) -> i32 {
        self.below(2 * bound as u32 + 1) as i32 - bound
    }
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

/// An error where the two differ, with the shape of the case.
fn same(found: i64, expected: i64, element: usize, rows: usize, columns: usize) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (expected as i32, found as i32);
    Err(Failure { kernel: NAME, rows, columns, stride: columns, element, expected, found })
}

/// Attention of two heads that share keys and values, and of the first one alone: scores, weights and sums.
fn check_attention(head_dim: usize, len: usize, fill: Fill, random: &mut Random) -> Result<u32, Failure> {
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
    let keys = &keys.0[start..];
    let base = largest + random.below(25 - largest);
    let bits = (usize::BITS - (head_dim - 1).leading_zeros()).saturating_sub(4);
    let score = |query: &[i16], j: usize| {
        let products = query.iter().zip(&keys[j * head_dim..]).map(|(&q, &k)| i64::from(q) * i64::from(k));
        rounded(rounded(products.sum(), bits) * mantissa(z[j]), base - exponent(z[j]))
    };

    let padded = len.next_multiple_of(4);
    let (mut pair, mut found) = (Aligned([0i16; 2 * MAX_LENGTH + 1]), [UNTOUCHED; 2 * MAX_LENGTH + 1]);
    let end = 2 * head_dim.next_multiple_of(4);
    arrange_pair(queries[0], queries[1], &mut pair.0[start..][..end]);
    let tops =
        scores_pair(keys, head_dim, z, &pair.0[start..][..end], (base, largest), &mut found[..2 * len]);
    same(found[2 * len].into(), UNTOUCHED.into(), 2 * len, len, head_dim)?;
    let mut single = [UNTOUCHED; MAX_LENGTH + 1];
    let mut query = Aligned([0i16; 65]);
    let query = &mut query.0[start..][..head_dim];
    query.copy_from_slice(queries[0]);
    arrange(query);
    let top = scores(keys, z, query, base, &mut single[..len]);
    same(single[len].into(), UNTOUCHED.into(), len, len, head_dim)?;
    for (h, query) in queries.into_iter().enumerate() {
        let mut largest = i64::MIN;
        for j in 0..len {
            let expected = score(query, j);
            largest = largest.max(expected);
            same(found[2 * j + h].into(), expected, 2 * j + h, len, head_dim)?;
            if h == 0 {
                same(single[j].into(), expected, j, len, head_dim)?;
            }
        }
        same(tops[h].into(), largest, len, len, head_dim)?;
    }
    same(top.into(), tops[0].into(), len, len, head_dim)?;

    // Any table will do.
    let mut table = [65535u16; 1024];
    table[1..].fill_with(|| 32768 + random.below(32768) as u16);
    let fraction = if fill == Fill::Near { 10 } else { random.below(11) };
    let base = largest + 6 + random.below(26 - largest);
    let distance =
        |h: usize, j: usize| (i64::from(tops[h]) - i64::from(found[2 * j + h])).min((32 << fraction) - 1);
    let mut expected = [[0i64; 2]; MAX_LENGTH];
    let mut powers = [0i64; 2];
    for (j, weights) in expected[..len].iter_mut().enumerate() {
        for (h, weight) in weights.iter_mut().enumerate() {
            let distance = distance(h, j);
            let entry = table[((distance % (1 << fraction)) << (10 - fraction)) as usize];
            let power = i64::from(entry) >> (distance >> fraction);
            powers[h] += power;
            *weight = rounded(power * mantissa(z[j]), base - exponent(z[j]));
        }
    }
    let weights = &mut pair.0[start..];
    weights.fill(-1);
    let sums =
        softmax_pair(&table, &mut found[..2 * padded], tops, fraction, z, base, &mut weights[..2 * padded]);
    for (j, expected) in expected[..padded].iter().enumerate() {
        for (h, &expected) in expected.iter().enumerate() {
            // (a0, a2, b0, b2, a1, a3, b1, b3)
            let at = j / 4 * 8 + [0, 4, 1, 5][j % 4] + 2 * h;
            same(weights[at].into(), expected, at, 2, len)?;
        }
        same(sums[j % 2].into(), powers[j % 2], j, 2, len)?;
    }
    let mut out = [UNTOUCHED; 2 * 64 + 1];
    product_pair(keys, padded, padded, &weights[..2 * padded], &mut out[..2 * head_dim]);
    let sum = |c: usize, h: usize| {
        let values = &keys[c * padded..][..padded];
        values.iter().zip(&expected).map(|(&value, weights)| i64::from(value) * weights[h]).sum()
    };
    same(out[2 * head_dim].into(), UNTOUCHED.into(), 2 * head_dim, head_dim, len)?;
    for c in 0..head_dim {
        for h in 0..2 {
            same(out[2 * c + h].into(), sum(c, h), 2 * c + h, head_dim, len)?;
        }
    }

    weights.fill(-1);
    let power = softmax(&table, &mut single[..padded], top, fraction, z, base, &mut weights[..padded]);
    same(power.into(), powers[0], 0, 1, len)?;
    for (j, expected) in expected[..padded].iter().enumerate() {
        let at = j / 4 * 4 + [0, 2, 1, 3][j % 4];
        same(weights[at].into(), expected[0], at, 1, len)?;
    }
    matvec_strided(keys, padded, &weights[..padded], &mut out[..head_dim]);
    for (c, &found) in out[..head_dim].iter().enumerate() {
        same(found.into(), sum(c, 0), c, head_dim, len)?;
    }
    Ok((3 * len + 3 * padded + 3 * head_dim) as u32)
}

/// Longer than two rounds of every loop.
const MAX_PASS: usize = 26;

/// Passes that shift by what the residual stream asks for: every rest of the loops, and 16-bit elements at either half of a
/// word.
fn check_rounding(len: usize, start: usize, shift: i32, random: &mut Random) -> Result<u32, Failure> {
    let right = shift.max(0).unsigned_abs();
    let place = |v: i32| rounded(i64::from(v) << (-shift).max(0), right);
    let mut values = [0i32; MAX_PASS];
    values.fill_with(|| random.within((1 << (14 + shift)) - 1));
    let values = &values[..len];
    let (mut q, block) = (Aligned([UNTOUCHED as i16; MAX_PASS + 2]), BlockShift::new(shift));
    round(values, block, &mut q.0[start..][..len]);
    let mut sizes = 0;
    for (i, &v) in values.iter().enumerate() {
        same(q.0[start + i].into(), place(v), i, len, start)?;
        sizes |= if v < 0 { -1 - i64::from(v) } else { v.into() };
    }
    same(q.0[start + len].into(), (UNTOUCHED as i16).into(), len, len, start)?;
    same(magnitude(values).into(), sizes, len, len, start)?;

    let (mut openings, mut ups) = ([0u16; 513], [0i32; MAX_PASS]);
    openings.fill_with(|| random.below((1 << 14) + 1) as u16);
    ups.fill_with(|| random.within((1 << 20) - 1));
    let (to_table, up) = (random.below(4), random.below(11));
    let gate = Gate { shift: block, to_table: (0, to_table), openings: Some(&openings), up };
    let mut gated = [UNTOUCHED; MAX_PASS + 1];
    gated[..len].copy_from_slice(values);
    let found_sizes = activate_gated(&mut gated[..len], &ups[..len], &gate);
    sizes = 0;
    for (i, (&v, &u)) in values.iter().zip(&ups).enumerate() {
        let x = place(v);
        let at = (x.abs() >> to_table).min((1 << 14) - 1);
        let entry = |i: i64| i64::from(openings[i as usize]);
        let opening = rounded(entry(at / 32) * (32 - at % 32) + entry(at / 32 + 1) * (at % 32), 5);
        let result = (i64::from(u) * (1 << up) * rounded(x * (1 << 14) + x.abs() * opening, 15)) >> 16;
        same(gated[i].into(), result, i, len, 0)?;
        sizes |= if result < 0 { -1 - result } else { result };
    }
    same(found_sizes.into(), sizes, len, len, 0)?;
    same(gated[len].into(), UNTOUCHED.into(), len, len, 0)?;
    Ok(2 * len as u32)
}

/// The other passes.
fn check_elements(len: usize, start: usize, random: &mut Random) -> Result<u32, Failure> {
    let mut q = [0i16; MAX_PASS];
    q.fill_with(|| random.within(1 << 14) as i16);
    let q = &q[..len];
    let mut others = Aligned([0i16; MAX_PASS + 1]);
    others.0.fill_with(|| random.within(32767) as i16);
    let others = &others.0[start..][..len];
    let mut copy = Aligned([0i16; MAX_PASS + 2]);
    copy.0[start..][..len].copy_from_slice(q);
    let whole = &copy.0[start..][..len];
    let largest = q.iter().fold(0i64, |peak, &q| peak.max(i64::from(q).abs()));
    same(peak(whole).into(), largest, 0, len, start)?;
    let sum: i64 = q.iter().map(|&q| i64::from(q) * i64::from(q)).sum();
    same(squares(whole) as i64, sum, 1, len, start)?;

    multiply(&mut copy.0[start..][..len], others);
    for (i, (&q, &g)) in q.iter().zip(others).enumerate() {
        same(copy.0[start + i].into(), rounded(i64::from(q) * i64::from(g), 15), i, len, start)?;
    }

    let factor = ((127 << 24) / largest.max(1)) as i32;
    copy.0[start..][..len].copy_from_slice(q);
    scale(&mut copy.0[start..][..len], factor);
    for (i, &q) in q.iter().enumerate() {
        same(copy.0[start + i].into(), rounded(i64::from(q) * i64::from(factor), 24), i, len, start)?;
    }
    // An operand of scaled elements is that of what they are scaled to.
    let (mut once, mut twice) = ([0; operand_len(MAX_PASS)], [0; operand_len(MAX_PASS)]);
    prepare(&copy.0[start..][..len], InputWidth::A8, &mut twice);
    copy.0[start..][..len].copy_from_slice(q);
    if prepare_scaled(&copy.0[start..][..len], factor, &mut once) {
        for (i, (once, twice)) in once.into_iter().zip(twice).enumerate() {
            same(once.into(), twice.into(), i, len, start)?;
        }
    } else if len > 0 && len.is_multiple_of(4) && start == 0 && largest > 255 {
        return same(0, 1, 0, len, start).map(|()| 0);
    }

    for (stride, shift) in [(1, 1), (1, 17), (7, 2), (7, 25), (4, 31)] {
        let mut elements = [99i8; 7 * MAX_PASS];
        let factor = 16_384 + random.below(16_385) as i32;
        store(&copy.0[start..][..len], factor, shift, &mut elements, stride);
        for (i, &found) in elements.iter().enumerate() {
            let expected = match q.get(i / stride) {
                Some(&q) if i % stride == 0 => {
                    rounded(i64::from(q) * i64::from(factor), shift).clamp(-128, 127)
                }
                _ => 99,
            };
            same(found.into(), expected, i, len, stride)?;
        }
    }

    let pairs = len / 2 * 2;
    let mut turns = Aligned([0i16; MAX_PASS + 1]);
    turns.0.fill_with(|| random.within(1 << 14) as i16);
    let turns = &turns.0[start..][..pairs];
    rotate(&mut copy.0[start..][..pairs], turns);
    for i in (0..pairs).step_by(2) {
        let [a, b] = [q[i], q[i + 1]].map(i64::from);
        let [cos, sin] = [turns[i], turns[i + 1]].map(i64::from);
        let turned = [rounded(a * cos - b * sin, 14), rounded(a * sin + b * cos, 14)];
        for (h, turned) in turned.into_iter().enumerate() {
            // The low 16 bits: a sum may have 15 and a sign.
            same(copy.0[start + i + h].into(), i64::from(turned as i16), i + h, len, start)?;
        }
    }

    let (mut sums, mut values) = ([UNTOUCHED; MAX_PASS + 1], [0i32; MAX_PASS]);
    sums[..len].fill_with(|| random.next() as i32);
    values.fill_with(|| random.next() as i32);
    let before = sums;
    let found_sizes = add(&mut sums[..len], &values[..len]);
    let mut sizes = 0;
    for i in 0..len {
        let sum = i64::from(before[i]) + i64::from(values[i]);
        let sum = sum.clamp(i32::MIN.into(), i32::MAX.into());
        same(sums[i].into(), sum, i, len, 2)?;
        sizes |= if sum < 0 { -1 - sum } else { sum };
    }
    same(found_sizes.into(), sizes, len, len, 2)?;
    same(sums[len].into(), UNTOUCHED.into(), len, len, 2)?;
    Ok(10 * len as u32)
}

/// Every shift, every rest of the loop, and multipliers at an odd half of a word.
fn check_rescale(random: &mut Random) -> Result<u32, Failure> {
    let mut compared = 0;
    for shift in -2..32 {
        for len in 0..20 {
            let (mut y, mut multipliers) = ([0; 20], Aligned([0; 20]));
            y.fill_with(|| random.next() as i32 >> if shift < 0 { 2 } else { 0 });
            multipliers.0.fill_with(|| random.next() as i16);
            let multipliers = &multipliers.0[len % 2..][..len];
            let scale = random.next() as i16;
            let before = y;
            let magnitudes = rescale(&mut y[..len], multipliers, 0, scale, shift);
            let mut expected = 0;
            for (i, (&found, &before)) in y.iter().zip(&before).enumerate() {
                let Some(&multiplier) = multipliers.get(i) else {
                    same(found.into(), before.into(), i, len, 1)?;
                    continue;
                };
                let product = (i64::from(before) * i64::from(multiplier)) >> 16;
                same(crate::shift::mul_w(before, multiplier).into(), product, i, len, 1)?;
                let result = (product * i64::from(scale)) >> 16;
                let result = match shift {
                    0.. => rounded(result, shift.unsigned_abs()),
                    _ => result << shift.unsigned_abs(),
                };
                same(found.into(), result, i, len, 1)?;
                expected |= result ^ (result >> 63);
            }
            same(magnitudes.into(), expected, len, len, 1)?;
            compared += len as u32;
        }
    }
    Ok(compared)
}
