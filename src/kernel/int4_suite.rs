//! The suite's part for int4 matrices: every shape and every extreme against the oracle.

#[cfg(thumbformer_kernel = "armv6m")]
use super::armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
use super::armv7m;
#[cfg(thumbformer_kernel = "dsp")]
use super::dsp;
#[cfg(thumbformer_kernel = "riscv")]
use super::riscv;
use super::{
    int4::{self, Nibbles, operand_len},
    reference,
    suite::Failure,
};
use crate::format::InputWidth::{self, A8, A16};

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    prepare: fn(&[i16], InputWidth, &mut [u32]),
    product: fn(&Nibbles<'_>, usize, &[u32], InputWidth, &mut [i32]),
}

/// Every implementation that this target can run.
const KERNELS: &[Kernel] = &[
    Kernel { name: int4::NAME, prepare: int4::prepare, product: int4::product },
    #[cfg(thumbformer_kernel = "armv6m")]
    Kernel { name: "armv6m int4", prepare: armv6m::int4::prepare, product: armv6m::int4::product },
    #[cfg(thumbformer_kernel = "armv7m")]
    Kernel { name: "armv7m int4", prepare: armv7m::int4::prepare, product: armv7m::int4::product },
    #[cfg(thumbformer_kernel = "dsp")]
    Kernel { name: "armv7em-dsp int4", prepare: dsp::int4::prepare, product: dsp::int4::product },
    #[cfg(thumbformer_kernel = "riscv")]
    Kernel { name: "rv32m int4", prepare: riscv::int4::prepare, product: riscv::int4::product },
];

const MAX_COLUMNS: usize = 1024;
const MAX_ROWS: usize = 13;
/// One block of the most columns; as many words as all rows of 256 columns have.
const MAX_WORDS: usize = MAX_COLUMNS / 2;
const MAX_FACTORS: usize = 64;
/// Past the rows that are asked for.
const ROOM: usize = 3;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;
/// What is in an operand before; whatever of it a kernel reads spoils its sums.
const UNPREPARED: u32 = 0x5EED_BEEF;

/// Every number of tiles in the first group, with and without columns that pad, and the shapes of small models.
const COLUMNS: &[usize] = &[
    1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 20, 23, 24, 27, 28, 31, 32, 33, 36, 40, 41, 44, 48, 52, 56, 60, 64,
    68, 100, 128, 172, 255, 256, 288, 344, 512, 516, 1000, 1021, 1024,
];

/// How a matrix and a vector are filled.
#[derive(Clone, Copy)]
enum Fill {
    /// All of the numbers that there are.
    Random,
    /// All weights this, with the largest factor, and all inputs the largest of their width, their signs from these
    /// bits in turn: the largest sums, above and below.
    Constant(i8, u8),
}

const FILLS: &[Fill] = &[
    Fill::Random,
    Fill::Constant(-8, 0x00),
    Fill::Constant(-8, 0xff),
    Fill::Constant(7, 0x00),
    Fill::Constant(7, 0xff),
    Fill::Constant(7, 0x55),
    Fill::Constant(7, 0xaa),
    Fill::Constant(-8, 0x55),
];

struct Bench {
    tiles: [u32; MAX_WORDS],
    factors: [u16; MAX_FACTORS],
    x: [i16; MAX_COLUMNS],
    operand: [u32; super::operand_len(MAX_COLUMNS)],
    random: u32,
}

/// The words of the tiles of so many rows, and their factors.
fn sizes(rows: usize, columns: usize) -> (usize, usize) {
    let blocks = rows.div_ceil(4);
    (blocks * columns.div_ceil(8) * 4, blocks * columns.div_ceil(32))
}

impl Bench {
    /// The next 16 bits of a linear congruential generator (Numerical Recipes), its high half.
    fn next(&mut self) -> u16 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 16) as u16
    }

    /// Fills the padding, too: its weights must not count.
    fn fill(&mut self, fill: Fill, width: InputWidth) {
        let largest = if matches!(width, A8) { 127 } else { 1 << 14 };
        for i in 0..MAX_WORDS {
            self.tiles[i] = match fill {
                Fill::Random => u32::from(self.next()) << 16 | u32::from(self.next()),
                Fill::Constant(weight, _) => (weight + 8) as u32 * 0x1111_1111,
            };
        }
        for i in 0..MAX_FACTORS {
            self.factors[i] = match fill {
                Fill::Random => self.next(),
                Fill::Constant(..) => 0xffff,
            };
        }
        for i in 0..MAX_COLUMNS {
            self.x[i] = match fill {
                Fill::Random => (i32::from(self.next() as i16) % (largest + 1)) as i16,
                Fill::Constant(_, signs) if signs >> (i % 8) & 1 == 1 => -largest as i16,
                Fill::Constant(..) => largest as i16,
            };
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
        let (words, numbers) = sizes(rows, columns);
        let x = &self.x[..columns];
        let length = operand_len(columns);
        self.operand.fill(UNPREPARED);
        // A workspace's operand has room for the longest vector, and for this.
        let room = super::operand_len(columns);
        (kernel.prepare)(x, width, &mut self.operand[..room]);
        let padded = rows.next_multiple_of(4);
        // An output as long as the matrix, a longer one, a shorter one; tiles without their last word and factors
        // without their last number, which are one block less each.
        for (outputs, words, numbers, whole) in [
            (rows, words, numbers, rows),
            (padded + ROOM, words, numbers, padded),
            (rows - 1, words, numbers, rows - 1),
            (rows, words - 1, numbers, padded - 4),
            (rows, words, numbers - 1, padded - 4),
            (rows, 0, 0, 0),
        ] {
            let mut found = [UNTOUCHED; MAX_ROWS + 3 + ROOM];
            let weights = Nibbles { tiles: &self.tiles[..words], factors: &self.factors[..numbers] };
            (kernel.product)(&weights, columns, &self.operand[..length], width, &mut found[..outputs]);
            for (row, &found) in found.iter().enumerate() {
                let expected = match row < whole {
                    true => reference::nibble_product(&self.tiles, &self.factors, x, row),
                    false => UNTOUCHED,
                };
                compare(kernel, (rows, columns), row, expected, found)?;
            }
        }
        Ok(())
    }
}

fn compare(
    kernel: &Kernel,
    (rows, columns): (usize, usize),
    element: usize,
    expected: i32,
    found: i32,
) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    Err(Failure { kernel: kernel.name, rows, columns, stride: columns, element, expected, found })
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
        factors: [0; MAX_FACTORS],
        x: [0; MAX_COLUMNS],
        operand: [0; super::operand_len(MAX_COLUMNS)],
        random: 1,
    };
    for width in [A8, A16] {
        for &fill in FILLS {
            bench.fill(fill, width);
            for &columns in COLUMNS {
                for rows in 1..=MAX_ROWS {
                    let (words, numbers) = sizes(rows, columns);
                    // The paths of the kernels depend on whole blocks; the rows within the last one, on no column.
                    if words <= MAX_WORDS && numbers <= MAX_FACTORS && (rows % 4 < 2 || columns < 40) {
                        bench.product(kernel, rows, columns, width)?;
                        cases += 1;
                    }
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
    let weights = Nibbles { tiles: &[1; 64], factors: &[1; 8] };
    (kernel.prepare)(&[], width, &mut operand);
    (kernel.product)(&weights, 0, &operand, width, &mut found);
    for (element, &found) in found.iter().enumerate() {
        compare(kernel, (5, 0), element, 0, found)?;
    }
    (kernel.prepare)(&[1; 8], width, &mut operand);
    (kernel.prepare)(&[1; 8], width, &mut []);
    (kernel.product)(&weights, 8, &operand, width, &mut []);
    for columns in [8, 12, 16384, usize::MAX / 2] {
        let short = &operand[..operand_len(8) - 1];
        (kernel.product)(&weights, columns, short, width, &mut found);
        for (element, &found) in found.iter().enumerate() {
            compare(kernel, (5, columns), element, 0, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::nibbles;

    #[test]
    fn all_kernels_of_this_target_pass() {
        let cases = run().unwrap();
        assert!(cases > 1000 * KERNELS.len() as u32, "only {cases} cases");
    }

    /// The suite's sizes are those of the format.
    #[test]
    fn sizes_are_those_of_the_format() {
        for &columns in COLUMNS {
            let (words, numbers) = sizes(5, columns);
            assert_eq!(nibbles::tiles_len(5, columns), 4 * words);
            assert_eq!(2 * nibbles::groups(columns), numbers);
        }
    }

    /// A kernel that is wrong in one element of one shape, one that forgets the factors, and one that writes past the
    /// matrix's rows.
    #[test]
    fn the_suite_finds_wrong_kernels() {
        let right = |product| Kernel { name: "wrong", prepare: int4::prepare, product };
        let one_off = right(|weights, columns, operand, width, y| {
            int4::product(weights, columns, operand, width, y);
            if columns == 172 && y.len() == 5 {
                y[3] += 1;
            }
        });
        let failure = check(&one_off).unwrap_err();
        assert_eq!((failure.columns, failure.element), (172, 3));

        let no_factors = right(|weights, columns, operand, width, y| {
            let factors = &vec![0x1111; weights.factors.len()][..];
            int4::product(&Nibbles { factors, ..*weights }, columns, operand, width, y);
        });
        assert!(check(&no_factors).is_err());

        let too_far = right(|weights, columns, operand, width, y| {
            int4::product(weights, columns, operand, width, y);
            if weights.tiles.len() == columns.div_ceil(8) * 4 && y.len() > 4 {
                y[4] = 0;
            }
        });
        assert_eq!(check(&too_far).unwrap_err().expected, UNTOUCHED);
    }
}
