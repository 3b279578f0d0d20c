//! Checks what only these kernels have: tiles whose inputs are just small enough for one sum, or just too large, and operands
//! of scaled elements.

use super::{NAME, operand_len, prepare, prepare_scaled, tiles};
use crate::format::InputWidth;
use crate::kernel::reference::{self, Tiling};
use crate::kernel::suite::{Failure, Random};
use crate::shift::round_shift;

/// Some groups of four columns, and a shorter one.
const COLUMNS: usize = 22;
const WORDS: usize = COLUMNS.next_multiple_of(4);

/// Runs all cases; returns the number of products compared.
pub fn check() -> Result<u32, Failure> {
    let mut random = Random(1);
    let mut compared = 0;
    for magnitude in 240..270 {
        for weight in [Some(0), Some(255), None] {
            let mut weights = [0; WORDS];
            weights.fill_with(|| weight.map_or_else(|| random.next(), |weight| weight * 0x0101_0101));
            let mut x = [0; COLUMNS];
            for group in x.chunks_mut(4) {
                fill(group, magnitude, &mut random);
            }
            compared += compare(&weights, &x, |operand| prepare(&x, InputWidth::A8, operand))?;

            let mut wide = [0; COLUMNS];
            wide.fill_with(|| random.within(1 << 14) as i16);
            let peak = wide.iter().fold(1, |peak, x| x.abs().max(peak));
            let factor = (127 << 24) / i32::from(peak);
            let x = wide.map(|x| round_shift(i32::from(x) * factor, 24) as i16);
            compared += compare(&weights, &x, |operand| prepare_scaled(&wide, factor, operand))?;
        }
    }
    Ok(compared)
}

/// Elements that have this magnitude together, all of one sign or of any.
fn fill(group: &mut [i16], magnitude: i16, random: &mut Random) {
    let sign = random.below(3);
    let mut left = magnitude;
    for (i, x) in group.iter_mut().enumerate() {
        let after = 127 * (3 - i as i16);
        let least = (left - after).max(0);
        let size =
            if i == 3 { left } else { least + random.below((left.min(127) - least) as u32 + 1) as i16 };
        left -= size;
        *x = if sign == 0 || sign == 1 && random.below(2) == 0 { -size } else { size };
    }
}

/// Compares the products of four rows.
fn compare(weights: &[u32], x: &[i16], prepare: impl Fn(&mut [u32])) -> Result<u32, Failure> {
    let mut operand = [0; operand_len(COLUMNS)];
    prepare(&mut operand);
    let mut found = [0; 4];
    tiles(weights, x.len(), &operand, InputWidth::A8, &mut found);
    for (row, &found) in found.iter().enumerate() {
        let expected = reference::tile_product(Tiling::Bytes, weights, x, row);
        if found != expected {
            let columns = x.len();
            return Err(Failure {
                kernel: NAME,
                rows: 4,
                columns,
                stride: columns,
                element: row,
                expected,
                found,
            });
        }
    }
    Ok(4)
}
