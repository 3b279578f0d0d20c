//! Section 8: the hidden vector of the MLP.

use crate::arithmetic::{
    Int, block, block_bits, floor_div, i32_range, multiply_high, pow2, round_shift, within,
};
use crate::tables::Tables;

/// `open` for a magnitude with so many fraction bits, Q15.
fn open(tables: &Tables, activation: u8, magnitude: Int, fraction_bits: Int) -> Int {
    let table = match activation {
        0 => &tables.logistic,
        1 => &tables.gauss,
        2 => &tables.gauss_tanh,
        _ => return 16_384,
    };
    let up = 10 - fraction_bits;
    let t = if up >= 0 { magnitude * pow2(up) } else { floor_div(magnitude, pow2(-up)) };
    let t = t.min(16 * 1024 - 1);
    let (j, rest) = ((t / 32) as usize, t % 32);
    let growth = table[j + 1] - table[j];
    assert!((0..=409).contains(&growth));
    let open = table[j] + round_shift(growth * rest, 5);
    assert!((0..=16_384).contains(&open));
    open
}

/// `act(gate) * up`, or `act(gate)` without `up`, and the exponent of the result.
pub fn hidden(
    tables: &Tables,
    activation: u8,
    gate: &[Int],
    up: Option<&[Int]>,
    frac: Int,
) -> (Vec<Int>, Int) {
    let (s, x) = block(gate, 14);
    if activation == 4 {
        let squares = x.iter().map(|&x| within(pow2(28), x.max(0) * x.max(0)));
        return match up {
            None => (squares.collect(), 2 * (s - frac)),
            Some(up) => {
                let k = 31 - block_bits(up);
                let product = |(p, &u): (Int, &Int)| {
                    let act = within(pow2(14), round_shift(p, 14));
                    within(pow2(29), multiply_high(i32_range(u * pow2(k)), act))
                };
                (squares.zip(up).map(product).collect(), 30 + 2 * s - k - 3 * frac)
            }
        };
    }
    let act = |&x: &Int| {
        let open = open(tables, activation, x.abs(), frac - s);
        within(pow2(14), round_shift(within(pow2(29), x * pow2(14) + x.abs() * open), 15))
    };
    let act = x.iter().map(act);
    match up {
        None => (act.collect(), s - frac),
        Some(up) => {
            let k = 31 - block_bits(up);
            let product = |(a, &u): (Int, &Int)| within(pow2(29), multiply_high(i32_range(u * pow2(k)), a));
            (act.zip(up).map(product).collect(), 16 + s - k - 2 * frac)
        }
    }
}
