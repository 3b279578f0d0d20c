//! The suite's part for products in which a whole word stands in for its first bytes: four columns whose inputs are just small
//! enough for one sum, or just too large.

use super::reference::{self, Tiling};
use super::suite::{Failure, Random};
use super::{Inputs, NAME, Weights, operand_len, product};
use crate::format::InputWidth;
use crate::shift::round_shift;

/// Some groups of four columns.
const COLUMNS: usize = 24;
/// More blocks of four rows than any kernel takes at a time.
const ROWS: usize = 20;
const WORDS: usize = ROWS * COLUMNS / 4;

/// Runs all cases; returns the number of products compared.
#[inline(never)]
pub fn run() -> Result<u32, Failure> {
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
            compared += compare(&weights, &x, false, None)?;

            // Enough zeros for a list.
            x[4..8].fill(0);
            x[16..20].fill(0);
            compared += compare(&weights, &x, true, None)?;

            x.fill_with(|| random.within(1 << 14) as i16);
            let peak = x.iter().fold(1, |peak, x| x.abs().max(peak));
            compared += compare(&weights, &x, false, Some((127 << 24) / i32::from(peak)))?;
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

/// Compares the products of a block of rows, called as blocks call them.
fn compare(
    words: &[u32; WORDS],
    x: &[i16; COLUMNS],
    sparse: bool,
    factor: Option<i32>,
) -> Result<u32, Failure> {
    let (mut vector, mut operand, mut found) = (*x, [0; operand_len(COLUMNS)], [0; ROWS]);
    let weights = Weights::Bytes(words);
    let (form, memory) = ((InputWidth::A8, sparse), (&mut vector[..], &mut operand[..]));
    let inputs = Inputs::new(&weights, form, (COLUMNS, 1), memory, |_| factor);
    product(&weights, &inputs, 0, &mut found);
    let x = x.map(|x| factor.map_or(x, |factor| round_shift(i32::from(x) * factor, 24) as i16));
    for (row, &found) in found.iter().enumerate() {
        let expected = reference::tile_product(Tiling::Bytes, words, &x, row);
        if found != expected {
            return Err(Failure {
                kernel: NAME,
                rows: ROWS,
                columns: COLUMNS,
                stride: COLUMNS,
                element: row,
                expected,
                found,
            });
        }
    }
    Ok(ROWS as u32)
}
