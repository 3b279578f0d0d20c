//! Products of matrices in tiles of offset bytes with 8-bit inputs: a whole word stands in for its even bytes.
//!
//! A word w of four weights (u0, u1, u2, u3), u = weight + 128, is E + 2^8 O, with E = u0 + 2^16 u2 and O = u1 + 2^16 u3. With
//! A = x2 + 2^16 x0, B = x3 + 2^16 x1 and C = 2^15 - (128 + 2^16 128) (A + B), which takes the offsets away and rounds,
//!
//! w A + O (B - 2^8 A) + C = (w0 x2 + w1 x3 + 2^15) + 2^16 (w0 x0 + w1 x1 + w2 x2 + w3 x3) modulo 2^32
//!
//! Where the magnitudes of the four inputs are 255 together at most, the sum of four products fits 16 bits, and the first term
//! is within 0..2^16: the high half is that sum, exactly. Such a tile takes 38 instructions for 16 products. Another one
//! takes its even and its odd bytes apart, two products each, in 58.
//!
//! An operand has three words for each group of four columns: A, B - 2^8 A and C; or A, B and the C of A alone. The lowest bit
//! of C, which is 0 otherwise, tells which, for the rounding has room for it. Three words end an operand, of which the last
//! is [`END`].

use super::operand::END;
use crate::kernel::offset_bytes::{Blocks, in_blocks};
use core::arch::naked_asm;

/// See [`product`](crate::kernel::product()).
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], y: &mut [i32]) {
    in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
        if operand.get(3 * groups + 2) != Some(&END) {
            return;
        }
        let (tiles, sums) = (tiles.as_ptr(), sums.as_mut_ptr_range());
        // SAFETY: so many tiles, words of operand and sums are what the function wants; where the operand ends too early,
        // it takes fewer tiles. This target executes its instructions.
        unsafe { blocks_of_four(tiles, operand.as_ptr(), sums.start, sums.end) }
    });
}

/// Four columns of one row, its word in `$word`, its sum in `$sum`.
#[rustfmt::skip]
macro_rules! whole_row {
    ($sum:literal, $word:literal) => {
        concat!(
            "lsrs r7, ", $word, ", #8\n ands r7, r2\n",
            "muls r7, r4, r7\n muls ", $word, ", r3, ", $word, "\n",
            "adds ", $word, ", ", $word, ", r7\n add ", $word, ", r12\n",
            "asrs ", $word, ", ", $word, ", #16\n add ", $sum, ", ", $word, "\n",
        )
    };
}

/// The same, two columns at a time.
#[rustfmt::skip]
macro_rules! halved_row {
    ($sum:literal, $word:literal) => {
        concat!(
            "lsrs r7, ", $word, ", #8\n ands r7, r2\n ands ", $word, ", r2\n",
            "muls r7, r4, r7\n muls ", $word, ", r3, ", $word, "\n",
            "add r7, lr\n add ", $word, ", r12\n",
            "asrs r7, r7, #16\n asrs ", $word, ", ", $word, ", #16\n",
            "add ", $sum, ", r7\n add ", $sum, ", ", $word, "\n",
        )
    };
}

/// Four rows.
#[rustfmt::skip]
macro_rules! rows {
    ($row:ident) => {
        concat!(
            "ldmia r0!, {{r5, r6}}\n", $row!("r8", "r5"), $row!("r9", "r6"),
            "ldmia r0!, {{r5, r6}}\n", $row!("r10", "r5"), $row!("r11", "r6"),
        )
    };
}

/// A tile whose four inputs are small enough for one sum. Branches to `$other` if it is none.
macro_rules! whole_tile {
    ($other:literal) => {
        concat!("ldmia r1!, {{r3-r5}}\n lsrs r7, r5, #1\n bcs ", $other, "\n mov r12, r5\n", rows!(whole_row))
    };
}

/// # Safety
/// `operand` is some groups of three words and ends with [`END`]; `tiles` are as many for each block, of which there are as
/// many as fours of sums from `y` to `end`, more than none.
#[unsafe(naked)]
unsafe extern "C" fn blocks_of_four(
    tiles: *const u32,
    operand: *const u32,
    y: *mut [i32; 4],
    end: *mut [i32; 4],
) {
    // r0: tiles; r1: operand; r2: mask; r3, r4: A and B or B - 2^8 A; r5, r6: words of two rows; r7: scratch; r8 to r11:
    // sums; r12, lr: what is added.
    // The frame: 0 operand, 4 y, 8 its end. A branch with a condition reaches 256 bytes: four tiles back, three ahead
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "push {{r1-r3}}",
        "movs r2, #255",
        "lsls r3, r2, #16",
        "adds r2, r2, r3",
        "b 2f",
        "6:",
        "b 4f",
        "2:",
        "ldr r1, [sp]",
        "movs r3, #0",
        "mov r8, r3",
        "mov r9, r3",
        "mov r10, r3",
        "mov r11, r3",
        "3:",
        whole_tile!("6b"),
        whole_tile!("6b"),
        whole_tile!("6b"),
        whole_tile!("6b"),
        whole_tile!("4f"),
        whole_tile!("4f"),
        whole_tile!("4f"),
        "b 3b",
        "4:",
        "lsrs r7, r7, #1",
        "bcs 5f",
        "mov r12, r5",
        "ldr r5, 8f",
        "ldr r6, 9f",
        "muls r5, r4, r5",
        "adds r5, r5, r6",
        "mov lr, r5",
        rows!(halved_row),
        "b 3b",
        ".balign 4",
        "8:",
        ".word 0xff7fff80",
        "9:",
        ".word 0x8000",
        "5:",
        "mov r3, r8",
        "mov r4, r9",
        "mov r5, r10",
        "mov r6, r11",
        "ldr r7, [sp, #4]",
        "stmia r7!, {{r3-r6}}",
        "str r7, [sp, #4]",
        "ldr r3, [sp, #8]",
        "cmp r7, r3",
        "bne 7f",
        "add sp, #12",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        "7:",
        "b 2b",
    )
}
