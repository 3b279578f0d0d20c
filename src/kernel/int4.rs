//! Products of int4 matrices: the operand and the safe frame that all kernels share, and the portable kernel.
//!
//! Weights are `u - 8` with `u` of four bits, in the order of [`nibbles`]. A group's sum starts with -8 times the sum
//! of its inputs, so that the kernels multiply by `u`; it is added to the row's sum times the group's factor, which
//! makes the numbers those of an int8 matrix with weights of at most 120.

use crate::format::{InputWidth, align, nibbles};

#[cfg(any(test, feature = "selftest"))]
/// The kernel's name.
pub const NAME: &str = "portable int4";

/// The weights of an int4 matrix, see [`nibbles`].
#[derive(Debug, Clone, Copy)]
pub struct Nibbles<'m> {
    /// Four words each, of eight columns.
    pub tiles: &'m [u32],
    /// For four rows, one number for each group.
    pub factors: &'m [u16],
}

/// Words of an operand: a start value for each group, and a word for two columns.
pub const fn operand_len(columns: usize) -> usize {
    nibbles::groups(columns) + 4 * nibbles::tiles(columns)
}

/// Words of the operand's part for a group of so many tiles.
const fn part_len(tiles: usize) -> usize {
    1 + 4 * tiles
}

/// Tiles of a group but for the first.
const WHOLE: usize = nibbles::GROUP / nibbles::WORD;

/// Tiles that the first group is short of.
const fn missing(columns: usize) -> usize {
    WHOLE * nibbles::groups(columns) - nibbles::tiles(columns)
}

/// Puts an input vector into the form that [`product`] wants.
#[inline(never)]
pub fn prepare(x: &[i16], _width: InputWidth, operand: &mut [u32]) {
    spread(x, operand, |a, b| u32::from(a as u16) | u32::from(b as u16) << 16, |sum| sum.wrapping_mul(-8));
}

/// Fills an operand: each group's words, of two columns `pair`, after the `start` that follows from the sum of its
/// inputs. Does nothing where `operand` has fewer than [`operand_len`] words.
#[inline(always)]
pub fn spread(x: &[i16], operand: &mut [u32], pair: impl Fn(i16, i16) -> u32, start: impl Fn(i32) -> i32) {
    let Some(mut operand) = operand.get_mut(..operand_len(x.len())) else {
        return;
    };
    // The first word may begin with four columns that pad.
    let lead = nibbles::WORD * nibbles::tiles(x.len()) - align(x.len());
    let mut eight = [0; nibbles::WORD];
    let (head, rest) = x.split_at(x.len().min(nibbles::WORD - lead));
    for (to, &from) in eight.iter_mut().skip(lead).zip(head) {
        *to = from;
    }
    let (whole, tail) = rest.as_chunks::<{ nibbles::WORD }>();
    let mut whole = whole.iter();
    let mut tiles = WHOLE - missing(x.len());
    while let Some((part, after)) = core::mem::take(&mut operand).split_at_mut_checked(part_len(tiles)) {
        let mut sum = 0i32;
        if let Some((first, words)) = part.split_first_mut() {
            for words in words.as_chunks_mut::<4>().0 {
                let [x0, x1, x2, x3, x4, x5, x6, x7] = eight;
                *words = [pair(x0, x1), pair(x2, x3), pair(x4, x5), pair(x6, x7)];
                sum = eight.iter().fold(sum, |sum, &x| sum.wrapping_add(i32::from(x)));
                eight = whole.next().copied().unwrap_or_else(|| padded(tail));
            }
            *first = start(sum) as u32;
        }
        operand = after;
        tiles = WHOLE;
    }
}

/// Up to eight elements, and zeros.
fn padded(x: &[i16]) -> [i16; nibbles::WORD] {
    let mut eight = [0; nibbles::WORD];
    for (to, &from) in eight.iter_mut().zip(x) {
        *to = from;
    }
    eight
}

/// What a kernel gets, once all lengths are checked.
pub struct Blocks<'a> {
    /// At least as many tiles as the blocks have.
    pub tiles: &'a [u32],
    /// The numbers of as many blocks.
    pub factors: &'a [u16],
    /// [`operand_len`] words.
    pub operand: &'a [u32],
    /// The tiles that the first group is short of four: 0 to 3.
    pub missing: usize,
    /// The sums of four rows each; not empty.
    pub sums: &'a mut [[i32; 4]],
}

/// Has `kernel` compute whole blocks of four rows, as many as `y` wants and the matrix has. A block that reaches beyond
/// the end of `y` is computed beside it.
#[inline(always)]
pub fn in_blocks(
    &Nibbles { tiles, factors }: &Nibbles<'_>,
    columns: usize,
    operand: &[u32],
    y: &mut [i32],
    kernel: impl Fn(Blocks<'_>),
) {
    let (words, groups) = (4 * nibbles::tiles(columns), nibbles::groups(columns));
    if columns == 0 {
        return y.fill(0);
    }
    let Some(operand) = operand.get(..operand_len(columns)) else {
        return;
    };
    let (whole, rest) = y.as_chunks_mut();
    let wanted = whole.len() + usize::from(!rest.is_empty());
    let there = |blocks: usize| blocks * words <= tiles.len() && blocks * groups <= factors.len();
    // Not every core divides; lengths that fit 16 bits have products that fit.
    let small = wanted < 1 << 16 && words < 1 << 14;
    let blocks = if small && there(wanted) {
        wanted
    } else {
        (tiles.len() / words).min(factors.len() / groups).min(wanted)
    };
    let missing = missing(columns);
    if let Some(sums) = whole.get_mut(..blocks.min(whole.len())).filter(|sums| !sums.is_empty()) {
        kernel(Blocks { tiles, factors, operand, missing, sums });
    }
    if blocks > whole.len()
        && let Some(tiles) = tiles.get(whole.len() * words..)
        && let Some(factors) = factors.get(whole.len() * groups..)
    {
        let mut sums = [[0; 4]];
        kernel(Blocks { tiles, factors, operand, missing, sums: &mut sums });
        for (y, sum) in rest.iter_mut().zip(sums.as_flattened()) {
            *y = *sum;
        }
    }
}

/// Multiplies an int4 matrix by a vector: `y[row]` becomes the sum over `column` of weight times factor times input.
///
/// `operand` is what [`prepare`] makes of `columns` elements. Where there are fewer blocks of four rows than `y` has
/// rows, the other elements stay as they are; where `operand` is too short, all of them.
#[allow(dead_code, reason = "a core with a kernel of its own needs it for some widths or in the suite only")]
#[inline(never)]
pub fn product(weights: &Nibbles<'_>, columns: usize, operand: &[u32], _width: InputWidth, y: &mut [i32]) {
    in_blocks(weights, columns, operand, y, blocks_of_four);
}

/// The kernel: whole blocks, once all lengths are checked.
#[allow(dead_code, reason = "as for `product`")]
pub fn blocks_of_four(Blocks { tiles, factors, operand, missing, sums }: Blocks<'_>) {
    let (mut tiles, mut factors) = (tiles.as_chunks::<4>().0.iter(), factors.iter());
    for totals in sums {
        *totals = [0; 4];
        let (first, rest) = operand.split_at_checked(part_len(WHOLE - missing)).unwrap_or_default();
        for part in core::iter::once(first).chain(rest.chunks(part_len(WHOLE))) {
            let Some((&start, words)) = part.split_first() else {
                continue;
            };
            let mut sums = [start as i32; 4];
            for (x, tile) in words.as_chunks::<4>().0.iter().zip(&mut tiles) {
                for (sum, &row) in sums.iter_mut().zip(tile) {
                    *sum = sum.wrapping_add(eight(row, x));
                }
            }
            let Some(&factors) = factors.next() else {
                continue;
            };
            for ((total, sum), row) in totals.iter_mut().zip(sums).zip(0..4) {
                *total = total.wrapping_add(sum.wrapping_mul(i32::from(factors >> (4 * row) & 15)));
            }
        }
    }
}

/// Eight columns of one row.
#[inline(always)]
fn eight(row: u32, x: &[u32; 4]) -> i32 {
    let mut sum = 0;
    for (pair, &x) in [row, row >> 4, row >> 8, row >> 12].into_iter().zip(x) {
        let (even, odd) = ((pair & 15) as i32, (pair >> 16 & 15) as i32);
        sum += even * i32::from(x as i16) + odd * (x as i32 >> 16);
    }
    sum
}
