//! One suite for all kernels: every shape and every extreme against the oracle.
//!
//! Needs no heap and less than 4 KiB of stack, so that it runs on the smallest target as well as on the host.

#[cfg(thumbformer_kernel = "dsp")]
use super::dsp;
#[cfg(thumbformer_kernel = "mve")]
use super::mve;
use super::{portable, reference, vector};

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    arrange: fn(&mut [i16]),
    matvec: fn(&[i8], &[i16], &mut [i32]),
}

macro_rules! kernel {
    ($implementation:ident) => {
        Kernel {
            name: $implementation::NAME,
            arrange: $implementation::arrange,
            matvec: $implementation::matvec,
        }
    };
}

/// Every implementation that this target can run.
const KERNELS: &[Kernel] = &[
    kernel!(portable),
    kernel!(vector),
    #[cfg(thumbformer_kernel = "dsp")]
    kernel!(dsp),
    #[cfg(thumbformer_kernel = "mve")]
    kernel!(mve),
];

/// The first wrong element that a kernel computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Rows of the product.
    pub rows: usize,
    /// Columns of the product.
    pub columns: usize,
    /// The row that is wrong.
    pub row: usize,
    /// What the oracle computed, or the value that must not be touched.
    pub expected: i32,
    /// What the kernel computed.
    pub found: i32,
}

/// Runs the suite on every kernel that this target can run; returns the number of products compared.
pub fn selftest() -> Result<u32, Failure> {
    let mut cases = 0;
    for kernel in KERNELS {
        cases += check(kernel)?;
    }
    Ok(cases)
}

const MAX_COLUMNS: usize = 516;
const MAX_ROWS: usize = 9;
/// Bytes of the largest matrix: four rows of 512 columns, or nine of 220.
const MAX_WEIGHTS: usize = 2064;

/// Every tail of the blocked loops (groups of 32, 8 and 4), the shapes of small models, the accumulator's bound.
const COLUMNS: &[usize] = &[
    4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 64, 68, 96, 100, 128, 172, 220, 256, 288, 344, 508,
    512, 516,
];

/// Lengths that only the slow path takes.
const ODD_COLUMNS: &[usize] = &[1, 2, 3, 5, 6, 7, 9, 31, 33];

/// How a matrix and a vector are filled.
#[derive(Clone, Copy)]
enum Fill {
    /// All of the numbers that there are.
    Random,
    /// All weights and all inputs the same: the largest sums.
    Constant(i8, i16),
}

const FILLS: &[Fill] = &[
    Fill::Random,
    Fill::Random,
    Fill::Constant(-128, 32767),
    Fill::Constant(-128, -32767),
    Fill::Constant(127, 32767),
    Fill::Constant(127, -32767),
    Fill::Constant(-128, -32768),
];

/// Buffers that start at a multiple of four, with room for a misaligned start.
#[repr(align(4))]
struct Aligned<T>(T);

struct Bench {
    weights: Aligned<[i8; MAX_WEIGHTS + 4]>,
    x: Aligned<[i16; MAX_COLUMNS + 2]>,
    random: u32,
}

impl Bench {
    /// The next number of a linear congruential generator (Numerical Recipes), its high half.
    fn next(&mut self) -> i16 {
        self.random = self
            .random
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.random >> 16) as i16
    }

    fn fill(&mut self, fill: Fill) {
        for i in 0..self.weights.0.len() {
            self.weights.0[i] = match fill {
                Fill::Random => (self.next() >> 8) as i8,
                Fill::Constant(weight, _) => weight,
            };
        }
        for i in 0..self.x.0.len() {
            self.x.0[i] = match fill {
                Fill::Random => self.next(),
                Fill::Constant(_, x) => x,
            };
        }
    }

    /// Compares one product of `rows` by `columns`, with the matrix `offset.0` bytes and the vector `offset.1` elements past
    /// a multiple of four bytes.
    fn compare(
        &mut self,
        kernel: &Kernel,
        rows: usize,
        columns: usize,
        offset: (usize, usize),
    ) -> Result<(), Failure> {
        const UNTOUCHED: i32 = 0x5a5a_5a5a;
        let weights = &self.weights.0[offset.0..][..rows * columns];
        let x = &mut self.x.0[offset.1..][..columns];
        let mut expected = [UNTOUCHED; MAX_ROWS + 3];
        for (row, sum) in expected.iter_mut().enumerate().take(rows) {
            *sum = reference::product(weights, x, row);
        }
        (kernel.arrange)(x);
        // A matrix without its last byte has one whole row less, whatever the length of the output.
        let whole = rows - 1;
        let mut found = [UNTOUCHED; MAX_ROWS + 3];
        (kernel.matvec)(&weights[..rows * columns - 1], x, &mut found[..rows]);
        for row in 0..found.len() {
            let expected = if row < whole {
                expected[row]
            } else {
                UNTOUCHED
            };
            kernel.compare(rows, columns, row, expected, found[row])?;
        }
        // An output that is shorter than the matrix, and one that is longer.
        for length in [rows, rows + 2] {
            let mut found = [UNTOUCHED; MAX_ROWS + 3];
            (kernel.matvec)(
                &self.weights.0[offset.0..][..rows * columns],
                x,
                &mut found[..length],
            );
            for row in 0..found.len() {
                kernel.compare(rows, columns, row, expected[row], found[row])?;
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
        row: usize,
        expected: i32,
        found: i32,
    ) -> Result<(), Failure> {
        if expected == found {
            return Ok(());
        }
        Err(Failure {
            kernel: self.name,
            rows,
            columns,
            row,
            expected,
            found,
        })
    }
}

/// Runs the suite on one kernel.
fn check(kernel: &Kernel) -> Result<u32, Failure> {
    let mut cases = 0;
    let mut bench = Bench {
        weights: Aligned([0; MAX_WEIGHTS + 4]),
        x: Aligned([0; MAX_COLUMNS + 2]),
        random: 1,
    };
    for &fill in FILLS {
        for &columns in COLUMNS {
            for rows in (1..=MAX_ROWS).filter(|rows| rows * columns <= MAX_WEIGHTS) {
                bench.fill(fill);
                bench.compare(kernel, rows, columns, (0, 0))?;
                cases += 1;
            }
        }
    }
    for &columns in ODD_COLUMNS {
        for rows in 1..=MAX_ROWS {
            bench.fill(Fill::Random);
            bench.compare(kernel, rows, columns, (0, 0))?;
            cases += 1;
        }
    }
    for offset in [(1, 0), (2, 0), (3, 0), (0, 1), (3, 1)] {
        for rows in 1..=MAX_ROWS {
            bench.fill(Fill::Random);
            bench.compare(kernel, rows, 68, offset)?;
            cases += 1;
        }
    }
    let mut found = [1; 3];
    (kernel.matvec)(&[1; 8], &[], &mut found);
    kernel.compare(3, 0, 0, 0, found[0] | found[1] | found[2])?;
    (kernel.matvec)(&[], &[1; 8], &mut found);
    kernel.compare(0, 8, 0, 0, found[0] | found[1] | found[2])?;
    Ok(cases + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! stamp {
        ($($implementation:ident),*) => {
            $(
                #[test]
                fn $implementation() {
                    let cases = check(&kernel!($implementation)).unwrap();
                    assert!(cases > 1000, "only {cases} cases");
                }
            )*
        };
    }

    stamp!(portable, vector);

    #[test]
    fn the_suite_finds_a_wrong_kernel() {
        let wrong = Kernel {
            name: "wrong",
            arrange: portable::arrange,
            matvec: |weights, x, y| {
                portable::matvec(weights, x, y);
                if x.len() == 172 && y.len() == 5 {
                    y[3] += 1;
                }
            },
        };
        let failure = check(&wrong).unwrap_err();
        assert_eq!((failure.columns, failure.row), (172, 3));
    }

    #[test]
    fn all_kernels_of_this_target_pass() {
        assert!(selftest().is_ok());
    }
}
