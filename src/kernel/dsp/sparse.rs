//! Products that pass over columns whose inputs are 0, see [`sparse`]: the tiles of [`super::tiles`], one at a time, with
//! an addition for the place of each. 15 instructions for 16 multiply-accumulates at a8, 19 at a16, where the usual
//! product takes 13.5 and 18.

use crate::format::InputWidth;
use crate::kernel::sparse::{self, List, in_blocks};
use core::arch::naked_asm;

/// Groups whose sums fit an `i32` 256-fold, see [`super::tiles`].
const PART: usize = 128;

/// See [`sparse::list`].
#[inline(never)]
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) -> bool {
    let halves = |low: i32, high: i32| low as u32 & 0xffff | (high as u32) << 16;
    let listed = match width {
        InputWidth::A8 => sparse::list(x, operand, |x| {
            let [x0, x1, x2, x3] = x.map(i32::from);
            let even = halves(256 * x0 - x1, 256 * x2 - x3);
            ([0, halves(x1, x3), even], -128 * 256 * (x0 + x2))
        }),
        InputWidth::A16 => sparse::list(x, operand, |x| {
            let [x0, x1, x2, x3] = x.map(i32::from);
            ([0, halves(x0, x2), halves(x1, x3)], -128 * (x0 + x2))
        }),
    };
    let fits = width == InputWidth::A16 || operand.first().is_none_or(|&groups| groups as usize <= PART);
    if !fits && let Some(first) = operand.first_mut() {
        *first = 0;
    }
    listed && fits
}

/// See [`super::tiles::tiles`].
#[inline(never)]
pub fn product(tiles: &[u32], columns: usize, list: List<'_, 3>, width: InputWidth, y: &mut [i32]) -> u32 {
    // What comes next wants the sums of so many columns as they are.
    let long = columns > 4 * PART;
    in_blocks(tiles, columns, y, |tiles, sums| {
        let (tiles, operand, y) = (tiles.as_ptr(), list.operand.as_ptr(), sums.as_mut_ptr());
        // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. A List leads through the tiles
        // of a block from its begin to its end, `tiles` holds as many blocks as there are sums, and neither is none.
        unsafe {
            match width {
                InputWidth::A8 => a8(tiles, operand, y, list.groups, sums.len()),
                InputWidth::A16 => a16(tiles, operand, y, list.groups, sums.len()),
            }
        }
        if long && width == InputWidth::A8 {
            sums.as_flattened_mut().iter_mut().for_each(|sum| *sum >>= 8);
        }
    });
    if width == InputWidth::A8 && !long { 8 } else { 0 }
}

/// A tile at width A8: 15 instructions of four bytes.
macro_rules! tile_a8 {
    () => {
        "ldmia r1!, {{r2, r11, r12}}\n add.w r0, r0, r2\n ldmia r0!, {{r7, r8, r9, r10}}
        smlad r3, r7, r11, r3\n uxtb16 r7, r7\n smlad r4, r8, r11, r4\n uxtb16 r8, r8
        smlad r5, r9, r11, r5\n uxtb16 r9, r9\n smlad r6, r10, r11, r6\n uxtb16 r10, r10
        smlad r3, r7, r12, r3\n smlad r4, r8, r12, r4\n smlad r5, r9, r12, r5\n smlad r6, r10, r12, r6"
    };
}

/// A tile at width A16: 19 instructions of four bytes.
macro_rules! tile_a16 {
    () => {
        "ldmia r1!, {{r2, r11, r12}}\n add.w r0, r0, r2\n ldmia r0!, {{r7, r8, r9, r10}}
        uxtb16 lr, r7\n smlad r3, lr, r11, r3\n sxtb16 r7, r7, ror #8\n smlad r3, r7, r12, r3
        uxtb16 lr, r8\n smlad r4, lr, r11, r4\n sxtb16 r8, r8, ror #8\n smlad r4, r8, r12, r4
        uxtb16 lr, r9\n smlad r5, lr, r11, r5\n sxtb16 r9, r9, ror #8\n smlad r5, r9, r12, r5
        uxtb16 lr, r10\n smlad r6, lr, r11, r6\n sxtb16 r10, r10, ror #8\n smlad r6, r10, r12, r6"
    };
}

/// A function for tiles of `$bytes` bytes of code, eight a round.
macro_rules! product {
    ($name:ident, $tile:ident, $bytes:literal) => {
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
            // r0: tiles; r1: operand; r2: bytes to skip; r3 to r6: sums; r7 to r10: weights; r11, r12: inputs; lr: scratch.
            // The frame: 0 operand, 4 8 12 16 the sums' start, 20 where a block begins, 24 operand's end, 28 y, 32 blocks
            // left, 36 bytes behind the last tile
            naked_asm!(
                ".cpu cortex-m33",
                "push {{r4-r11, lr}}",
                "ldr r8, [sp, #36]",
                "sub sp, #40",
                "ldrd r4, r9, [r1], #8",
                "strd r1, r4, [sp]",
                "strd r4, r4, [sp, #8]",
                // all but a multiple of eight tiles in the first round
                "rsb r6, r3, #0",
                "and r6, r6, #7",
                "adr r7, 3f",
                concat!("mov r10, #", $bytes),
                "mla r7, r6, r10, r7",
                "orr r7, r7, #1",
                "strd r4, r7, [sp, #16]",
                "add r5, r3, r3, lsl #1",
                "add r5, r1, r5, lsl #2",
                "strd r5, r2, [sp, #24]",
                "strd r8, r9, [sp, #32]",
                "2:",
                "ldmia sp, {{r1, r3, r4, r5, r6, pc}}",
                ".balign 4",
                "3:",
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                "ldr r7, [sp, #24]",
                "cmp r1, r7",
                "bne 3b",
                "ldrd r7, r8, [sp, #28]",
                "ldr r9, [sp, #36]",
                "add r0, r0, r9",
                "stmia r7!, {{r3, r4, r5, r6}}",
                "subs r8, #1",
                "strd r7, r8, [sp, #28]",
                "bne 2b",
                "add sp, #40",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

product!(a8, tile_a8, "60");
product!(a16, tile_a16, "76");
