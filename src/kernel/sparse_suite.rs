//! The suite's part for products that pass over columns: vectors with all shares of zeros against the oracle.

use super::reference::{self, Tiling};
use super::suite::{Failure, Random};
use super::{Inputs, LAYOUT, NAME, Weights, portable, portable::sparse::List, product};
use crate::format::InputWidth::{self, A8, A16};
use crate::format::Layout;
use zerocopy::{FromBytes, IntoBytes};

/// The product of words with a vector of this width, by way of an operand.
type Product = fn(words: &[u32], x: &mut [i16], InputWidth, operand: &mut [u32], y: &mut [i32]) -> u32;

/// One implementation.
struct Kernel {
    name: &'static str,
    layout: Layout,
    product: Product,
    /// Whether this number of groups of four columns, of so many, is to be listed.
    lists: fn(usize, usize, InputWidth) -> bool,
}

/// Every implementation that this target can run. The core's own is called as blocks call it.
const KERNELS: [Kernel; 2] = [
    Kernel {
        name: portable::NAME,
        layout: Layout::Rows,
        product: |words, x, width, operand, y| {
            let columns = x.len();
            if portable::sparse::prepare(x, width, operand)
                && let Some(list) = List::read(operand, columns)
            {
                return portable::sparse::product(bytes(words), columns, list, width, y);
            }
            portable::matvec_strided(bytes(words), columns, x, y);
            0
        },
        lists: |groups, of, _| groups > 0 && groups <= of * 3 / 4,
    },
    Kernel {
        name: NAME,
        layout: LAYOUT,
        product: |words, x, width, operand, y| {
            let weights = match LAYOUT {
                Layout::Rows | Layout::Nibbles => Weights::Rows(bytes(words)),
                Layout::Bytes => Weights::Bytes(words),
                Layout::Halves => Weights::Halves(words),
            };
            let columns = x.len();
            let inputs = Inputs::new(&weights, (width, true), (columns, 1), (x, operand), |_| None);
            product(&weights, &inputs, 0, y)
        },
        lists: |groups, of, width| {
            // Some read all columns, and the one for RV32 passes over zeros without a list.
            let own = !cfg!(any(
                thumbformer_kernel = "mve",
                thumbformer_kernel = "riscv",
                thumbformer_kernel = "vector"
            ));
            let fits = !cfg!(thumbformer_kernel = "dsp") || width == A16 || groups <= 128;
            own && fits && groups > 0 && groups <= of * 3 / 4
        },
    },
];

const MAX_COLUMNS: usize = 700;
const MAX_ROWS: usize = 12;
/// Past the rows that are asked for.
const ROOM: usize = 3;
/// What is in an output before.
const UNTOUCHED: i32 = i32::MAX - 1000;
/// What is in an operand before; whatever of it a kernel reads spoils its sums.
const UNPREPARED: u32 = 0x5EED_BEEF;

/// All remainders of the unrolled loops, and more than one part of the kernels that work in parts.
const COLUMNS: &[usize] =
    &[4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 100, 172, 232, 512, 516, 700];

struct Bench {
    words: [u32; MAX_COLUMNS],
    x: [i16; MAX_COLUMNS],
    operand: [u32; MAX_COLUMNS + 4],
    random: Random,
}

impl Bench {
    /// Fills a matrix and a vector of which `zeros` of eight groups of four are 0; `edges` are the largest sums.
    fn fill(&mut self, layout: Layout, columns: usize, width: InputWidth, zeros: u32, edges: bool) {
        let Self { words, x, random, .. } = self;
        let largest = if width == A8 { 127 } else { 1 << 14 };
        // In a layout with offsets this is the most negative weight, in the other one 0.
        let edge = if layout == Layout::Halves { 0x8000_8000 } else { 0 };
        words.fill_with(|| if edges { edge } else { random.next() });
        for group in x[..columns].chunks_mut(4) {
            if random.below(8) < zeros {
                group.fill(0);
                continue;
            }
            group.fill_with(|| if edges { -largest as i16 } else { random.within(largest) as i16 });
            // One that is 0 among others, sometimes: these must still be met.
            if random.below(2) == 0 {
                group[random.below(4) as usize] = 0;
            }
        }
    }

    /// Compares the products of one matrix and vector.
    fn products(
        &mut self,
        kernel: &Kernel,
        rows: usize,
        columns: usize,
        width: InputWidth,
    ) -> Result<(), Failure> {
        let Self { words, x, operand, .. } = self;
        let x = &x[..columns];
        let groups = x.chunks(4).filter(|group| group.iter().any(|&x| x != 0)).count();
        let lists = (kernel.lists)(groups, columns / 4, width);
        let words = &words[..rows * columns / 4];
        // A word less is a row less, or a block of four.
        let fewer = if kernel.layout == Layout::Rows { rows - 1 } else { rows - 4 };
        for (words, outputs, whole) in [
            (words, rows, rows),
            (words, rows + ROOM, rows),
            (words, rows - 1, rows - 1),
            (words, rows - 3, rows - 3),
            (&words[..words.len() - 1], rows, fewer),
            (&words[..0], rows, 0),
        ] {
            let mut vector = [0; MAX_COLUMNS];
            vector[..columns].copy_from_slice(x);
            let mut found = [UNTOUCHED; MAX_ROWS + ROOM];
            // A workspace's operand has room for the longest vector.
            operand.fill(UNPREPARED);
            let room = super::operand_len(columns);
            let (vector, found_rows) = (&mut vector[..columns], &mut found[..outputs]);
            let shift = (kernel.product)(words, vector, width, &mut operand[..room], found_rows);
            if lists {
                kernel.same(rows, columns, columns, groups as i32, operand[0] as i32)?;
            }
            for (row, &found) in found.iter().enumerate() {
                let expected = match (row < whole, kernel.layout) {
                    (false, _) => UNTOUCHED,
                    (true, Layout::Rows | Layout::Nibbles) => {
                        reference::product(bytes(words), columns, x, row)
                    }
                    (true, Layout::Bytes) => reference::tile_product(Tiling::Bytes, words, x, row),
                    (true, Layout::Halves) => reference::tile_product(Tiling::Halves, words, x, row),
                };
                let shift = if row < whole { shift } else { 0 };
                kernel.same(rows, columns, row, expected << shift, found)?;
            }
        }
        Ok(())
    }
}

fn bytes(words: &[u32]) -> &[i8] {
    FromBytes::ref_from_bytes(words.as_bytes()).unwrap_or_default()
}

impl Kernel {
    fn same(
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

/// Runs all cases; returns the number of products compared.
#[inline(never)]
pub fn run() -> Result<u32, Failure> {
    let mut compared = 0;
    for kernel in &KERNELS {
        compared += check(kernel)?;
    }
    Ok(compared)
}

#[inline(never)]
fn check(kernel: &Kernel) -> Result<u32, Failure> {
    let mut bench = Bench {
        words: [0; MAX_COLUMNS],
        x: [0; MAX_COLUMNS],
        operand: [0; MAX_COLUMNS + 4],
        random: Random(1),
    };
    let mut compared = 0;
    for &columns in COLUMNS {
        for rows in [4, 8, 12].into_iter().filter(|rows| rows * columns <= 4 * MAX_COLUMNS) {
            for (width, zeros) in [A8, A16].into_iter().flat_map(|w| (0..=8).map(move |z| (w, z))) {
                for edges in [false, true] {
                    bench.fill(kernel.layout, columns, width, zeros, edges);
                    bench.products(kernel, rows, columns, width)?;
                    compared += 1;
                }
            }
        }
    }
    damaged(kernel)?;
    Ok(compared)
}

/// Lists that would lead out of a matrix are none.
fn damaged(kernel: &Kernel) -> Result<(), Failure> {
    let mut operand = [0; 20];
    let mut x = [0; 16];
    x[4] = 1;
    let listed = portable::sparse::prepare(&x, A8, &mut operand);
    let read = |operand: &[u32], columns| i32::from(List::read(operand, columns).is_some());
    kernel.same(1, 16, 0, 1, i32::from(listed) & read(&operand, 16))?;
    kernel.same(1, 16, 1, 0, read(&operand, 12) | read(&operand, 20) | read(&operand[..5], 16))?;
    for word in [0, 2, 3] {
        for by in [1, 16, u32::MAX, u32::MAX - 15] {
            let mut operand = operand;
            operand[word] = operand[word].wrapping_add(by);
            kernel.same(1, 16, word, 0, read(&operand, 16))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_of_this_target_pass() {
        let compared = run().unwrap();
        assert!(compared > 1000, "only {compared} products");
    }

    /// A kernel that never lists anything, and one that drops what comes after the first group that is 0.
    #[test]
    fn the_suite_finds_wrong_kernels() {
        let product: Product = |words, x, _, _, y| {
            portable::matvec_strided(bytes(words), x.len(), x, y);
            0
        };
        let [right, _] = KERNELS;
        let dense = Kernel { name: "dense", product, ..right };
        assert_eq!(check(&dense).unwrap_err().found, UNPREPARED as i32);

        let short = Kernel {
            product: |words, x, width, operand, y| {
                let first = x.chunks(4).position(|group| group == [0; 4]).unwrap_or(x.len());
                x.iter_mut().skip(4 * first).for_each(|x| *x = 0);
                (KERNELS[0].product)(words, x, width, operand, y)
            },
            lists: |_, _, _| false,
            ..right
        };
        assert!(check(&short).is_err());
    }
}
