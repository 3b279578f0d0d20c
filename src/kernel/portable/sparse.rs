//! Products of rows that pass over columns whose inputs are 0, four rows and four columns at a time.

use crate::format::InputWidth;
use crate::kernel::sparse::{self, TILE};

/// A list of three words for each group, the inputs two to a word.
pub type List<'a> = sparse::List<'a, 3>;

/// See [`sparse::list`]; one for all widths.
#[inline(never)]
pub fn prepare(x: &[i16], _width: InputWidth, operand: &mut [u32]) -> bool {
    let halves = |low: i16, high: i16| u32::from(low as u16) | u32::from(high as u16) << 16;
    sparse::list(x, operand, |[x0, x1, x2, x3]| ([0, halves(x0, x1), halves(x2, x3)], 0))
}

/// See [`kernel::product`](crate::kernel::product()).
#[inline(never)]
pub fn product(rows: &[i8], columns: usize, list: List<'_>, _width: InputWidth, y: &mut [i32]) -> u32 {
    let groups = columns / 4;
    if groups == 0 {
        y.fill(0);
        return 0;
    }
    for (block, y) in rows.as_chunks::<4>().0.chunks(4 * groups).zip(y.chunks_mut(4)) {
        let Some(first) = block.get(..groups) else {
            break;
        };
        // Rows that are not there are the first one, and do not count.
        let row = |i: usize| block.get(i * groups..(i + 1) * groups);
        let whole = 1 + (1..4).filter(|&i| row(i).is_some()).count();
        let rows = [first, row(1).unwrap_or(first), row(2).unwrap_or(first), row(3).unwrap_or(first)];
        let mut sums = [0; 4];
        let mut at = 0;
        for &[skipped, low, high] in list.entries() {
            at += (skipped / TILE) as usize;
            let x = [i32::from(low as i16), low as i32 >> 16, i32::from(high as i16), high as i32 >> 16];
            for (sum, row) in sums.iter_mut().zip(rows) {
                let Some(weights) = row.get(at) else {
                    continue;
                };
                for (&w, x) in weights.iter().zip(x) {
                    *sum = i32::wrapping_add(*sum, i32::from(w) * x);
                }
            }
            at += 1;
        }
        for (y, sum) in y.iter_mut().zip(sums).take(whole) {
            *y = sum;
        }
    }
    0
}
