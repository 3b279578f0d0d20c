//! Section 6: the residual stream to a normalised vector.

use crate::arithmetic::{
    Int, a16_bits, bits, block_shift, floor_div, i32_range, isqrt, peak, pow2, round_shift, shift, u32_range,
    u64_range, within,
};
use crate::file::{File, Tensor};
use crate::tables::Tables;
use crate::vector::{Vector, normalised};

/// `U` of the document: `floor(v * 2^k)`, at most 2^62.
fn scaled(v: Int, k: Int) -> Int {
    within(pow2(38), v);
    if k > 0 && v > 0 && k + bits(v) > 62 {
        pow2(62)
    } else if k >= 0 {
        v * pow2(if v == 0 { 0 } else { k })
    } else {
        v / pow2((-k).min(100))
    }
}

pub fn norm(file: &File, tables: &Tables, gain: &Tensor, hidden: &[Int], width: u8) -> Vector {
    let n = hidden.len() as Int;
    let s = block_shift(peak(hidden), if file.layer_norm { 14 } else { 15 });
    let mut x: Vec<Int> = hidden.iter().map(|&v| shift(v, s)).collect();
    if file.layer_norm {
        let sum: Int = within(pow2(30), x.iter().map(|x| x + pow2(15)).sum());
        let mean = (sum + n / 2) / n - pow2(15);
        x.iter_mut().for_each(|x| *x -= mean);
    }
    assert!(peak(&x) < pow2(15));
    let squares = within(pow2(44), x.iter().map(|x| x * x).sum());
    let epsilon = scaled(file.epsilon.0 * n, file.epsilon.1 - 2 * (s - file.frac));
    let sum = u64_range(squares + epsilon).max(1);
    let h = floor_div(bits(sum) - 15, 2);
    let y = tables.rsqrt(if h >= 0 { sum / pow2(2 * h) } else { sum * pow2(-2 * h) });
    let d = (32 - bits(n)) / 2;
    let root = isqrt(n * pow2(2 * d));
    assert!((pow2(15)..pow2(16)).contains(&root));
    let (mantissa, mut exponent) = normalised(u32_range(y * root), -23 - h - d);
    if !gain.folded {
        let p: Vec<Int> = x.iter().zip(&gain.rows[0]).map(|(x, g)| within(pow2(30), x * g)).collect();
        let t = block_shift(peak(&p), 15);
        x = p.iter().map(|&p| shift(p, t)).collect();
        exponent += gain.exponent + t;
    }
    let l = 15 - a16_bits(n);
    if l > 0 {
        let limit = pow2(15 - l) - 1;
        x.iter_mut().for_each(|x| *x = round_shift(i32_range(*x), l).clamp(-limit, limit));
        exponent += l;
    }
    Vector { q: x, mantissa, exponent }.narrow(width)
}
