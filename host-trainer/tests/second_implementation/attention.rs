//! Section 7: rotary positions, the KV cache, and attention over it.

use crate::arithmetic::{
    Int, bits, block, ceil_div, clog2, i32_range, peak, pow2, round_shift, shift, u32_range, within,
};
use crate::tables::Tables;

/// Queries, keys or values as 14 bits of magnitude in units of `2^unit` last bits of the residual stream.
pub struct Heads {
    pub x: Vec<Int>,
    pub unit: Int,
}

impl Heads {
    /// Of keys or values.
    pub fn new(v: &[Int]) -> Self {
        let (unit, x) = block(v, 14);
        assert!((-14..=17).contains(&unit));
        Self { x, unit }
    }

    /// Of queries, whose unit has a bound.
    pub fn queries(v: &[Int], frac: Int, head_dim: usize) -> Self {
        let unit = block(v, 14).0.max(2 * frac - narrowing(head_dim) - 34);
        assert!((-14..=17).contains(&unit));
        Self { x: v.iter().map(|&v| within(pow2(14), shift(v, unit))).collect(), unit }
    }

    /// Turned by the position's row of the rotary table.
    pub fn rotate(self, turns: &[Int]) -> Self {
        let low_16_bits = |v: Int| Int::from(v as i16);
        let mut x = Vec::new();
        for (i, pair) in self.x.chunks(2).enumerate() {
            let (a, b) = (pair[0], pair[1]);
            let (c, s) = (turns[2 * i % turns.len()], turns[(2 * i + 1) % turns.len()]);
            let turned = [a * c - b * s, a * s + b * c].map(|v| round_shift(within(pow2(30), v), 14));
            // As those of a rotation, rounded.
            if c.abs() + s.abs() <= 23_171 {
                within(23_171, peak(&turned));
            }
            x.extend(turned.map(low_16_bits));
        }
        Self { x, unit: self.unit }
    }
}

/// `N` of the document.
fn narrowing(head_dim: usize) -> Int {
    (clog2(head_dim as Int) - 4).max(0)
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
        let round = |x: &Int| round_shift(within(pow2(30), x * reciprocal), s).clamp(-128, 127);
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
    let p = within(pow2(31) - 1, m * 33_027);
    let k = bits(p) - 5;
    let (mut mantissa, mut exponent) = (ceil_div(p, pow2(k)), k + unit - 22);
    assert!((16..=32).contains(&mantissa));
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
    let n = narrowing(query.len());
    let z = keys.iter().map(Row::exponent).max().expect("there is a position");
    let f = (g - n - z).clamp(0, 10);
    let base = (g - n - f).max(z);
    assert!(base <= 24, "base {base}");
    let score = |key: &Row| {
        let dot = i32_range(key.elements.iter().zip(query).map(|(k, q)| k * q).sum());
        let narrow = within(pow2(26), round_shift(dot, n));
        let product = within(pow2(31) - 1 - pow2(23), narrow * key.mantissa());
        round_shift(product, base - key.exponent())
    };
    let scores: Vec<Int> = keys.iter().map(score).collect();

    let top = *scores.iter().max().unwrap();
    let y = values.iter().map(Row::exponent).max().unwrap();
    let c = clog2(ceil_div(seq_len as Int, 512));
    let power = |score: &Int| {
        let distance = u32_range(top - score).min(32 * pow2(f) - 1);
        tables.exp2_1024[(distance % pow2(f) * pow2(10 - f)) as usize] / pow2(distance / pow2(f))
    };
    let powers: Vec<Int> = scores.iter().map(power).collect();
    let sum = within(pow2(31) - 1, powers.iter().sum());
    assert!(sum >= 65_535);
    let weight = |(e, value): (&Int, &Row)| {
        let product = within(pow2(21) - 1, e * value.mantissa());
        within(31 * pow2(10 - c), round_shift(product, y + 6 + c - value.exponent()))
    };
    let weights: Vec<Int> = powers.iter().zip(values).map(weight).collect();

    let length = bits(sum);
    let lead = sum * pow2(16) / pow2(length);
    assert!((pow2(15)..pow2(16)).contains(&lead));
    let average = |i: usize| {
        let total = i32_range(weights.iter().zip(values).map(|(w, v)| w * v.elements[i]).sum());
        within(124 * sum / pow2(c), total);
        assert!(length - 9 - c >= 1 && y <= 15);
        let product = i32_range(round_shift(total, length - 9 - c) * (pow2(30) / lead));
        round_shift(product, 17 - y)
    };
    (0..query.len()).map(average).collect()
}
