//! Section 7: rotary positions, the KV cache, and attention over it.

use crate::arithmetic::{
    Int, bits, block_shift, ceil_div, clog2, i32_range, peak, pow2, round_shift, shift, u32_range, within,
};
use crate::tables::Tables;

/// Queries, keys or values as 15 bits of magnitude in units of `2^unit` last bits of the residual stream.
pub struct Heads {
    pub x: Vec<Int>,
    pub unit: Int,
}

impl Heads {
    pub fn new(v: &[Int]) -> Self {
        let unit = block_shift(peak(v), 15);
        assert!((-14..=17).contains(&unit));
        Self { x: v.iter().map(|&v| within(32767, shift(v, unit))).collect(), unit }
    }

    /// Turned by the position's row of the rotary table.
    pub fn rotate(self, turns: &[Int]) -> Self {
        let low_16_bits = |v: Int| Int::from(v as i16);
        let mut x = Vec::new();
        for (i, pair) in self.x.chunks(2).enumerate() {
            let (a, b) = (pair[0], pair[1]);
            let (c, s) = (turns[2 * i % turns.len()], turns[(2 * i + 1) % turns.len()]);
            x.push(low_16_bits(round_shift(i32_range(a * c - b * s), 15)));
            x.push(low_16_bits(round_shift(i32_range(a * s + b * c), 15)));
        }
        Self { x, unit: self.unit + 1 }
    }
}

/// The int8 elements of one head at one position, and the byte of their step.
#[derive(Clone)]
pub struct Row {
    elements: Vec<Int>,
    byte: Int,
}

impl Row {
    pub fn new(tables: &Tables, x: &[Int], unit: Int) -> Self {
        let byte = step_byte(peak(x), unit);
        let reciprocal = tables.reciprocal[(byte % 16) as usize];
        let s = 19 + byte / 16 - unit;
        assert!(s >= 1);
        let round = |x: &Int| round_shift(within(pow2(30), x * reciprocal), s).clamp(-127, 127);
        Self { elements: x.iter().map(round).collect(), byte }
    }

    fn mantissa(&self) -> Int {
        16 + self.byte % 16
    }

    fn exponent(&self) -> Int {
        self.byte / 16
    }
}

fn step_byte(m: Int, unit: Int) -> Int {
    if m == 0 {
        return 0;
    }
    let p = within(pow2(31), m * 33_027);
    let k = bits(p) - 5;
    let (mut mantissa, mut exponent) = (ceil_div(p, pow2(k)), k + unit - 22);
    if mantissa == 32 {
        (mantissa, exponent) = (16, exponent + 1);
    }
    match exponent {
        ..0 => 0,
        0..16 => 16 * exponent + mantissa - 16,
        _ => 255,
    }
}

/// One head: the query against all keys, the average of the values.
pub fn attend(
    tables: &Tables,
    query: &[Int],
    unit: Int,
    frac: Int,
    (keys, values): (&[Row], &[Row]),
    seq_len: usize,
) -> Vec<Int> {
    let g = 2 * frac - unit;
    let n = (clog2(query.len() as Int) - 4).max(0);
    let z = keys.iter().map(Row::exponent).max().expect("there is a position");
    let f = (g - n - z).clamp(0, 16);
    let base = (g - n - f).clamp(z, 100);
    let score = |key: &Row| {
        let dot = i32_range(key.elements.iter().zip(query).map(|(k, q)| k * q).sum());
        let narrow = within(pow2(26), round_shift(dot, n));
        i32_range(round_shift(i32_range(narrow * key.mantissa()), base - key.exponent()))
    };
    let scores: Vec<Int> = keys.iter().map(score).collect();

    let top = *scores.iter().max().unwrap();
    let y = values.iter().map(Row::exponent).max().unwrap();
    let c = clog2(ceil_div(seq_len as Int, 512));
    let power = |score: &Int| {
        let distance = u32_range(top - score).min(31 * pow2(f));
        tables.exp2(distance * pow2(16 - f))
    };
    let powers: Vec<Int> = scores.iter().map(power).collect();
    let sum = u32_range(powers.iter().sum());
    assert!(sum >= 65536);
    let weight = |(e, value): (&Int, &Row)| {
        let product = within(pow2(21), e * value.mantissa());
        within(31 * pow2(10 - c), round_shift(product, y + 6 + c - value.exponent()))
    };
    let weights: Vec<Int> = powers.iter().zip(values).map(weight).collect();

    let length = bits(sum);
    let lead = sum * pow2(16) / pow2(length);
    assert!((pow2(15)..pow2(16)).contains(&lead));
    let average = |i: usize| {
        let total = i32_range(weights.iter().zip(values).map(|(w, v)| w * v.elements[i]).sum());
        within(124 * sum / pow2(c), total);
        let product = i32_range(round_shift(total, length - 9 - c) * (pow2(30) / lead));
        round_shift(product, 17 - y)
    };
    (0..query.len()).map(average).collect()
}
