//! Products of queries and keys to scores, for two query heads that share keys and the work on their steps: for short heads
//! in one go.
//!
//! A dot product times a mantissa m, shifted by s, which is at least 7, and rounded half up, is the high word of
//! dot * (m * 2^(33 - s)), plus one, halved.

use super::set8;
use crate::kernel::attention;
use core::arch::naked_asm;

/// See [`attention::scores_pair`].
pub fn scores_pair(
    keys: &[i8],
    head_dim: usize,
    z: &[u8],
    pair: &[i16],
    (base, largest): (u32, u32),
    scores: &mut [i32],
) -> [i32; 2] {
    let len = z.len().min(scores.len() / 2);
    let whole = len > 0 && keys.len() / 8 >= len * (head_dim / 8) && pair.len() >= 2 * head_dim;
    if !whole || !matches!(head_dim, 8 | 16) || base < largest + 7 {
        return attention::scores_pair(keys, head_dim, z, pair, (base, largest), scores);
    }
    let base = 33u32.wrapping_sub(base);
    let (keys, z, pair, scores) = (keys.as_ptr(), z.as_ptr(), pair.as_ptr(), scores.as_mut_ptr());
    // SAFETY: there are `len` keys and scale bytes, room for as many pairs of scores, and two queries of as many elements as
    // a key. Of 16 columns, eight are done before.
    let tops = unsafe {
        if head_dim == 8 {
            scores8(keys, pair, scores, z, len, base)
        } else {
            set8(keys, pair, scores, 16, len, 1);
            scores16(keys.add(8), pair.add(16), scores, z, len, base)
        }
    };
    [tops as i32, (tops >> 32) as i32]
}

/// A function for keys `$stride` elements apart, of which `$row` multiplies the last eight.
macro_rules! scores {
    ($name:ident, $stride:literal, $row:expr) => {
        /// Returns the largest scores, the first in the lower half. `base` is 33 less that of the shifts.
        ///
        /// # Safety
        /// `keys` points to `len` keys, `x` to two elements for each of their columns, `scores` to two for each key, `z` to
        /// as many bytes. There is a key.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            keys: *const i8,
            x: *const i16,
            scores: *mut i32,
            z: *const u8,
            len: usize,
            base: u32,
        ) -> u64 {
            // a0: key; a1: x, then z; a2: scores; a3, a5: the largest; a4: end; a6: weight; a7, t0: sums; t1, t2: products,
            // then the factor; ra: base; s0 to s7: the first query; s8 to s11, t3 to t6: the second
            naked_asm!(
                ".option push",
                arch!(),
                "addi sp, sp, -64",
                "sw ra, 4(sp)",
                "sw s0, 8(sp)",
                "sw s1, 12(sp)",
                "sw s2, 16(sp)",
                "sw s3, 20(sp)",
                "sw s4, 24(sp)",
                "sw s5, 28(sp)",
                "sw s6, 32(sp)",
                "sw s7, 36(sp)",
                "sw s8, 40(sp)",
                "sw s9, 44(sp)",
                "sw s10, 48(sp)",
                "sw s11, 52(sp)",
                "slli a4, a4, 3",
                "add a4, a4, a2",
                loads8!(),
                "mv a1, a3",
                "mv ra, a5",
                "li a3, 0x80000000",
                "mv a5, a3",
                "3:",
                $row,
                "lbu t1, 0(a1)",
                "andi t2, t1, 15",
                "addi t2, t2, 16",
                "srli t1, t1, 4",
                "add t1, t1, ra",
                "sll t2, t2, t1",
                "mulh a7, a7, t2",
                "mulh t0, t0, t2",
                "addi a7, a7, 1",
                "srai a7, a7, 1",
                "addi t0, t0, 1",
                "srai t0, t0, 1",
                "sw a7, 0(a2)",
                "sw t0, 4(a2)",
                "bgt a7, a3, 5f",
                "4:",
                "bgt t0, a5, 7f",
                "6:",
                "addi a1, a1, 1",
                "addi a2, a2, 8",
                concat!("addi a0, a0, ", $stride),
                "bne a2, a4, 3b",
                "mv a0, a3",
                "mv a1, a5",
                "lw ra, 4(sp)",
                "lw s0, 8(sp)",
                "lw s1, 12(sp)",
                "lw s2, 16(sp)",
                "lw s3, 20(sp)",
                "lw s4, 24(sp)",
                "lw s5, 28(sp)",
                "lw s6, 32(sp)",
                "lw s7, 36(sp)",
                "lw s8, 40(sp)",
                "lw s9, 44(sp)",
                "lw s10, 48(sp)",
                "lw s11, 52(sp)",
                "addi sp, sp, 64",
                "ret",
                "5:",
                "mv a3, a7",
                "j 4b",
                "7:",
                "mv a5, t0",
                "j 6b",
                ".option pop",
            )
        }
    };
}

scores!(scores8, "8", set8!());
scores!(scores16, "16", add8!());
