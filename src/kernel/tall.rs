//! Products with a matrix in tall tiles, in safe Rust: for all cores but RV32, whose layout it is.
//!
//! A tile is 16 rows by one column in 16 bytes, each weight + 128; the tiles of 16 rows follow each other over all columns,
//! which are padded to a multiple of four, then those of the next 16 rows.

use crate::format::{InputWidth, TALL, align};
use crate::shift::keep_rolled;

/// The kernel's name.
#[cfg(any(test, feature = "selftest"))]
pub const NAME: &str = "portable, tall";

/// A vector as [`product`] wants it: a word for each element.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a>(&'a [u32]);

impl<'a> Operand<'a> {
    /// What [`prepare`] has left for a vector of so many elements.
    pub fn prepared(columns: usize, operand: &'a [u32]) -> Self {
        Self(operand.get(..columns).unwrap_or_default())
    }
}

/// See [`super::Inputs::new`].
#[inline(never)]
pub fn prepare<'a>(
    x: &mut [i16],
    _width: InputWidth,
    factor: Option<i32>,
    operand: &'a mut [u32],
) -> Option<Operand<'a>> {
    if let Some(factor) = factor {
        super::scale(x, factor);
    }
    let words = operand.get_mut(..x.len())?;
    for (word, &x) in words.iter_mut().zip(&*x) {
        *word = i32::from(x) as u32;
    }
    Some(Operand(words))
}

/// See [`super::product::products`]. It is not this core's own layout: small rather than fast.
#[inline(never)]
pub fn product(tiles: &[u32], &Operand(x): &Operand<'_>, y: &mut [i32]) {
    if x.is_empty() {
        return y.fill(0);
    }
    let blocks = tiles.as_chunks::<{ TALL / 4 }>().0.chunks_exact(align(x.len()));
    for (block, y) in blocks.zip(y.chunks_mut(TALL)) {
        let mut sums = [[0i32; 4]; TALL / 4];
        for (tile, &x) in block.iter().zip(x) {
            for (sums, word) in sums.iter_mut().zip(tile) {
                for (sum, byte) in sums.iter_mut().zip((word ^ 0x8080_8080).to_le_bytes()) {
                    *sum = sum.wrapping_add(i32::from(byte as i8) * x as i32);
                }
                keep_rolled();
            }
        }
        for (y, sum) in y.iter_mut().zip(sums.as_flattened()) {
            *y = *sum;
        }
    }
}
