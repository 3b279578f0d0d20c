//! Checks what only these kernels have against the definitions in 64-bit numbers, and the passes against their safe
//! versions.
//!
//! Needs less than 16 KiB of stack.

use super::super::passes::{BlockShift, Gate, Openings};
use super::super::{passes, reference, suite::Failure};
use super::{
    NAME, activate_gated, matvec_strided, peak, rescale, rotate, round, rows, scale, scores, softmax,
};
use crate::format::InputWidth::{A8, A16};

/// Every rest of the vectors, and longer ones.
const LENGTHS: core::ops::Range<usize> = 0..MAX_LENGTH;
const MAX_LENGTH: usize = 37;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;

/// Runs all cases; returns the number of elements compared.
pub fn check() -> Result<u32, Failure> {
    let mut random = Random(1);
    let mut compared = check_matrices(&mut random)?;
    compared += check_rescale(&mut random)?;
    compared += check_gate(&mut random)?;
    compared += check_rotate(&mut random)?;
    for len in LENGTHS {
        compared += check_narrowing(len, &mut random)?;
        for head_dim in [4, 6, 8, 16, 24, 32, 40, 64] {
            for near in [false, true] {
                compared += check_attention(head_dim, len, near, &mut random)?;
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

/// `v / 2^s`, rounded half up.
fn rounded(v: i64, s: u32) -> i64 {
    let half = if s == 0 { 0 } else { 1i64 << (s - 1) };
    (v + half) >> s
}

/// An error where the two differ, with the shape of the case.
fn same(found: i64, expected: i64, element: usize, rows: usize, columns: usize) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (expected as i32, found as i32);
    Err(Failure { kernel: NAME, rows, columns, stride: columns, element, expected, found })
}

/// An error where two vectors differ.
fn all_same<T: Copy + Into<i64>>(found: &[T], expected: &[T], case: usize) -> Result<u32, Failure> {
    let len = expected.len();
    same(found.len() as i64, len as i64, len, case, len)?;
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        same(found.into(), expected.into(), i, case, len)?;
    }
    Ok(len as u32)
}

/// Rows by 8-bit inputs as bytes and by 16-bit ones: every number of rows up to two blocks and a rest, with columns that fill
/// registers and with others; the largest sums.
fn check_matrices(random: &mut Random) -> Result<u32, Failure> {
    const ROWS: usize = 11;
    const COLUMNS: usize = 176;
    let mut compared = 0;
    let mut weights = [0i8; ROWS * COLUMNS];
    for (width, largest) in [(A8, 127), (A16, 16384)] {
        for extreme in [None, Some(-128), Some(127)] {
            weights.fill_with(|| extreme.unwrap_or(random.next() as i8));
            for columns in (4..=COLUMNS).step_by(4) {
                let mut x = [0i16; COLUMNS];
                x.fill_with(
                    || if extreme.is_some() { largest } else { random.within(largest.into()) as i16 },
                );
                let natural = x;
                let natural = &natural[..columns];
                let x = &mut x[..columns];
                let mut operand = [0xDEAD_BEEF; COLUMNS + 4];
                rows::prepare(x, width, &mut operand);
                for rows in 1..=ROWS {
                    let mut found = [UNTOUCHED; ROWS + 1];
                    rows::product(&weights[..rows * columns], x, &operand, width, &mut found);
                    for (row, &found) in found.iter().enumerate() {
                        let expected = if row < rows {
                            reference::product(&weights, columns, natural, row)
                        } else {
                            UNTOUCHED
                        };
                        same(found.into(), expected.into(), row, rows, columns)?;
                    }
                    compared += rows as u32;
                }
            }
        }
    }
    Ok(compared)
}

/// Every shift and every rest; the bits of the result's magnitude.
fn check_rescale(random: &mut Random) -> Result<u32, Failure> {
    let mut compared = 0;
    for right in -2..32 {
        for len in LENGTHS {
            let up = random.below(9);
            let (mut y, mut scales) = ([0; MAX_LENGTH], [0; MAX_LENGTH]);
            y.fill_with(|| random.next() as i32 >> (up + if right < 0 { 2 } else { 0 }));
            scales.fill_with(|| random.next() as i16);
            let scale = random.next() as i16;
            let mut expected = y;
            let magnitude = rescale(&mut y[..len], &scales[..len], up, scale, right);
            let mut size = 0;
            for (y, &row) in expected[..len].iter_mut().zip(&scales) {
                let product = ((i64::from(*y) << up) * i64::from(row)) >> 16;
                let product = (product * i64::from(scale)) >> 16;
                *y = match right {
                    0.. => rounded(product, right.unsigned_abs()) as i32,
                    _ => (product << right.unsigned_abs()) as i32,
                };
                size |= *y ^ (*y >> 31);
            }
            compared += all_same(&y, &expected, right as usize)?;
            same((32 - magnitude.leading_zeros()).into(), (32 - size.leading_zeros()).into(), len, 1, len)?;
        }
    }
    Ok(compared)
}

/// Every shift of the gate with those to the table that go with it, on a table of small steps.
fn check_gate(random: &mut Random) -> Result<u32, Failure> {
    let mut compared = 0;
    let mut openings: Openings = [0; 513];
    let mut opening = 0;
    for entry in &mut openings {
        *entry = opening;
        opening = (opening + random.below(410) as u16).min(16384);
    }
    for s in -14..18 {
        for fraction in [-7, 0, 8, 10, 11, 24, 31, 41] {
            let len = random.below(MAX_LENGTH as u32) as usize;
            let (mut values, mut ups) = ([0; MAX_LENGTH], [0; MAX_LENGTH]);
            let bits = (14 + s) as u32;
            values.fill_with(|| random.within(((1i64 << bits) - 1).min(i32::MAX.into()) as i32));
            let up = random.below(31);
            ups.fill_with(|| random.within(i32::MAX >> up));
            for openings in [Some(&openings), None] {
                let gate = Gate {
                    shift: BlockShift::new(s),
                    to_table: ((10 - fraction).clamp(0, 17) as u32, (fraction - 10).clamp(0, 31) as u32),
                    openings,
                    up,
                };
                let (mut found, mut expected) = (values, values);
                let size = activate_gated(&mut found[..len], &ups[..len], &gate);
                let right = passes::activate_gated(&mut expected[..len], &ups[..len], &gate);
                compared += all_same(&found, &expected, s as usize)?;
                same(size.leading_zeros().into(), right.leading_zeros().into(), len, 2, len)?;
            }
        }
    }
    Ok(compared)
}

/// Pairs by rotations, and by the largest entries of a table that there are.
fn check_rotate(random: &mut Random) -> Result<u32, Failure> {
    let mut compared = 0;
    for len in LENGTHS.step_by(2) {
        for extreme in [false, true] {
            let (mut x, mut turns) = ([0i16; MAX_LENGTH], [0i16; MAX_LENGTH]);
            x.fill_with(|| if extreme { -16384 } else { random.within(16384) as i16 });
            turns.fill_with(|| if extreme { random.within(1) as i16 * 32767 } else { random.next() as i16 });
            let mut expected = x;
            rotate(&mut x[..len], &turns[..len]);
            passes::rotate(&mut expected[..len], &turns[..len]);
            compared += all_same(&x, &expected, len)?;
        }
    }
    Ok(compared)
}

/// To 14 bits, the peak of these, and to 8 bits.
fn check_narrowing(len: usize, random: &mut Random) -> Result<u32, Failure> {
    let mut compared = 0;
    for s in -14..18 {
        let mut values = [0; MAX_LENGTH];
        let bound = ((1i64 << (14 + s)) - 1).min(i32::MAX.into()) as i32;
        values.fill_with(|| if random.below(4) == 0 { bound } else { random.within(bound) });
        let (mut found, mut expected) = ([-1; MAX_LENGTH], [-1; MAX_LENGTH]);
        let shift = BlockShift::new(s);
        round(&values[..len], shift, &mut found[..len]);
        passes::round(&values[..len], shift, &mut expected[..len]);
        compared += all_same(&found, &expected, s as usize)?;
        let largest = peak(&found[..len]);
        same(largest.into(), passes::peak(&found[..len]).into(), len, 3, len)?;
        let factor = (127 << 24) / largest.max(1) as i32;
        scale(&mut found[..len], factor);
        passes::scale(&mut expected[..len], factor);
        compared += all_same(&found, &expected, s as usize)?;
    }
    same(peak(&[3, i16::MIN, -7]).into(), 32768, 1, 1, 3)?;
    Ok(compared)
}

/// Attention of one head: scores, weights and their sum, and the product with the values.
fn check_attention(head_dim: usize, len: usize, near: bool, random: &mut Random) -> Result<u32, Failure> {
    const COLUMNS: usize = MAX_LENGTH.next_multiple_of(4);
    let largest = random.below(16);
    let (mut z, mut keys, mut query) = ([0; MAX_LENGTH], [0i8; COLUMNS * 64], [0i16; 64]);
    z.fill_with(|| (random.below(largest + 1) * 16 + random.below(16)) as u8);
    keys.fill_with(|| random.within(127) as i8);
    query.fill_with(|| random.within(if near { 20 } else { 32767 }) as i16);
    let (z, query) = (&z[..len], &query[..head_dim]);
    let mantissa = |j: usize| i64::from(16 + z[j] % 16);
    let exponent = |j: usize| u32::from(z[j] / 16);
    let base = largest + random.below(25 - largest);
    let narrowing = (usize::BITS - (head_dim - 1).leading_zeros()).saturating_sub(4);

    let mut found = [UNTOUCHED; MAX_LENGTH];
    let top = scores(&keys[..len * head_dim], z, query, base, &mut found[..len]);
    let (mut expected, mut most) = ([UNTOUCHED; MAX_LENGTH], i64::from(i32::MIN));
    for (j, expected) in expected[..len].iter_mut().enumerate() {
        let products = query.iter().zip(&keys[j * head_dim..]).map(|(&q, &k)| i64::from(q) * i64::from(k));
        let score = rounded(rounded(products.sum(), narrowing) * mantissa(j), base - exponent(j));
        *expected = score as i32;
        most = most.max(score);
    }
    all_same(&found, &expected, head_dim)?;
    same(top.into(), most, len, head_dim, len)?;

    // Any table will do.
    let mut table = [65535u16; 1024];
    table[1..].fill_with(|| 32768 + random.below(32768) as u16);
    let fraction = if near { 10 } else { random.below(11) };
    let base = largest + 6 + random.below(26 - largest);
    let padded = len.next_multiple_of(4);
    let (mut weights, mut expected, mut powers) = ([-1; COLUMNS], [-1; COLUMNS], 0);
    expected[..padded].fill(0);
    for (j, weight) in expected[..len].iter_mut().enumerate() {
        let distance = (i64::from(top) - i64::from(found[j])).min((32 << fraction) - 1);
        let entry = table[((distance % (1 << fraction)) << (10 - fraction)) as usize];
        let power = i64::from(entry) >> (distance >> fraction);
        powers += power;
        *weight = rounded(power * mantissa(j), base - exponent(j)) as i16;
    }
    let mut padded_scores = [UNTOUCHED; COLUMNS];
    padded_scores[..len].copy_from_slice(&found[..len]);
    let sum = softmax(&table, &mut padded_scores[..padded], top, fraction, z, base, &mut weights[..padded]);
    all_same(&weights, &expected, head_dim)?;
    same(sum.into(), powers, len, head_dim, len)?;

    let mut out = [UNTOUCHED; 65];
    matvec_strided(&keys[..head_dim * COLUMNS], COLUMNS, &weights[..padded], &mut out[..head_dim]);
    for (row, &found) in out[..head_dim].iter().enumerate() {
        same(
            found.into(),
            reference::product(&keys, COLUMNS, &expected[..padded], row).into(),
            row,
            head_dim,
            len,
        )?;
    }
    Ok((2 * len + padded + head_dim) as u32)
}
