//! Products that pass over columns whose inputs are 0: one tile at a time, with an addition for the place of each. 50
//! instructions for 16 products, where the usual product takes 49.

use crate::format::InputWidth;
use crate::kernel::sparse::in_blocks;
use crate::kernel::sparse_bytes::List;
use core::arch::naked_asm;

pub use crate::kernel::sparse_bytes::prepare;

/// See [`kernel::product`](crate::kernel::product()).
#[inline(never)]
pub fn product(tiles: &[u32], columns: usize, list: List<'_>, width: InputWidth, y: &mut [i32]) -> u32 {
    in_blocks(tiles, columns, y, |tiles, sums| {
        let (tiles, operand, y, blocks) =
            (tiles.as_ptr(), list.operand.as_ptr(), sums.as_mut_ptr(), sums.len());
        // SAFETY: a List leads through the tiles of a block from its begin to its end, `tiles` holds as many blocks as there
        // are sums, and neither is none. This target executes the instructions.
        unsafe {
            match width {
                InputWidth::A8 => tiles8(tiles, operand, y, list.groups, blocks),
                InputWidth::A16 => tiles16(tiles, operand, y, list.groups, blocks),
            }
        }
    });
    0
}

/// Four columns of one row at width A8: its word in `$word`, its sum in `$sum`.
#[rustfmt::skip]
macro_rules! row8 {
    ($sum:literal, $word:literal) => {
        concat!(
            "lsrs r7, ", $word, ", #8\n ands r7, r2\n ands ", $word, ", r2\n",
            "muls r7, r6, r7\n muls ", $word, ", r4, ", $word, "\n",
            "add r7, lr\n add ", $word, ", r12\n",
            "asrs r7, r7, #16\n asrs ", $word, ", ", $word, ", #16\n",
            "add ", $sum, ", r7\n add ", $sum, ", ", $word, "\n",
        )
    };
}

/// A tile at width A8. LDM moves r0 on, so it needs no `$first`.
macro_rules! tile8 {
    ($first:literal) => {
        concat!(
            "ldmia r1!, {{r3-r7}}\n adds r0, r0, r3\n mov r12, r5\n mov lr, r7\n",
            "ldmia r0!, {{r3, r5}}\n",
            row8!("r8", "r3"),
            row8!("r9", "r5"),
            "ldmia r0!, {{r3, r5}}\n",
            row8!("r10", "r3"),
            row8!("r11", "r5"),
        )
    };
}

/// Four columns of one row at width A16: its bytes from `$byte` on, its sum in `$sum`.
#[rustfmt::skip]
macro_rules! row16 {
    ($sum:literal, $byte:expr) => {
        concat!(
            "ldrb r2, [r0, #", $byte, "]\n muls r2, r3, r2\n add ", $sum, ", r2\n",
            "ldrb r2, [r0, #", $byte, "+1]\n muls r2, r4, r2\n add ", $sum, ", r2\n",
            "ldrb r2, [r0, #", $byte, "+2]\n muls r2, r5, r2\n add ", $sum, ", r2\n",
            "ldrb r2, [r0, #", $byte, "+3]\n muls r2, r6, r2\n add ", $sum, ", r2\n",
        )
    };
}

/// A tile at width A16, its bytes from `$first` on.
macro_rules! tile16 {
    ($first:literal) => {
        concat!(
            "ldmia r1!, {{r2-r6}}\n adds r0, r0, r2\n",
            row16!("r8", $first),
            row16!("r9", concat!($first, "+4")),
            row16!("r10", concat!($first, "+8")),
            row16!("r11", concat!($first, "+12")),
        )
    };
}

/// A function that computes blocks of four rows, two tiles a step. `$skip` prepares r0 for entering a step at its
/// second tile, `$next` moves it on to the next step.
macro_rules! product {
    ($name:ident, $tile:ident, $skip:literal, $next:literal) => {
        /// # Safety
        /// `operand` is a [`List`] of `groups` groups that leads through a block of `tiles`, of which there are `blocks`; `y`
        /// has room for as many times four sums. Groups and blocks are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            tiles: *const u32,
            operand: *const u32,
            y: *mut [i32; 4],
            groups: usize,
            blocks: usize,
        ) {
            // r0: tiles; r1: operand; r2 (tile8): mask; r8 to r11: sums; the others: see the tiles.
            // The frame: 0 operand, 4 start value, 8 operand end, 12 bytes of a tile to skip where groups are odd, 16 y,
            // 20 blocks left, 24 bytes behind the last tile
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "ldr r7, [sp, #36]",
                "sub sp, #28",
                "ldmia r1!, {{r4, r5}}",
                "str r5, [sp, #24]",
                "lsls r5, r3, #2",
                "adds r5, r5, r3",
                "lsls r5, r5, #2",
                "adds r5, r5, r1",
                "movs r6, #1",
                "ands r6, r3",
                "lsls r6, r6, #4",
                "str r1, [sp]",
                "str r4, [sp, #4]",
                "str r5, [sp, #8]",
                "str r6, [sp, #12]",
                "str r2, [sp, #16]",
                "str r7, [sp, #20]",
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
                "ldr r7, [sp, #12]",
                $skip,
                "cmp r7, #0",
                "bne 4f",
                "3:",
                $tile!("0"),
                "4:",
                $tile!("16"),
                $next,
                "ldr r7, [sp, #8]",
                "cmp r1, r7",
                "bne 3b",
                "mov r3, r8",
                "mov r4, r9",
                "mov r5, r10",
                "mov r6, r11",
                "ldr r7, [sp, #16]",
                "stmia r7!, {{r3-r6}}",
                "str r7, [sp, #16]",
                "ldr r7, [sp, #24]",
                "adds r0, r0, r7",
                "ldr r7, [sp, #20]",
                "subs r7, #1",
                "str r7, [sp, #20]",
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

product!(tiles8, tile8, "", "");
product!(tiles16, tile16, "subs r0, r0, r7", "adds r0, #32");
