//! Section 6: the residual stream to a normalised vector.

use crate::arithmetic::{
    Int, a16_bits, bits, block, floor_div, isqrt, peak, pow2, round_shift, u32_range, within,
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
    let (s, mut x) = block(hidden, if file.layer_norm { 13 } else { 14 });
    if file.layer_norm {
        let sum: Int = within(pow2(30), x.iter().map(|x| x + pow2(15)).sum());
        let mean = (sum + n / 2) / n - pow2(15);
        x.iter_mut().for_each(|x| *x -= mean);
    }
    within(pow2(14), peak(&x));
    let (mantissa, mut exponent) = match file.batch_norm {
        true => (pow2(14), s - file.frac - 14),
        false => inverse_root(file, tables, &x, s),
    };
    if !gain.folded {
        let gained = |(x, g)| round_shift(within(pow2(29), x * g), 15);
        x = x.iter().zip(&gain.rows[0]).map(gained).collect();
        exponent += gain.exponent + 15;
    }
    let l = 14 - a16_bits(n);
    if l > 0 {
        x.iter_mut().for_each(|x| *x = round_shift(*x, l));
        exponent += l;
    }
    within(pow2(14 - l), peak(&x));
    Vector { q: x, mantissa, exponent }.narrow(width)
}

/// Steps 3 to 7.
fn inverse_root(file: &File, tables: &Tables, x: &[Int], s: Int) -> (Int, Int) {
    let n = x.len() as Int;
    let squares = within(pow2(42), x.iter().map(|x| x * x).sum());
    let epsilon = scaled(file.epsilon.0 * n, file.epsilon.1 - 2 * (s - file.frac));
    let sum = within(pow2(63) - 1, squares + within(pow2(62), epsilon)).max(1);
    let h = floor_div(bits(sum) - 15, 2);
    let y = tables.rsqrt(if h >= 0 { sum / pow2(2 * h) } else { sum * pow2(-2 * h) });
    let d = (32 - bits(n)) / 2;
    let root = isqrt(n * pow2(2 * d));
    assert!((pow2(15)..pow2(16)).contains(&root));
    normalised(u32_range(y * root), -23 - h - d)
}
