//! One suite for all kernels: every shape and every extreme against the oracle.
//!
//! Needs no heap and, with its part for tiles, less than 13 KiB of stack, so that it runs on the smallest target as
//! well as on the host.

#[cfg(thumbformer_kernel = "armv6m")]
use super::armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
use super::armv7m;
#[cfg(thumbformer_kernel = "dsp")]
use super::dsp;
#[cfg(thumbformer_kernel = "mve")]
use super::mve;
#[cfg(thumbformer_kernel = "riscv")]
use super::riscv;
use super::{int4_suite, portable, reference, tile_suite, vector};

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    arrange: fn(&mut [i16]),
    matvec_strided: fn(&[i8], usize, &[i16], &mut [i32]),
}

macro_rules! kernel {
    ($implementation:ident) => {
        Kernel {
            name: $implementation::NAME,
            arrange: $implementation::arrange,
            matvec_strided: $implementation::matvec_strided,
        }
    };
}

/// Every implementation that this target can run.
const KERNELS: &[Kernel] = &[
    kernel!(portable),
    kernel!(vector),
    #[cfg(thumbformer_kernel = "armv6m")]
    kernel!(armv6m),
    #[cfg(thumbformer_kernel = "armv7m")]
    kernel!(armv7m),
    #[cfg(thumbformer_kernel = "dsp")]
    kernel!(dsp),
    #[cfg(thumbformer_kernel = "mve")]
    kernel!(mve),
    #[cfg(thumbformer_kernel = "riscv")]
    kernel!(riscv),
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
    /// From one row to the next.
    pub stride: usize,
    /// The element of the output that is wrong.
    pub element: usize,
    /// What the oracle computed, or the value that must not be touched.
    pub expected: i32,
    /// What the kernel computed.
    pub found: i32,
}

/// xorshift32 (Marsaglia 2003).
pub struct Random(pub u32);

impl Random {
    /// Any number but 0.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(end)) >> 32) as u32
    }

    /// A number within `-bound..=bound`.
    pub fn within(&mut self, bound: i32) -> i32 {
        self.below(2 * bound as u32 + 1) as i32 - bound
    }
}

/// Runs the suite on every kernel that this target can run; returns the number of products compared.
#[inline(never)]
pub fn selftest() -> Result<u32, Failure> {
    let mut cases = tile_suite::run()? + int4_suite::run()?;
    for kernel in KERNELS {
        cases += check(kernel)?;
    }
    Ok(cases)
}

const MAX_COLUMNS: usize = 516;
const MAX_ROWS: usize = 9;
/// What is in an output before: near the end of the range, so that adding to it wraps.
const UNTOUCHED: i32 = i32::MAX - 1000;
/// Bytes of the largest matrix: four rows of 512 columns, or nine of 220.
const MAX_WEIGHTS: usize = 2064;

/// Every tail of the blocked loops (groups of 32, 8 and 4), the shapes of small models, the accumulator's bound.
const COLUMNS: &[usize] =
    &[4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 64, 68, 96, 100, 128, 172, 220, 256, 288, 344, 508, 512, 516];

/// (columns, stride) of heads in a cache, and of what only the slow paths take.
const STRIDED: &[(usize, usize)] = &[
    (4, 4),
    (4, 8),
    (8, 8),
    (8, 32),
    (12, 16),
    (16, 48),
    (20, 20),
    (32, 64),
    (40, 44),
    (64, 68),
    (1, 1),
    (1, 4),
    (2, 8),
    (3, 3),
    (5, 20),
    (6, 7),
    (7, 8),
    (8, 9),
    (9, 12),
    (31, 32),
    (33, 33),
];

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

/// The shape of a matrix, and where it and the vector start: bytes and elements past a multiple of four bytes.
#[derive(Clone, Copy)]
struct Case {
    rows: usize,
    columns: usize,
    stride: usize,
    byte_offset: usize,
    offset: usize,
}

impl Case {
    /// Rows one after the other.
    fn packed(rows: usize, columns: usize) -> Self {
        Case { rows, columns, stride: columns, byte_offset: 0, offset: 0 }
    }
}

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
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
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

    /// Compares one product.
    fn product(&mut self, kernel: &Kernel, case: Case) -> Result<(), Failure> {
        let Case { rows, columns, stride, .. } = case;
        let weights = &self.weights.0[case.byte_offset..];
        let x = &mut self.x.0[case.offset..][..columns];
        let mut expected = [UNTOUCHED; MAX_ROWS + 3];
        for (row, sum) in expected.iter_mut().enumerate().take(rows) {
            *sum = reference::product(weights, stride, x, row);
        }
        (kernel.arrange)(x);
        let end = (rows - 1) * stride + columns;
        // An output as long as the matrix, a longer one, and a matrix without its last byte, which has one row less.
        for (length, end, whole) in [(rows, end, rows), (rows + 2, end, rows), (rows, end - 1, rows - 1)] {
            let mut found = [UNTOUCHED; MAX_ROWS + 3];
            (kernel.matvec_strided)(&weights[..end], stride, x, &mut found[..length]);
            for row in 0..found.len() {
                let expected = if row < whole { expected[row] } else { UNTOUCHED };
                kernel.compare(case, row, expected, found[row])?;
            }
        }
        Ok(())
    }
}

impl Kernel {
    fn compare(&self, case: Case, element: usize, expected: i32, found: i32) -> Result<(), Failure> {
        if expected == found {
            return Ok(());
        }
        Err(Failure {
            kernel: self.name,
            rows: case.rows,
            columns: case.columns,
            stride: case.stride,
            element,
            expected,
            found,
        })
    }
}

/// Runs the suite on one kernel.
#[inline(never)]
fn check(kernel: &Kernel) -> Result<u32, Failure> {
    let mut cases = 0;
    let mut bench =
        Bench { weights: Aligned([0; MAX_WEIGHTS + 4]), x: Aligned([0; MAX_COLUMNS + 2]), random: 1 };
    for &fill in FILLS {
        for &columns in COLUMNS {
            for rows in (1..=MAX_ROWS).filter(|rows| rows * columns <= MAX_WEIGHTS) {
                bench.fill(fill);
                bench.product(kernel, Case::packed(rows, columns))?;
                cases += 1;
            }
        }
        for &(columns, stride) in STRIDED {
            for rows in 1..=MAX_ROWS {
                bench.fill(fill);
                let case = Case { stride, ..Case::packed(rows, columns) };
                bench.product(kernel, case)?;
                cases += 1;
            }
        }
    }
    for (byte_offset, offset) in [(1, 0), (2, 0), (3, 0), (0, 1), (3, 1)] {
        for rows in 1..=MAX_ROWS {
            bench.fill(Fill::Random);
            let case = Case { byte_offset, offset, ..Case::packed(rows, 44) };
            bench.product(kernel, case)?;
            cases += 1;
        }
    }
    empty(kernel)?;
    Ok(cases + 1)
}

/// Nothing to add up, and strides without rows.
fn empty(kernel: &Kernel) -> Result<(), Failure> {
    let mut found = [1; 4];
    (kernel.matvec_strided)(&[1; 8], 0, &[], &mut found);
    (kernel.matvec_strided)(&[], 8, &[1; 8], &mut found);
    (kernel.matvec_strided)(&[1; 8], 0, &[1; 4], &mut found);
    (kernel.matvec_strided)(&[1; 8], 2, &[1; 4], &mut found);
    for (element, &found) in found.iter().enumerate() {
        kernel.compare(Case::packed(0, 0), element, 0, found)?;
    }
    Ok(())
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
            matvec_strided: |weights, stride, x, y| {
                portable::matvec_strided(weights, stride, x, y);
                if x.len() == 172 && y.len() == 5 {
                    y[3] += 1;
                }
            },
            ..kernel!(portable)
        };
        let failure = check(&wrong).unwrap_err();
        assert_eq!((failure.columns, failure.element), (172, 3));
    }

    #[test]
    fn all_kernels_of_this_target_pass() {
        assert!(selftest().is_ok());
    }
}
