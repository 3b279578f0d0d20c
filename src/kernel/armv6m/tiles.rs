//! Products of matrices in tiles of offset bytes: every byte is weight + 128.
//!
//! With 16-bit inputs u0 x0 + u1 x1 + u2 x2 + u3 x3 is w x0 + u1 (x1 - 2^8 x0) + u2 (x2 - 2^16 x0) + u3 (x3 - 2^24 x0), modulo
//! 2^32, for a word w of four bytes u. One LDM loads two words, where a byte takes an LDRB. A start of -128 times the sum of
//! the inputs takes the offsets away.

use super::whole_words;
use crate::format::InputWidth;
use crate::kernel::offset_bytes::{Blocks, in_blocks};
use core::arch::naked_asm;

/// See [`product`](crate::kernel::product()).
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    match width {
        InputWidth::A8 => whole_words::tiles(tiles, columns, operand, y),
        InputWidth::A16 => {
            in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
                let pass = Pass {
                    operand_end: operand.as_ptr().wrapping_add(1 + 4 * groups),
                    entry: TILE * (groups.wrapping_neg() & 7),
                    end: sums.as_ptr_range().end,
                };
                let (tiles, operand, y) = (tiles.as_ptr(), operand.as_ptr(), sums.as_mut_ptr());
                // SAFETY: Blocks' lengths are what the function wants. This target executes its instructions.
                unsafe { blocks_of_four(tiles, operand, y, &pass) }
            })
        }
    }
    0
}

/// What the function keeps on the stack.
#[repr(C)]
struct Pass {
    operand_end: *const u32,
    /// Bytes of code that the first step of a block leaves out.
    entry: usize,
    /// Where the sums end.
    end: *const [i32; 4],
}

/// Bytes of code for a tile.
const TILE: usize = 94;

/// A column but the first, its byte `$byte` bytes on, what it meets in `$x`.
#[rustfmt::skip]
macro_rules! byte {
    ($sum:literal, $byte:literal, $x:literal) => {
        concat!("ldrb r6, [r0, #", $byte, "]\n muls r6, ", $x, ", r6\n add ", $sum, ", r6\n")
    };
}

/// Four columns of two rows.
#[rustfmt::skip]
macro_rules! two_rows {
    ($first:literal, $second:literal) => {
        concat!(
            byte!($first, "1", "r3"), byte!($first, "2", "r4"), byte!($first, "3", "r5"),
            byte!($second, "5", "r3"), byte!($second, "6", "r4"), byte!($second, "7", "r5"),
            "ldmia r0!, {{r6, r7}}\n muls r6, r2, r6\n add ", $first, ", r6\n muls r7, r2, r7\n add ", $second, ", r7\n",
        )
    };
}

/// A tile: 47 instructions for 16 products.
macro_rules! tile {
    () => {
        concat!("ldmia r1!, {{r2-r5}}\n", two_rows!("r8", "r9"), two_rows!("r10", "r11"))
    };
}

/// Computes blocks of four rows, eight tiles a step.
///
/// # Safety
/// `tiles` points to the tiles of all blocks, `operand` to a start value and to words up to `pass.operand_end`, four for each
/// tile of a block; `y` has room for four sums of each block, up to `pass.end`. Tiles and blocks are not 0.
#[unsafe(naked)]
unsafe extern "C" fn blocks_of_four(tiles: *const u32, operand: *const u32, y: *mut [i32; 4], pass: &Pass) {
    // r0: tiles; r1: operand; r2 to r5: inputs; r6, r7: products; r8 to r11: sums.
    // The frame: 0 operand, 4 start value, 8 operand end, 12 entry, 16 y, 20 y's end
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldmia r3!, {{r4, r5, r7}}",
        "mov r6, r2",
        "ldmia r1!, {{r3}}",
        "mov r2, r1",
        "push {{r2-r7}}",
        "2:",
        "ldr r1, [sp]",
        "ldr r4, [sp, #4]",
        "mov r8, r4",
        "mov r9, r4",
        "mov r10, r4",
        "mov r11, r4",
        "ldr r7, [sp, #12]",
        "add pc, r7",
        "nop",
        "3:",
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        tile!(),
        "ldr r7, [sp, #8]",
        "cmp r1, r7",
        "beq 4f",
        "b 3b",
        "4:",
        "mov r3, r8",
        "mov r4, r9",
        "mov r5, r10",
        "mov r6, r11",
        "ldr r7, [sp, #16]",
        "stmia r7!, {{r3-r6}}",
        "str r7, [sp, #16]",
        "ldr r3, [sp, #20]",
        "cmp r7, r3",
        "beq 5f",
        "b 2b",
        "5:",
        "add sp, #24",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}
