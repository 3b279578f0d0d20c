//! Products with a matrix in tiles, in safe Rust: for a file whose layout is not the core's own, and on the host.
//!
//! A tile is 4 rows by 4 columns in 16 bytes: four little-endian words, word r is row r, byte c of it is column c.
//! Rows and columns are padded to multiples of 4; the tiles of four rows follow each other over all columns, then those
//! of the next four rows. The two layouts differ only in which bytes hold weight + 128 instead of the weight, so one
//! XOR a word makes either into signed bytes.

use crate::chunks::chunks;
use crate::shift::keep_rolled;

/// Every byte holds weight + 128: the layout for cores without DSP instructions.
pub mod bytes {
    super::kernel!(0x8080_8080);
}

/// The bytes of even columns hold weight + 128, those of odd columns the weight: the layout for cores with DSP
/// instructions.
pub mod halves {
    super::kernel!(0x0080_0080);
}

/// The kernel for the layout that this XOR makes into signed bytes.
macro_rules! kernel {
    ($offsets:literal) => {
        use crate::format::InputWidth;

        #[cfg(any(test, feature = "selftest"))]
        pub use super::operand_len;

        /// The kernel's name.
        #[cfg(any(test, feature = "selftest"))]
        pub const NAME: &str = concat!("portable, offsets ", stringify!($offsets));

        /// Puts an input vector into the form that [`tiles`] wants: the first words of `operand`, two elements each.
        pub fn prepare(x: &[i16], _width: InputWidth, operand: &mut [u32]) {
            super::prepare(x, operand);
        }

        /// See [`crate::kernel::product()`].
        pub fn tiles(
            tiles: &[u32],
            columns: usize,
            operand: &[u32],
            _width: InputWidth,
            y: &mut [i32],
        ) -> u32 {
            super::product::<$offsets>(tiles, columns, operand, y);
            0
        }
    };
}
use kernel;

/// Words of an operand: two elements each.
pub const fn operand_len(columns: usize) -> usize {
    columns.div_ceil(4) * 2
}

/// Two elements a word, the first in the low half.
#[inline(never)]
fn prepare(x: &[i16], operand: &mut [u32]) {
    let pairs = x.chunks(2).map(|pair| match *pair {
        [a, b] => u32::from(a as u16) | u32::from(b as u16) << 16,
        [a] => u32::from(a as u16),
        _ => 0,
    });
    let padded = pairs.chain(core::iter::repeat(0)).take(operand_len(x.len()));
    for (word, pair) in operand.iter_mut().zip(padded) {
        *word = pair;
    }
}

/// Four rows at a time; `OFFSETS` has a bit set where a byte's sign is to be turned.
#[inline(never)]
fn product<const OFFSETS: u32>(tiles: &[u32], columns: usize, operand: &[u32], y: &mut [i32]) {
    if columns == 0 {
        return y.fill(0);
    }
    let Some(operand) = operand.get(..operand_len(columns)) else {
        return;
    };
    let x = operand.as_chunks::<2>().0;
    for (block, y) in chunks(tiles.as_chunks::<4>().0, x.len()).zip(y.chunks_mut(4)) {
        let mut sums = [0; 4];
        for (tile, x) in block.iter().zip(x) {
            let x = x.map(|pair| [i32::from(pair as i16), (pair as i32) >> 16]);
            for (sum, row) in sums.iter_mut().zip(tile) {
                let [w0, w1, w2, w3] = (row ^ OFFSETS).to_le_bytes().map(|byte| i32::from(byte as i8));
                *sum = i32::wrapping_add(*sum, w0 * x[0][0] + w1 * x[0][1] + w2 * x[1][0] + w3 * x[1][1]);
                keep_rolled();
            }
        }
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = sum;
        }
    }
}
