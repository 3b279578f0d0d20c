//! What the kernels have in common that pass over columns in tiles of offset bytes: the list, with the words of
//! [`offset_bytes`](super::offset_bytes) for each group.

use super::offset_bytes::pair;
use super::sparse;
use crate::format::InputWidth;

/// A list of five words for each group.
pub type List<'a> = sparse::List<'a, 5>;

/// See [`sparse::list`].
#[inline(never)]
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) -> bool {
    match width {
        InputWidth::A8 => sparse::list(x, operand, |[x0, x1, x2, x3]| {
            let ([a, b], [c, d]) = (pair(x0, x2), pair(x1, x3));
            ([0, a, b, c, d], 0)
        }),
        InputWidth::A16 => sparse::list(x, operand, |x| {
            let [a, b, c, d] = x.map(i32::from);
            ([0, a as u32, b as u32, c as u32, d as u32], -128 * (a + b + c + d))
        }),
    }
}
