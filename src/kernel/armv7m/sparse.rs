//! Products that pass over columns whose inputs are 0: one tile at a time, with an addition for the place of each. 28
//! instructions for 16 products at width A8, 36 at A16, where the usual product takes 27 and 35.

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

/// Where a tile is, its words, and the first inputs.
macro_rules! load {
    () => {
        "ldmia r1!, {{r10, r11, r12}}\n add.w r0, r0, r10\n ldmia r0!, {{r7-r10}}\n"
    };
}

/// Two columns of each row at width A8, of the words shifted by `$shift`.
macro_rules! columns8 {
    ($shift:literal) => {
        concat!(
            columns8!("r3", "r7", $shift),
            columns8!("r4", "r8", $shift),
            columns8!("r5", "r9", $shift),
            columns8!("r6", "r10", $shift),
        )
    };
    ($sum:literal, $word:literal, $shift:literal) => {
        concat!(
            "and lr, r2, ",
            $word,
            $shift,
            "\n mla lr, lr, r11, r12\n add.w ",
            $sum,
            ", ",
            $sum,
            ", lr, asr #16\n"
        )
    };
}

/// A tile at width A8.
macro_rules! tile8 {
    () => {
        concat!(load!(), columns8!(""), "ldrd r11, r12, [r1], #8\n", columns8!(", lsr #8"))
    };
}

/// One column of each row at width A16: `$byte` takes a byte out of a row's word, `$x` is the input.
macro_rules! column16 {
    ($byte:literal, $rotation:literal, $x:literal) => {
        concat!(
            column16!("r3", "r7", $byte, $rotation, $x),
            column16!("r4", "r8", $byte, $rotation, $x),
            column16!("r5", "r9", $byte, $rotation, $x),
            column16!("r6", "r10", $byte, $rotation, $x),
        )
    };
    ($sum:literal, $word:literal, $byte:literal, $rotation:literal, $x:literal) => {
        concat!($byte, " lr, ", $word, $rotation, "\n mla ", $sum, ", lr, ", $x, ", ", $sum, "\n")
    };
}

/// A tile at width A16.
macro_rules! tile16 {
    () => {
        concat!(
            load!(),
            column16!("uxtb.w", "", "r11"),
            column16!("uxtb.w", ", ror #8", "r12"),
            "ldrd r11, r12, [r1], #8\n",
            column16!("uxtb.w", ", ror #16", "r11"),
            column16!("lsr.w", ", #24", "r12"),
        )
    };
}

/// A function that computes blocks of four rows, four tiles a step.
macro_rules! product {
    ($name:ident, $tile:ident) => {
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
            // r0: tiles; r1: operand; r2: mask; r3 to r6: sums; r7 to r10: four rows' words, r10 bytes to skip before;
            // r11, r12: inputs; lr: scratch.
            // The frame, whose first six words one LDM brings back at the start of a block: 0 operand, 4 to 16 start
            // values, 20 where to enter the four tiles of a step, so that the last step ends with the last tile,
            // 24 operand end, 28 y, 32 blocks left, 36 bytes behind the last tile
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldr r12, [sp, #36]",
                "sub sp, #40",
                "ldrd r7, r8, [r1], #8",
                "add r9, r3, r3, lsl #2",
                "add r11, r1, r9, lsl #2",
                "adr.w r4, 3f",
                "adr.w r5, 4f",
                "subs r5, r5, r4",
                "lsrs r5, r5, #2",
                "negs r3, r3",
                "and r3, r3, #3",
                "mla r4, r3, r5, r4",
                "orr lr, r4, #1",
                "mov r3, r7",
                "mov r4, r7",
                "mov r5, r7",
                "mov r6, r7",
                "stmia sp, {{r1, r3-r6, lr}}",
                "strd r11, r2, [sp, #24]",
                "strd r12, r8, [sp, #32]",
                "mov r2, #0x00ff00ff",
                "2:",
                "ldmia sp, {{r1, r3-r6, lr}}",
                "bx lr",
                ".balign 4",
                "3:",
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                "4:",
                "ldr lr, [sp, #24]",
                "cmp r1, lr",
                "bne.w 3b",
                "ldrd r7, r8, [sp, #28]",
                "ldr r9, [sp, #36]",
                "add r0, r0, r9",
                "stmia r7!, {{r3-r6}}",
                "subs r8, #1",
                "strd r7, r8, [sp, #28]",
                "bne.w 2b",
                "add sp, #40",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

product!(tiles8, tile8);
product!(tiles16, tile16);
