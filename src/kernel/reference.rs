//! The oracle: the definition, written as loops.
//!
//! Never optimised, and it shares no line with the kernels that are checked against it.

/// One element of a matrix-vector product, with `x` in its natural order: the sum over `column` of
/// `weights[row * stride + column] * x[column]`, taken as a 64-bit number and cut to its low 32 bits.
pub fn product(weights: &[i8], stride: usize, x: &[i16], row: usize) -> i32 {
    let mut sum: i64 = 0;
    for column in 0..x.len() {
        sum += weights[row * stride + column] as i64 * x[column] as i64;
    }
    sum as i32
}

/// How a matrix in tiles of 4 x 4 stores its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiling {
    /// Every byte is weight + 128.
    Bytes,
    /// Bytes of even columns are weight + 128, bytes of odd columns the weight.
    Halves,
}

/// The byte that stores a weight of this column.
pub fn tile_byte(tiling: Tiling, column: usize, weight: i8) -> u8 {
    if tiling == Tiling::Halves && column % 2 == 1 { weight as u8 } else { (weight as i16 + 128) as u8 }
}

/// One element of the product of a matrix in tiles with `x` in its natural order, cut as above.
pub fn tile_product(tiling: Tiling, tiles: &[u32], x: &[i16], row: usize) -> i32 {
    let tiles_in_a_row = x.len().div_ceil(4);
    let mut sum: i64 = 0;
    for column in 0..x.len() {
        let word = tiles[(row / 4 * tiles_in_a_row + column / 4) * 4 + row % 4];
        let byte = (word >> (column % 4 * 8)) as u8;
        let weight = match (tiling, column % 2) {
            (Tiling::Halves, 1) => byte as i8 as i64,
            _ => byte as i64 - 128,
        };
        sum += weight * x[column] as i64;
    }
    sum as i32
}

/// One element of the product of an int4 matrix with `x` in its natural order, cut as above: each weight is the number of
/// four bits minus 8, times the factor of its group.
pub fn nibble_product(tiles: &[u32], factors: &[u16], x: &[i16], row: usize) -> i32 {
    // Counted from the end: the last word is full, and the last group too, or the only one.
    let columns = x.len().div_ceil(4) * 4;
    let words = columns.div_ceil(8);
    let groups = columns.div_ceil(32);
    let mut sum: i64 = 0;
    for (column, &input) in x.iter().enumerate() {
        let from_end = columns - 1 - column;
        let word = tiles[(row / 4 * words + words - 1 - from_end / 8) * 4 + row % 4];
        let place = 7 - from_end % 8;
        let weight = (word >> (place / 2 * 4 + place % 2 * 16) & 15) as i64 - 8;
        let factor = factors[row / 4 * groups + groups - 1 - from_end / 32] >> (row % 4 * 4) & 15;
        sum += weight * factor as i64 * input as i64;
    }
    sum as i32
}
