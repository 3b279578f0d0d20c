//! Section 8: the hidden vector of the MLP.

use crate::arithmetic::{Int, block_shift, peak, pow2, round_shift, shift, within};
use crate::tables::Tables;

/// The opening for `x` with `frac` fraction bits, Q15.
fn open(tables: &Tables, activation: u8, x: Int, frac: Int) -> Int {
    let table = match activation {
        0 => &tables.logistic,
        1 => &tables.gauss,
        2 => &tables.gauss_tanh,
        _ => return if x > 0 { 32768 } else { 0 },
    };
    let m = x.abs().min(12 * pow2(frac) - 1);
    let t = m * pow2(15) / pow2(frac);
    let (i, rest) = ((t / 1024) as usize, t % 1024);
    let growth = table[i + 1] - table[i];
    assert!((0..=409).contains(&growth));
    let g = table[i] + round_shift(growth * rest, 10);
    if x >= 0 { g } else { 32768 - g }
}

/// `act(gate) * up`, or `act(gate)` without `up`, and the exponent of the result.
pub fn hidden(
    tables: &Tables,
    activation: u8,
    gate: &[Int],
    up: Option<&[Int]>,
    frac: Int,
) -> (Vec<Int>, Int) {
    let s = block_shift(peak(gate), 15);
    let act = |&x: &Int| {
        let product = within(pow2(30), shift(x, s) * open(tables, activation, x, frac));
        within(32767, round_shift(product, 15))
    };
    let act = gate.iter().map(act);
    match up {
        None => (act.collect(), s - frac),
        Some(up) => {
            let t = block_shift(peak(up), 15);
            (act.zip(up).map(|(a, &u)| within(pow2(30), a * shift(u, t))).collect(), s + t - 2 * frac)
        }
    }
}
