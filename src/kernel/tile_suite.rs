//! The suite's part for matrices in tiles: every shape and every extreme against the oracle.

#[cfg(thumbformer_kernel = "armv6m")]
use super::armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
use super::armv7m;
#[cfg(thumbformer_kernel = "dsp")]
use super::dsp;
#[cfg(thumbformer_kernel = "riscv")]
use super::riscv;
use super::{
    portable_tiles::{bytes, halves},
    reference::{self, Tiling},
    suite::Failure,
};
use crate::format::InputWidth::{self, A8, A16};

type Tiles = fn(&[u32], usize, &[u32], InputWidth, &mut [i32]) -> u32;

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    tiling: Tiling,
    operand_len: fn(usize) -> usize,
    prepare: fn(&[i16], InputWidth, &mut [u32]),
    tiles: Tiles,
}

macro_rules! kernel {
    ($implementation:ident, $tiling:ident) => {
        Kernel {
            name: $implementation::NAME,
            tiling: Tiling::$tiling,
            operand_len: $implementation::operand_len,
            prepare: $implementation::prepare,
            tiles: $implementation::tiles,
        }
    };
}

/// Every implementation that this target can run.
const KERNELS: &[Kernel] = &[
    kernel!(bytes, Bytes),
    kernel!(halves, Halves),
    #[cfg(thumbformer_kernel = "armv6m")]
    kernel!(armv6m, Bytes),
    #[cfg(thumbformer_kernel = "armv7m")]
    kernel!(armv7m, Bytes),
    #[cfg(thumbformer_kernel = "dsp")]
    kernel!(dsp, Halves),
    #[cfg(thumbformer_kernel = "riscv")]
    kernel!(riscv, Bytes),
];

const MAX_COLUMNS: usize = 1024;
const MAX_ROWS: usize = 21;
/// One block of the most columns: enough for all rows of 48 columns.
const MAX_WORDS: usize = MAX_COLUMNS;
/// Past the rows that are asked for.
const ROOM: usize = 3;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;
/// What is in an operand before; whatever of it a kernel reads spoils its sums.
const UNPREPARED: u32 = 0x5EED_BEEF;

/// All remainders of the unrolled loops, the shapes of small models, the accumulator's bound at 1024.
const COLUMNS: &[usize] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 18, 20, 22, 24, 27, 28, 31, 32, 33, 36, 40, 44, 48, 52,
    56, 60, 64, 68, 100, 128, 172, 255, 256, 288, 344, 510, 511, 512, 513, 516, 1000, 1021, 1024,
];

/// How a matrix and a vector are filled.
#[derive(Clone, Copy)]
enum Fill {
    /// All of the numbers that there are.
    Random,
    /// The largest magnitudes, with random signs.
    Edges,
    /// All weights the same, and all inputs the largest of their width or its negative: the largest sums.
    Constant(i8, i16),
}

const FILLS: &[Fill] = &[
    Fill::Random,
    Fill::Edges,
    Fill::Constant(-128, 1),
    Fill::Constant(-128, -1),
    Fill::Constant(127, 1),
    Fill::Constant(127, -1),
];

/// The largest input of a width.
fn largest(width: InputWidth) -> i16 {
    match width {
        A8 => 127,
        A16 => 1 << 14,
    }
}

struct Bench {
    tiles: [u32; MAX_WORDS],
    x: [i16; MAX_COLUMNS],
    operand: [u32; super::operand_len(MAX_COLUMNS)],
    random: u32,
}

impl Bench {
    /// The next 16 bits of a linear congruential generator (Numerical Recipes), its high half.
    fn next(&mut self) -> i16 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 16) as i16
    }

    fn weight(&mut self, fill: Fill) -> i8 {
        match fill {
            Fill::Random => (self.next() >> 8) as i8,
            Fill::Edges => [-128, 127, -127, 0][(self.next() & 3) as usize],
            Fill::Constant(weight, _) => weight,
        }
    }

    fn input(&mut self, fill: Fill, width: InputWidth) -> i16 {
        let largest = largest(width);
        match fill {
            Fill::Random => (i32::from(self.next()) % (i32::from(largest) + 1)) as i16,
            Fill::Edges => [largest, -largest, 0, largest][(self.next() & 3) as usize],
            Fill::Constant(_, sign) => sign * largest,
        }
    }

    /// Fills the padding, too: its weights must not count.
    fn fill(&mut self, tiling: Tiling, fill: Fill, words: usize, columns: usize, width: InputWidth) {
        for word in 0..words {
            let bytes: [u8; 4] =
                core::array::from_fn(|column| reference::tile_byte(tiling, column, self.weight(fill)));
            self.tiles[word] = u32::from_le_bytes(bytes);
        }
        for column in 0..columns {
            self.x[column] = self.input(fill, width);
        }
    }

    /// Compares one product.
    fn product(
        &mut self,
        kernel: &Kernel,
        rows: usize,
        columns: usize,
        width: InputWidth,
    ) -> Result<(), Failure> {
        let words = words(rows, columns);
        let x = &self.x[..columns];
        let length = (kernel.operand_len)(columns);
        let most = columns.next_multiple_of(4) + 4;
        kernel.compare(rows, columns, columns, 0, i32::from(length > most))?;
        self.operand.fill(UNPREPARED);
        // A workspace's operand has room for the longest vector.
        (kernel.prepare)(x, width, &mut self.operand[..most]);
        let block = columns.next_multiple_of(4);
        // An output as long as the matrix, a longer one, a shorter one, and tiles without their last word, which are
        // one block less.
        let padded = rows.next_multiple_of(4);
        for (outputs, words, whole) in [
            (rows, words, rows),
            (padded + ROOM, words, padded),
            (rows - 1, words, rows - 1),
            (rows, words - 1, rows.min(padded - 4)),
            (rows, 0, 0),
        ] {
            let mut found = [UNTOUCHED; MAX_ROWS + 3 + ROOM];
            let tiles = &self.tiles[..words];
            let shift = (kernel.tiles)(tiles, columns, &self.operand[..length], width, &mut found[..outputs]);
            kernel.compare(rows, columns, columns, 0, i32::from(shift != 0 && shift != 8))?;
            for (row, &found) in found.iter().enumerate() {
                let expected = match row < whole {
                    true => {
                        reference::tile_product(
                            kernel.tiling,
                            &self.tiles[..rows.div_ceil(4) * block],
                            x,
                            row,
                        ) << shift
                    }
                    false => UNTOUCHED,
                };
                kernel.compare(rows, columns, row, expected, found)?;
            }
        }
        Ok(())
    }
}

/// The words of the tiles of so many rows.
fn words(rows: usize, columns: usize) -> usize {
    rows.div_ceil(4) * columns.next_multiple_of(4)
}

impl Kernel {
    fn compare(
        &self,
        rows: usize,
        columns: usize,
        element: usize,
        expected: i32,
        found: i32,
    ) -> Result<(), Failure> {
        if expected == found {
            return Ok(());
        }
        Err(Failure { kernel: self.name, rows, columns, stride: columns, element, expected, found })
    }
}

/// Runs this part of the suite on every kernel that this target can run; returns the number of products compared.
#[inline(never)]
pub fn run() -> Result<u32, Failure> {
    let mut cases = 0;
    for kernel in KERNELS {
        cases += check(kernel)?;
    }
    Ok(cases)
}

/// Runs it on one kernel.
#[inline(never)]
fn check(kernel: &Kernel) -> Result<u32, Failure> {
    let mut cases = 0;
    let mut bench = Bench {
        tiles: [0; MAX_WORDS],
        x: [0; MAX_COLUMNS],
        operand: [0; super::operand_len(MAX_COLUMNS)],
        random: 1,
    };
    for width in [A8, A16] {
        for &fill in FILLS {
            for &columns in COLUMNS {
                for rows in (1..=MAX_ROWS).filter(|&rows| words(rows, columns) <= MAX_WORDS) {
                    // The paths of the kernels depend on whole blocks; the rows within the last one, on no column.
                    if rows % 4 > 1 && columns > 20 {
                        continue;
                    }
                    bench.fill(kernel.tiling, fill, words(rows, columns), columns, width);
                    bench.product(kernel, rows, columns, width)?;
                    cases += 1;
                }
            }
        }
        degenerate(kernel, width)?;
    }
    Ok(cases + 1)
}

/// No columns, which is a sum of nothing; nothing to write to; operands that are too short.
fn degenerate(kernel: &Kernel, width: InputWidth) -> Result<(), Failure> {
    let mut operand = [0; 12];
    let mut found = [1; 5];
    (kernel.prepare)(&[], width, &mut operand);
    (kernel.tiles)(&[1; 4], 0, &operand, width, &mut found);
    for (element, &found) in found.iter().enumerate() {
        kernel.compare(5, 0, element, 0, found)?;
    }
    (kernel.prepare)(&[1; 8], width, &mut operand);
    (kernel.prepare)(&[1; 8], width, &mut []);
    (kernel.tiles)(&[1; 8], 8, &operand, width, &mut []);
    for columns in [8, 12, 16384, usize::MAX / 2] {
        let short = &operand[..((kernel.operand_len)(8) - 1)];
        (kernel.tiles)(&[1; 64], columns, short, width, &mut found);
        for (element, &found) in found.iter().enumerate() {
            kernel.compare(5, columns, element, 0, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_of_this_target_pass() {
        let cases = run().unwrap();
        assert!(cases > 1000 * KERNELS.len() as u32, "only {cases} cases");
    }

    /// A kernel that is wrong in one element of one shape, and one that writes past the matrix's rows.
    #[test]
    fn the_suite_finds_wrong_kernels() {
        let one_off = Kernel {
            tiles: |tiles, columns, operand, width, y| {
                let shift = bytes::tiles(tiles, columns, operand, width, y);
                if columns == 172 && y.len() == 5 {
                    y[3] += 1;
                }
                shift
            },
            ..kernel!(bytes, Bytes)
        };
        let failure = check(&one_off).unwrap_err();
        assert_eq!((failure.columns, failure.element), (172, 3));

        let too_far = Kernel {
            tiles: |tiles, columns, operand, width, y| {
                let shift = bytes::tiles(tiles, columns, operand, width, y);
                if tiles.len() == columns && y.len() > 4 {
                    y[4] = 0;
                }
                shift
            },
            ..kernel!(bytes, Bytes)
        };
        assert_eq!(check(&too_far).unwrap_err().expected, UNTOUCHED);
        assert!(check(&Kernel { tiling: Tiling::Halves, ..kernel!(bytes, Bytes) }).is_err());
    }
}
