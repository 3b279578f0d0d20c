//! What the kernels for tiles of offset bytes (weight + 128) have in common: the operand, and the safe frame around
//! the assembly.
//!
//! At width A8 one 32-bit multiplication does two products. Of a row's word (u0, u1, u2, u3), u = w + 128, the even
//! bytes are masked out as W = u0 + 2^16 u2 and meet X = x2 + 2^16 x0:
//!
//! W X = u0 x2 + 2^16 (u0 x0 + u2 x2) modulo 2^32
//!
//! Adding C = 2^15 - (128 + 2^16 128) X takes the offsets away and rounds:
//!
//! W X + C = (w0 x2 + 2^15) + 2^16 (w0 x0 + w2 x2)
//!
//! Since |w x| <= 128 * 127, the first term is within 0..2^16 and the sum of two products within an i16. So the high
//! half is that sum, exactly. The odd bytes meet x1 and x3 in the same way. At width A16 bytes are multiplied one by
//! one, and a start value of -128 sum(x) takes the offsets away.

use crate::format::InputWidth;

/// Words of an operand: the start value of a sum, then four words for each group of four columns: (X, C) for columns 0
/// and 2 and (X, C) for columns 1 and 3 at width A8, the inputs at width A16.
#[cfg(any(test, feature = "selftest"))]
pub const fn operand_len(columns: usize) -> usize {
    columns.div_ceil(4) * 4 + 1
}

/// See [`super::prepare`].
#[inline(never)]
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    let Some((start, operand)) = operand.split_first_mut() else {
        return;
    };
    let (groups, rest) = x.as_chunks();
    let mut last = [0; 4];
    for (last, &x) in last.iter_mut().zip(rest) {
        *last = x;
    }
    let last = if rest.is_empty() { None } else { Some(&last) };
    let words = operand.as_chunks_mut().0.iter_mut().zip(groups.iter().chain(last));
    match width {
        InputWidth::A8 => {
            *start = 0;
            for (words, &[x0, x1, x2, x3]) in words {
                let ([a, b], [c, d]) = (pair(x0, x2), pair(x1, x3));
                *words = [a, b, c, d];
            }
        }
        InputWidth::A16 => {
            let mut sum = 0u32;
            for (words, x) in words {
                *words = x.map(|x| i32::from(x) as u32);
                sum = words.iter().fold(sum, |sum, &x| sum.wrapping_add(x));
            }
            *start = sum.wrapping_mul(128).wrapping_neg();
        }
    }
}

/// X and C.
#[inline(always)]
pub fn pair(high: i16, low: i16) -> [u32; 2] {
    let x = (i32::from(low) as u32).wrapping_add(i32::from(high) as u32 * (1 << 16));
    [x, (1u32 << 15).wrapping_sub(x.wrapping_mul(0x0080_0080))]
}

/// What the assembly gets, once its lengths are checked.
pub struct Blocks<'a> {
    /// At least as many tiles as blocks times groups.
    pub tiles: &'a [u32],
    /// At least [`operand_len`] words.
    pub operand: &'a [u32],
    /// Groups of four columns; not 0.
    pub groups: usize,
    /// The sums of four rows each; not empty.
    pub sums: &'a mut [[i32; 4]],
}

/// Has `product` compute whole blocks of four rows, as many as `y` wants and `tiles` has. A block that reaches beyond
/// the end of `y` is computed beside it.
pub fn in_blocks(tiles: &[u32], columns: usize, operand: &[u32], y: &mut [i32], product: impl Fn(Blocks)) {
    let groups = columns.div_ceil(4);
    if groups == 0 {
        return y.fill(0);
    }
    if operand.len() / 4 < groups || operand.len() < groups * 4 + 1 {
        return;
    }
    let words = groups * 4;
    let (whole, rest) = y.as_chunks_mut();
    let wanted = whole.len() + usize::from(!rest.is_empty());
    // Not every core divides.
    let small = wanted < 1 << 16 && words < 1 << 16;
    let blocks = if small && wanted * words <= tiles.len() { wanted } else { tiles.len() / words };
    let last =
        tiles.get(whole.len().wrapping_mul(words)..).filter(|_| blocks > whole.len() && !rest.is_empty());
    if let Some(sums) = whole.get_mut(..blocks.min(whole.len())).filter(|sums| !sums.is_empty()) {
        product(Blocks { tiles, operand, groups, sums });
    }
    if let Some(tiles) = last {
        let mut sums = [[0; 4]];
        product(Blocks { tiles, operand, groups, sums: &mut sums });
        for (y, sum) in rest.iter_mut().zip(sums.as_flattened()) {
            *y = *sum;
        }
    }
}
