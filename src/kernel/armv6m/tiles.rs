//! Products of matrices in tiles of offset bytes, see [`offset_bytes`](super::super::offset_bytes).

use crate::format::InputWidth;
use crate::kernel::offset_bytes::{Blocks, in_blocks};
use core::arch::naked_asm;

/// See [`product`](crate::kernel::product).
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
        // The first step leaves out tiles; one at width A16 moves on after two of them.
        let skip = groups.wrapping_neg() & 7;
        let (entry, back) = match width {
            InputWidth::A8 => (98 * skip, 0),
            InputWidth::A16 => (98 * skip + skip / 2 * 2, skip % 2 * 16),
        };
        let operand_end = operand.as_ptr().wrapping_add(1 + 4 * groups);
        let pass = Pass { operand_end, entry, back, end: sums.as_ptr_range().end };
        let (tiles, operand, y) = (tiles.as_ptr(), operand.as_ptr(), sums.as_mut_ptr());
        // SAFETY: Blocks' lengths are what the two want. This target executes their instructions.
        unsafe {
            match width {
                InputWidth::A8 => tiles8(tiles, operand, y, &pass),
                InputWidth::A16 => tiles16(tiles, operand, y, &pass),
            }
        }
    });
    0
}

/// What the functions keep on the stack.
#[repr(C)]
struct Pass {
    operand_end: *const u32,
    /// Bytes of code that the first step of a block leaves out.
    entry: usize,
    /// Bytes of tiles by which it begins earlier.
    back: usize,
    /// Where the sums end.
    end: *const [i32; 4],
}

/// Four columns of one row at width A8: its word in `$word`, its sum in `$sum`.
#[rustfmt::skip]
macro_rules! row8 {
    ($sum:literal, $word:literal) => {
        concat!(
            "lsrs r7, ", $word, ", #8\n ands r7, r2\n ands ", $word, ", r2\n",
            "muls r7, r5, r7\n muls ", $word, ", r3, ", $word, "\n",
            "add r7, lr\n add ", $word, ", r12\n",
            "asrs r7, r7, #16\n asrs ", $word, ", ", $word, ", #16\n",
            "add ", $sum, ", r7\n add ", $sum, ", ", $word, "\n",
        )
    };
}

/// A tile at width A8: 49 instructions, 98 bytes of code, for 16 products.
macro_rules! tile8 {
    () => {
        concat!(
            "ldmia r1!, {{r3-r6}}\n mov r12, r4\n mov lr, r6\n",
            "ldmia r0!, {{r4, r6}}\n",
            row8!("r8", "r4"),
            row8!("r9", "r6"),
            "ldmia r0!, {{r4, r6}}\n",
            row8!("r10", "r4"),
            row8!("r11", "r6"),
        )
    };
}

/// Four columns of one row at width A16: its bytes from `$byte` on, its sum in `$sum`.
#[rustfmt::skip]
macro_rules! row16 {
    ($sum:literal, $byte:expr) => {
        concat!(
            "ldrb r6, [r0, #", $byte, "]\n muls r6, r2, r6\n add ", $sum, ", r6\n",
            "ldrb r6, [r0, #", $byte, "+1]\n muls r6, r3, r6\n add ", $sum, ", r6\n",
            "ldrb r6, [r0, #", $byte, "+2]\n muls r6, r4, r6\n add ", $sum, ", r6\n",
            "ldrb r6, [r0, #", $byte, "+3]\n muls r6, r5, r6\n add ", $sum, ", r6\n",
        )
    };
}

/// A tile at width A16, its bytes from `$first` on: 49 instructions, 98 bytes of code, for 16 products.
macro_rules! tile16 {
    ($first:literal) => {
        concat!(
            "ldmia r1!, {{r2-r5}}\n",
            row16!("r8", $first),
            row16!("r9", concat!($first, "+4")),
            row16!("r10", concat!($first, "+8")),
            row16!("r11", concat!($first, "+12")),
        )
    };
}

/// Eight tiles at width A8.
macro_rules! step8 {
    () => {
        concat!(tile8!(), tile8!(), tile8!(), tile8!(), tile8!(), tile8!(), tile8!(), tile8!())
    };
}

/// Two tiles at width A16: LDRB reaches no further.
macro_rules! two_tiles16 {
    () => {
        concat!(tile16!("0"), tile16!("16"), "adds r0, #32\n")
    };
}

/// Eight tiles at width A16.
macro_rules! step16 {
    () => {
        concat!(two_tiles16!(), two_tiles16!(), two_tiles16!(), two_tiles16!())
    };
}

/// A function that computes blocks of four rows, eight tiles a step. `$back` prepares r0 for entering a step.
macro_rules! product {
    ($name:ident, $step:ident, $back:literal) => {
        /// # Safety
        /// `tiles` points to the tiles of all blocks, `operand` to a start value and to words up to `pass.operand_end`,
        /// four for each tile of a block; `y` has room for four sums of each block, up to `pass.end`. Tiles and blocks are
        /// not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(tiles: *const u32, operand: *const u32, y: *mut [i32; 4], pass: &Pass) {
            // r0: tiles; r1: operand; r2 (tile8): mask; r8 to r11: sums; the others: see the tiles.
            // The frame: 0 operand, 4 start value, 8 operand end, 12 entry, 16 back, 20 y, 24 y's end
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "sub sp, #28",
                "ldmia r3!, {{r4-r7}}",
                "ldmia r1!, {{r3}}",
                "str r1, [sp]",
                "str r3, [sp, #4]",
                "str r4, [sp, #8]",
                "str r5, [sp, #12]",
                "str r6, [sp, #16]",
                "str r2, [sp, #20]",
                "str r7, [sp, #24]",
                "movs r2, #255",
                "lsls r3, r2, #16",
                "adds r2, r2, r3",
                "2:",
                "ldr r1, [sp]",
                "ldr r4, [sp, #4]",
                "mov r8, r4",
                "mov r9, r4",
                "mov r10, r4",
                "mov r11, r4",
                $back,
                "ldr r7, [sp, #12]",
                "add pc, r7",
                "nop",
                "3:",
                $step!(),
                "ldr r7, [sp, #8]",
                "cmp r1, r7",
                "beq 4f",
                "b 3b",
                "4:",
                "mov r3, r8",
                "mov r4, r9",
                "mov r5, r10",
                "mov r6, r11",
                "ldr r7, [sp, #20]",
                "stmia r7!, {{r3-r6}}",
                "str r7, [sp, #20]",
                "ldr r3, [sp, #24]",
                "cmp r7, r3",
                "beq 5f",
                "b 2b",
                "5:",
                "add sp, #28",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
}

product!(tiles8, step8, "");
product!(tiles16, step16, "ldr r7, [sp, #16]\n subs r0, r0, r7");
