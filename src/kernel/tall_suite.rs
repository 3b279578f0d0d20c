//! The suite's part for matrices in tall tiles: every shape and every extreme against the oracle.

#[cfg(thumbformer_kernel = "riscv")]
use super::riscv::tall as riscv;
use super::{
    reference,
    suite::{Failure, Random},
    tall,
};
use crate::format::InputWidth::{self, A8, A16};

/// From an input, its factor, room for its operand, and tiles to sums; none where there is no operand.
type Product = fn(&[i16], InputWidth, Option<i32>, &mut [u32], &[u32], &mut [i32]) -> Option<()>;

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    product: Product,
}

macro_rules! kernel {
    ($implementation:ident, $name:expr) => {
        Kernel {
            name: $name,
            product: |x, width, factor, operand, tiles, y| {
                let mut vector = [0; MAX_COLUMNS];
                let vector = &mut vector[..x.len()];
                vector.copy_from_slice(x);
                let operand = $implementation::prepare(vector, width, factor, operand)?;
                $implementation::product(tiles, &operand, y);
                Some(())
            },
        }
    };
}

/// Every implementation that this target can run.
const KERNELS: &[Kernel] = &[
    kernel!(tall, tall::NAME),
    #[cfg(thumbformer_kernel = "riscv")]
    kernel!(riscv, "rv32m, tall"),
];

const MAX_COLUMNS: usize = 256;
const MAX_ROWS: usize = 37;
const MAX_WORDS: usize = 4 * MAX_COLUMNS;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;

/// All remainders of pairs and of groups of four, and the shapes of small models.
const COLUMNS: &[usize] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 17, 20, 31, 64, 66, 85, 172, 255, 256];

/// How a matrix and a vector are filled.
#[derive(Clone, Copy, PartialEq)]
enum Fill {
    /// All of the numbers that there are.
    Random,
    /// The largest inputs of either sign, and zeros, times the largest weights.
    Edges,
    /// A weight times inputs of so many times the largest one.
    Constant(u8, i32),
}

const FILLS: &[Fill] = &[
    Fill::Random,
    Fill::Edges,
    Fill::Constant(0, 1),
    Fill::Constant(0, -1),
    Fill::Constant(255, 1),
    Fill::Constant(255, -1),
    Fill::Constant(255, 0),
];

struct Bench {
    tiles: [u32; MAX_WORDS],
    x: [i16; MAX_COLUMNS],
    operand: [u32; super::operand_len(MAX_COLUMNS)],
    random: Random,
}

impl Bench {
    /// Fills the padding, too: its weights must not count.
    fn fill(&mut self, fill: Fill, columns: usize, width: InputWidth) {
        let largest = if matches!(width, A8) { 127 } else { 1 << 14 };
        let random = &mut self.random;
        for word in &mut self.tiles {
            *word = match fill {
                Fill::Random => random.next(),
                Fill::Edges => [0xff00_ff00, 0x00ff_00ff, u32::MAX, 0][random.below(4) as usize],
                Fill::Constant(byte, _) => u32::from(byte) * 0x0101_0101,
            };
        }
        for x in &mut self.x[..columns] {
            *x = match fill {
                Fill::Random => random.within(largest),
                Fill::Edges => random.within(1) * largest,
                Fill::Constant(_, sign) => sign * largest,
            } as i16;
        }
    }

    /// Compares one product.
    fn product(
        &mut self,
        kernel: &Kernel,
        rows: usize,
        columns: usize,
        (width, factor): (InputWidth, Option<i32>),
    ) -> Result<(), Failure> {
        let block = 4 * columns.next_multiple_of(4);
        let words = rows.div_ceil(16) * block;
        let padded = rows.next_multiple_of(16);
        // An output as long as the matrix, a longer one, a shorter one, and tiles without their last word, which are
        // one block less.
        for (outputs, words, whole) in [
            (rows, words, rows),
            (padded + 3, words, padded),
            (rows - 1, words, rows - 1),
            (rows, words - 1, padded - 16),
            (rows, 0, 0),
        ] {
            let mut found = [UNTOUCHED; MAX_ROWS + 16 + 3];
            let room = &mut self.operand[..super::operand_len(columns)];
            let (x, tiles) = (&self.x[..columns], &self.tiles[..words]);
            let mut scaled = [0; MAX_COLUMNS];
            let scaled = &mut scaled[..columns];
            for (scaled, &x) in scaled.iter_mut().zip(x) {
                *scaled = match factor {
                    Some(factor) => ((i64::from(x) * i64::from(factor) + (1 << 23)) >> 24) as i16,
                    None => x,
                };
            }
            let done = (kernel.product)(x, width, factor, room, tiles, &mut found[..outputs]);
            kernel.compare(rows, columns, columns, 1, i32::from(done.is_some()))?;
            for (row, &found) in found.iter().enumerate() {
                let expected =
                    if row < whole { reference::tall_product(&self.tiles, scaled, row) } else { UNTOUCHED };
                kernel.compare(rows, columns, row, expected, found)?;
            }
        }
        Ok(())
    }
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
        random: Random(1),
    };
    for width in [A8, A16] {
        for &fill in FILLS {
            for &columns in COLUMNS {
                for rows in [1, 2, 15, 16, 17, 31, 32, MAX_ROWS] {
                    if rows.div_ceil(16) * 4 * columns.next_multiple_of(4) > MAX_WORDS {
                        continue;
                    }
                    bench.fill(fill, columns, width);
                    bench.product(kernel, rows, columns, (width, None))?;
                    // A vector's inputs are as long as those of A16 before they are scaled.
                    bench.fill(fill, columns, A16);
                    bench.product(kernel, rows, columns, (width, Some((127 << 24) >> 14)))?;
                    cases += 2;
                }
            }
        }
        // No columns, which is a sum of nothing; an operand that is too short.
        let mut found = [1; 5];
        (kernel.product)(&[], width, None, &mut bench.operand, &[], &mut found);
        for (element, &found) in found.iter().enumerate() {
            kernel.compare(5, 0, element, 0, found)?;
        }
        let short = (kernel.product)(&[1; 8], width, None, &mut [0; 7], &[0; 32], &mut found);
        kernel.compare(5, 8, 0, 0, i32::from(short.is_some()))?;
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_of_this_target_pass() {
        let cases = run().unwrap();
        assert!(cases > 1000 * KERNELS.len() as u32, "only {cases} cases");
    }

    /// A kernel that is wrong in one element of one shape.
    #[test]
    fn the_suite_finds_a_wrong_kernel() {
        let wrong = Kernel {
            product: |x, width, factor, operand, tiles, y| {
                (kernel!(tall, "").product)(x, width, factor, operand, tiles, y)?;
                if x.len() == 64 && y.len() == 17 {
                    y[16] += 1;
                }
                Some(())
            },
            ..kernel!(tall, "wrong")
        };
        let failure = check(&wrong).unwrap_err();
        assert_eq!((failure.columns, failure.element), (64, 16));
    }
}
