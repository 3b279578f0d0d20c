//! Products of int4 matrices for Armv7-M.
//!
//! At width A8 one 32-bit multiplication does two products, as in [`offset_bytes`](crate::kernel::offset_bytes): two
//! neighbours of a row, N = u0 + 2^16 u1, meet X = x1 + 2^16 x0, and the high half of N X gathers u0 x0 + u1 x1. What gathers
//! below over the 16 multiplications of a group is at most 16 * 15 * 127 = 30,480 in magnitude, so that a start with 2^15
//! keeps it within 0..2^16. The start takes away 8 times the inputs, too, so the high half is the group's sum of w x, which
//! fits 16 bits: 32 * 8 * 127 = 32,512.
//!
//! A word w of eight columns is N0 + 2^4 N1 + 2^8 N2 + 2^12 N3, so that modulo 2^32
//!
//! N0 X0 + N1 X1 + N2 X2 + N3 X3 = w X0 + N1 (X1 - 2^4 X0) + N2 (X2 - 2^8 X0) + N3 (X3 - 2^12 X0)
//!
//! and only three pairs have to be masked out: 31 instructions for 32 products, and 28 for each group.

use crate::format::{InputWidth, nibbles};
use crate::kernel::int4::{self, Blocks, in_blocks, operand_len};
use core::arch::naked_asm;

pub use crate::kernel::int4::Nibbles;

/// Words of an operand for a whole group.
const GROUP: usize = 1 + nibbles::GROUP / 2;

/// See [`int4::prepare`].
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    int4::prepare(x, width, operand);
    if matches!(width, InputWidth::A16) {
        return;
    }
    // The group that may be shorter is the first.
    for group in operand.get_mut(..operand_len(x.len())).unwrap_or_default().rchunks_mut(GROUP) {
        let Some((start, words)) = group.split_first_mut() else {
            return;
        };
        *start = (1u32 << 15).wrapping_add(*start << 16);
        for tile in words.as_chunks_mut::<4>().0 {
            // From x0 and x1 side by side.
            let pairs = tile.map(|pair| (pair << 16).wrapping_add((pair as i32 >> 16) as u32));
            let first = |shift: u32| pairs[0] << shift;
            *tile = [
                pairs[0],
                pairs[1].wrapping_sub(first(4)),
                pairs[2].wrapping_sub(first(8)),
                pairs[3].wrapping_sub(first(12)),
            ];
        }
    }
}

/// See [`int4::product`].
#[inline(never)]
pub fn product(weights: &Nibbles<'_>, columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) {
    in_blocks(weights, columns, operand, y, |all| {
        if matches!(width, InputWidth::A16) {
            return int4::blocks_of_four(all);
        }
        let Blocks { tiles, factors, operand, missing, sums } = all;
        let (blocks, operand) = (sums.len(), operand.as_ptr_range());
        let (tiles, factors, y) = (tiles.as_ptr(), factors.as_ptr(), sums.as_mut_ptr());
        // SAFETY: Blocks' lengths are what the function wants. This target executes its instructions.
        unsafe { blocks_of_four(tiles, operand.start, y, factors, blocks, operand.end, missing) }
    });
}

/// Eight columns of one row, its word in `$word`.
#[rustfmt::skip]
macro_rules! row {
    ($sum:literal, $word:literal) => {
        concat!(
            "mla ", $sum, ", ", $word, ", r9, ", $sum, "\n",
            "and lr, r2, ", $word, ", lsr #4\n mla ", $sum, ", lr, r10, ", $sum, "\n",
            "and lr, r2, ", $word, ", lsr #8\n mla ", $sum, ", lr, r11, ", $sum, "\n",
            "and lr, r2, ", $word, ", lsr #12\n mla ", $sum, ", lr, r12, ", $sum, "\n",
        )
    };
}

/// Four rows and eight columns: 31 instructions of four bytes.
macro_rules! tile {
    () => {
        concat!(
            "ldmia r1!, {{r9-r12}}\n ldrd r7, r8, [r0], #8\n",
            row!("r3", "r7"),
            row!("r4", "r8"),
            "ldrd r7, r8, [r0], #8\n",
            row!("r5", "r7"),
            row!("r6", "r8"),
        )
    };
}

/// Starts the sums of a group.
macro_rules! start {
    () => {
        "ldr r3, [r1], #4\n mov r4, r3\n mov r5, r3\n mov r6, r3"
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
    // r0: tiles; r1: operand; r2: mask; r3 to r6: sums of a group; r7, r8: weights of two rows; r9 to r12: what they meet;
    // lr: two numbers.
    // The frame: 0 operand, 4 its end, 8 factors, 12 y, 16 20 24 28 sums of the rows, 32 blocks left, 36 where the first
    // group begins
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldrd r7, r8, [sp, #36]",
        "ldr r9, [sp, #44]",
        "sub sp, #44",
        "strd r1, r8, [sp]",
        "strd r3, r2, [sp, #8]",
        "adr r8, 4f",
        "mov r10, #124",
        "mla r8, r9, r10, r8",
        "orr r8, r8, #1",
        "strd r7, r8, [sp, #32]",
        "mov r2, #15",
        "orr r2, r2, r2, lsl #16",
        "2:",
        "movs r4, #0",
        "strd r4, r4, [sp, #16]",
        "strd r4, r4, [sp, #24]",
        "ldr r1, [sp]",
        start!(),
        "ldr pc, [sp, #36]",
        "3:",
        start!(),
        ".balign 4",
        "4:",
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        "ldr r9, [sp, #8]",
        "ldrh r10, [r9], #2",
        "ldrd r7, r8, [sp, #16]",
        "ldrd r11, r12, [sp, #24]",
        "str r9, [sp, #8]",
        "asrs r3, r3, #16",
        "and lr, r10, #15",
        "mla r7, r3, lr, r7",
        "asrs r4, r4, #16",
        "ubfx lr, r10, #4, #4",
        "mla r8, r4, lr, r8",
        "asrs r5, r5, #16",
        "ubfx lr, r10, #8, #4",
        "mla r11, r5, lr, r11",
        "asrs r6, r6, #16",
        "lsr lr, r10, #12",
        "mla r12, r6, lr, r12",
        "ldr r9, [sp, #4]",
        "strd r7, r8, [sp, #16]",
        "strd r11, r12, [sp, #24]",
        "cmp r1, r9",
        "bne.w 3b",
        "ldr r9, [sp, #12]",
        "stmia r9!, {{r7, r8, r11, r12}}",
        "str r9, [sp, #12]",
        "ldr r10, [sp, #32]",
        "subs r10, #1",
        "str r10, [sp, #32]",
        "bne.w 2b",
        "add sp, #44",
        "pop {{r4-r11, pc}}",
    )
}
