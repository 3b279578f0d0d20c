//! Products of int4 matrices for Armv6-M.
//!
//! At width A8 one 32-bit multiplication does two products, as in [`offset_bytes`](super::super::offset_bytes): two neighbours
//! of a row, N = u0 + 2^16 u1, meet X = x1 + 2^16 x0, and the high half of N X gathers u0 x0 + u1 x1. What gathers below over
//! the 16 multiplications of a group is at most 16 * 15 * 127 = 30,480 in magnitude, so that a start with 2^15 keeps it within
//! 0..2^16. The start takes away 8 times the inputs, too, so the high half is the group's sum of w x, which fits 16 bits: 32 *
//! 8 * 127 = 32,512.
//!
//! A word w of eight columns is N0 + 2^4 N1 + 2^8 N2 + 2^12 N3, so that modulo 2^32
//!
//! N0 X0 + N1 X1 + N2 X2 + N3 X3 = w X0 + N1 (X1 - 2^4 X0) + N2 (X2 - 2^8 X0) + N3 (X3 - 2^12 X0)
//!
//! and only three pairs have to be masked out: 63 instructions for 32 products, and 44 for each group.

use crate::format::{InputWidth, nibbles};
use crate::kernel::int4::{self, Blocks, in_blocks, operand_len, spread};
use core::arch::naked_asm;

pub use crate::kernel::int4::Nibbles;

/// Words of an operand for a whole group.
const GROUP: usize = 1 + nibbles::GROUP / 2;

/// See [`int4::prepare`].
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    if matches!(width, InputWidth::A16) {
        return int4::prepare(x, width, operand);
    }
    spread(
        x,
        operand,
        |x0, x1| (i32::from(x1) as u32).wrapping_add((i32::from(x0) as u32) << 16),
        |sum| (1i32 << 15).wrapping_sub(sum.wrapping_mul(8 << 16)),
    );
    // The group that may be shorter is the first.
    for group in operand.get_mut(..operand_len(x.len())).unwrap_or_default().rchunks_mut(GROUP) {
        for [first, second, third, fourth] in group.get_mut(1..).unwrap_or_default().as_chunks_mut().0 {
            *second = second.wrapping_sub(*first << 4);
            *third = third.wrapping_sub(*first << 8);
            *fourth = fourth.wrapping_sub(*first << 12);
        }
    }
}

/// See [`int4::product`].
#[inline(never)]
pub fn product(weights: &Nibbles<'_>, columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) {
    if matches!(width, InputWidth::A16) {
        return int4::product(weights, columns, operand, width, y);
    }
    in_blocks(weights, columns, operand, y, |Blocks { tiles, factors, operand, missing, sums }| {
        let (blocks, operand) = (sums.len(), operand.as_ptr_range());
        let (tiles, factors, y) = (tiles.as_ptr(), factors.as_ptr(), sums.as_mut_ptr());
        // SAFETY: Blocks' lengths are what the function wants. This target executes its instructions.
        unsafe { blocks_of_four(tiles, operand.start, y, factors, blocks, operand.end, missing) }
    });
}

/// Two neighbours of the word in r7, `$shift` bits on, what they meet in `$x`.
#[rustfmt::skip]
macro_rules! pair {
    ($sum:literal, $shift:literal, $x:literal) => {
        concat!("lsrs r1, r7, #", $shift, "\n ands r1, r2\n muls r1, ", $x, ", r1\n add ", $sum, ", r1\n")
    };
}

/// Eight columns of one row, its sum in `$sum`: 15 instructions.
#[rustfmt::skip]
macro_rules! row {
    ($sum:literal) => {
        concat!(
            "ldmia r0!, {{r7}}\n",
            pair!($sum, "4", "r4"), pair!($sum, "8", "r5"), pair!($sum, "12", "r6"),
            "muls r7, r3, r7\n add ", $sum, ", r7\n",
        )
    };
}

/// Four rows and eight columns: 63 instructions of two bytes.
macro_rules! tile {
    () => {
        concat!(
            "mov r1, r12\n ldmia r1!, {{r3-r6}}\n mov r12, r1\n",
            row!("r8"),
            row!("r9"),
            row!("r10"),
            row!("r11"),
        )
    };
}

/// Starts the sums of a group: 7 instructions.
macro_rules! start {
    () => {
        "mov r1, r12\n ldmia r1!, {{r3}}\n mov r12, r1\n mov r8, r3\n mov r9, r3\n mov r10, r3\n mov r11, r3"
    };
}

/// Adds a group's sum, the high half of `$sum`, times its factor to the row's in `$total`; r2 has the factor's four bits
/// `$up` bits below its top.
#[rustfmt::skip]
macro_rules! add {
    ($total:literal, $sum:literal, $up:literal) => {
        concat!(
            "mov r7, ", $sum, "\n asrs r7, r7, #16\n",
            "lsls r1, r2, #", $up, "\n lsrs r1, r1, #28\n muls r7, r1, r7\n",
            "adds ", $total, ", ", $total, ", r7\n",
        )
    };
}

/// # Safety
/// For `blocks` blocks of four rows there are `tiles`, `factors`, and room for sums at `y`; the operand begins with a
/// group that is `missing` tiles short of four. Blocks is not 0.
#[unsafe(naked)]
unsafe extern "C" fn blocks_of_four(
    tiles: *const u32,
    operand: *const u32,
    y: *mut [i32; 4],
    factors: *const u16,
    blocks: usize,
    operand_end: *const u32,
    missing: usize,
) {
    // r0: tiles; r1: two numbers; r2: mask; r3 to r6: inputs; r7: weights; r8 to r11: sums of a group; r12: operand;
    // lr: its end.
    // The frame: 0 4 8 12 sums of the rows, 16 operand, 20 factors, 24 y, 28 blocks left, 32 where the first group
    // begins, 36 mask; the arguments on the stack are at 80
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "sub sp, #44",
        "str r1, [sp, #16]",
        "str r3, [sp, #20]",
        "str r2, [sp, #24]",
        "ldr r4, [sp, #80]",
        "str r4, [sp, #28]",
        "ldr r4, [sp, #84]",
        "mov lr, r4",
        "ldr r4, [sp, #88]",
        "movs r5, #126",
        "muls r4, r5, r4",
        "adr r5, 4f",
        "adds r4, r4, r5",
        "adds r4, r4, #1",
        "str r4, [sp, #32]",
        "movs r2, #15",
        "lsls r4, r2, #16",
        "adds r2, r2, r4",
        "str r2, [sp, #36]",
        "2:",
        "movs r3, #0",
        "str r3, [sp]",
        "str r3, [sp, #4]",
        "str r3, [sp, #8]",
        "str r3, [sp, #12]",
        "ldr r1, [sp, #16]",
        "mov r12, r1",
        start!(),
        "ldr r3, [sp, #32]",
        "bx r3",
        "3:",
        start!(),
        ".balign 4",
        "4:",
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        "ldr r1, [sp, #20]",
        "ldrh r2, [r1]",
        "adds r1, #2",
        "str r1, [sp, #20]",
        "mov r1, sp",
        "ldmia r1!, {{r3-r6}}",
        add!("r3", "r8", "28"),
        add!("r4", "r9", "24"),
        add!("r5", "r10", "20"),
        add!("r6", "r11", "16"),
        "mov r1, sp",
        "stmia r1!, {{r3-r6}}",
        "ldr r2, [sp, #36]",
        "cmp r12, lr",
        "beq 5f",
        "b 3b",
        "5:",
        "ldr r1, [sp, #24]",
        "stmia r1!, {{r3-r6}}",
        "str r1, [sp, #24]",
        "ldr r1, [sp, #28]",
        "subs r1, #1",
        "str r1, [sp, #28]",
        "beq 6f",
        "b 2b",
        "6:",
        "add sp, #44",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}
