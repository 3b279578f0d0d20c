//! The suite's part for several vectors at once: every number of them, in every layout, against the oracle.

use super::reference::{self, Tiling};
use super::suite::{Failure, Random};
use super::{Inputs, NAME, Weights, product, products_together};
use crate::format::InputWidth::{self, A8, A16};
use crate::workspace::MAX_BLOCK;

/// Columns: all remainders of eight groups of four, and more than one round of them.
const COLUMNS: &[usize] = &[4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44];
const MAX_COLUMNS: usize = 44;
/// Shapes of which a few are enough.
const FEW: &[usize] = if cfg!(thumbformer_kernel = "dsp") { &[512, 516] } else { &[] };
const MOST: usize = if cfg!(thumbformer_kernel = "dsp") { 3 * 516 } else { MAX_BLOCK * MAX_COLUMNS };
const MAX_ROWS: usize = 9;
/// The words of nine rows in tiles, or of three of the most columns.
const WORDS: usize = if cfg!(thumbformer_kernel = "dsp") { 516 } else { 4 * MAX_COLUMNS };
/// Past the sums.
const ROOM: usize = 3;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;

/// What the products are made of.
struct Bench {
    words: [u32; WORDS],
    /// As the oracle reads them, and as they are prepared.
    natural: [i16; MOST],
    vectors: Vectors,
    operands: [u32; MOST + 4 * MAX_BLOCK],
}

/// Vectors that start at a word, as in a workspace.
#[repr(align(4))]
struct Vectors([i16; MOST]);

/// How the matrix lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    Rows,
    Tiles(Tiling),
}

/// Compares every case; returns the number of products.
#[inline(never)]
pub fn run() -> Result<u32, Failure> {
    let mut bench = Bench {
        words: [0; WORDS],
        natural: [0; MOST],
        vectors: Vectors([0; MOST]),
        operands: [0; MOST + 4 * MAX_BLOCK],
    };
    let mut random = Random(1);
    let mut compared = 0;
    for lie in [Lie::Rows, Lie::Tiles(Tiling::Bytes), Lie::Tiles(Tiling::Halves)] {
        for width in [A8, A16] {
            for (&columns, count) in
                COLUMNS.iter().flat_map(|columns| (1..=MAX_BLOCK).map(move |n| (columns, n)))
            {
                for rows in [1, 2, 3, 4, 5, 8, MAX_ROWS] {
                    compared += bench.compare(lie, width, (rows, columns), count, &mut random)?;
                }
            }
            for &columns in FEW {
                compared += bench.compare(lie, width, (3, columns), 3, &mut random)?;
            }
        }
    }
    Ok(compared)
}

impl Bench {
    /// Compares the products of one matrix with some vectors.
    #[inline(never)]
    fn compare(
        &mut self,
        lie: Lie,
        width: InputWidth,
        (rows, columns): (usize, usize),
        count: usize,
        random: &mut Random,
    ) -> Result<u32, Failure> {
        let Self { words, natural, vectors, operands } = self;
        // Tiles have as many words as four rows have columns.
        let matrix = match lie {
            Lie::Rows => rows * columns / 4,
            Lie::Tiles(_) => rows.div_ceil(4) * columns,
        };
        let words = &mut words[..matrix];
        words.fill_with(|| random.next());
        let natural = &mut natural[..count * columns];
        let largest = if width == A8 { 127 } else { 1 << 14 };
        natural.fill_with(|| random.within(largest) as i16);
        // Half of the matrices have inputs that are mostly 0, and may pass over them.
        let sparse = random.next() & 1 == 0;
        if sparse {
            for four in natural.chunks_mut(4) {
                if random.next() & 3 != 0 {
                    four.fill(0);
                }
            }
        }
        vectors.0[..natural.len()].copy_from_slice(natural);
        operands.fill(0x5EED_BEEF);

        let bytes: &[i8] =
            zerocopy::FromBytes::ref_from_bytes(zerocopy::IntoBytes::as_bytes(words)).unwrap_or_default();
        let weights = match lie {
            Lie::Rows => Weights::Rows(bytes),
            Lie::Tiles(Tiling::Bytes) => Weights::Bytes(words),
            Lie::Tiles(Tiling::Halves) => Weights::Halves(words),
        };
        let memory = (&mut vectors.0[..], &mut operands[..]);
        let inputs = Inputs::new(&weights, (width, sparse), (columns, count), memory, |_| None);
        let mut found = [UNTOUCHED; MAX_BLOCK * MAX_ROWS + ROOM];
        let mut done = 0;
        products_together(&weights, &inputs, rows, &mut found[..count * rows]);
        for (i, found) in found.chunks_mut(rows).enumerate().take(count) {
            done = product(&weights, &inputs, i, found);
        }
        for (element, &found) in found.iter().enumerate() {
            let (vector, row) = (element / rows, element % rows);
            let expected = if vector < count {
                let x = &natural[vector * columns..][..columns];
                let sum = match lie {
                    Lie::Rows => reference::product(bytes, columns, x, row),
                    Lie::Tiles(tiling) => reference::tile_product(tiling, words, x, row),
                };
                sum << done
            } else {
                UNTOUCHED
            };
            if found != expected {
                return Err(Failure {
                    kernel: NAME,
                    rows,
                    columns,
                    stride: columns,
                    element,
                    expected,
                    found,
                });
            }
        }
        Ok(count as u32)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_numbers_of_vectors_pass() {
        // 1 to 6 vectors, 7 numbers of rows, 11 of columns, 2 widths, 3 layouts.
        assert_eq!(super::run(), Ok(21 * 7 * 11 * 2 * 3));
    }
}
