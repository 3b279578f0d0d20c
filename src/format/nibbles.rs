//! Where an int4 matrix keeps its weights and the factors of their groups.
//!
//! Weights are numbers of four bits, weight + 8. Eight columns of one row share a word: column `2 k` of the eight is at
//! bit `4 k`, column `2 k + 1` at bit `16 + 4 k`, so that a mask leaves two neighbours in two halves. A tile is such a
//! word of each of four rows; the tiles of four rows follow each other over all columns, then those of the next four.
//!
//! 32 columns of a row are a group. Where the columns are no multiple of 32, the first group has fewer, so that an
//! unrolled loop can be entered in its middle. Behind all tiles, each four rows have a 16-bit number per group: four bits
//! a row, its factor.

use super::align;

/// Columns of a group, but for the first.
pub const GROUP: usize = 32;
/// Columns of a word.
pub const WORD: usize = 8;

/// Groups of so many columns.
pub const fn groups(cols: usize) -> usize {
    cols.div_ceil(GROUP)
}

/// Tiles of so many columns in four rows.
pub const fn tiles(cols: usize) -> usize {
    cols.div_ceil(WORD)
}

/// The group of a column.
pub const fn group(cols: usize, column: usize) -> usize {
    (column + GROUP * groups(cols) - align(cols)) / GROUP
}

/// Bytes of the tiles of a matrix.
pub const fn tiles_len(rows: usize, cols: usize) -> usize {
    rows.div_ceil(4) * tiles(cols) * 16
}

/// Bytes of a matrix: its tiles, then its factors.
pub const fn len(rows: usize, cols: usize) -> usize {
    tiles_len(rows, cols) + align(rows.div_ceil(4) * groups(cols) * 2)
}

/// Four bits: the low or the high half of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nibble {
    byte: usize,
    high: bool,
}

impl Nibble {
    /// Of the number that starts at this byte, the four bits from `bit` on, a multiple of four.
    const fn new(byte: usize, bit: usize) -> Self {
        Self { byte: byte + bit / 8, high: !bit.is_multiple_of(8) }
    }

    /// Where a weight is.
    pub const fn weight(cols: usize, row: usize, column: usize) -> Self {
        // The words end with the last column: the first may begin with four that pad.
        let column = column + WORD * tiles(cols) - align(cols);
        let word = (row / 4 * tiles(cols) + column / WORD) * 4 + row % 4;
        Self::new(4 * word, column % 2 * 16 + column % WORD / 2 * 4)
    }

    /// Where a group's factor is.
    pub const fn factor(rows: usize, cols: usize, row: usize, group: usize) -> Self {
        let number = row / 4 * groups(cols) + group;
        Self::new(tiles_len(rows, cols) + 2 * number, row % 4 * 4)
    }

    /// The number in it; 0 past the end.
    pub fn get(self, bytes: &[u8]) -> u8 {
        let byte = bytes.get(self.byte).copied().unwrap_or(0);
        if self.high { byte >> 4 } else { byte & 15 }
    }

    /// Puts a number of four bits into it; past the end nothing.
    pub fn set(self, bytes: &mut [u8], number: u8) {
        if let Some(byte) = bytes.get_mut(self.byte) {
            *byte = if self.high { *byte & 15 | number << 4 } else { *byte & 0xf0 | number & 15 };
        }
    }
}

/// The number that stands for a weight.
pub const fn encode(weight: i8) -> u8 {
    (weight + 8) as u8 & 15
}

/// The weight that a number of four bits stands for.
pub const fn decode(number: u8) -> i8 {
    number as i8 - 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_place() {
        for (rows, cols) in [(1, 1), (4, 8), (5, 12), (3, 20), (9, 33), (2, 64), (7, 172)] {
            let mut bytes = vec![0; len(rows, cols)];
            let mut nibbles = Vec::new();
            for row in 0..rows {
                nibbles.extend((0..cols).map(|column| Nibble::weight(cols, row, column)));
                nibbles.extend((0..groups(cols)).map(|group| Nibble::factor(rows, cols, row, group)));
            }
            for nibble in &nibbles {
                assert_eq!(nibble.get(&bytes), 0, "{rows} x {cols}: {nibble:?} is in use");
                nibble.set(&mut bytes, 15);
                assert_eq!(nibble.get(&bytes), 15);
            }
            let used: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(used as usize, 4 * nibbles.len());
        }
    }

    #[test]
    fn the_first_group_is_the_short_one() {
        let of = |cols| (0..cols).map(|column| group(cols, column)).collect::<Vec<_>>();
        assert_eq!(of(36)[..5], [0, 0, 0, 0, 1]);
        assert_eq!(of(36)[35], 1);
        assert_eq!(of(64)[31..33], [0, 1]);
        // Columns are counted with those that pad them to a multiple of four.
        assert_eq!(of(33)[..5], [0, 0, 0, 0, 1]);
    }
}
