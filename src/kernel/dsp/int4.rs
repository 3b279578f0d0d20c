//! Products of int4 matrices for the DSP extension: a mask leaves the numbers of two neighbouring columns in the halves
//! of a word, where SMLAD meets them with two neighbouring inputs. 35 instructions for 32 products, and 22 for each
//! group.

use crate::format::InputWidth;
use crate::kernel::int4::{Blocks, in_blocks};
use core::arch::naked_asm;

pub use crate::kernel::int4::{Nibbles, prepare};

/// See [`int4::product`](crate::kernel::int4::product).
#[inline(never)]
pub fn product(weights: &Nibbles<'_>, columns: usize, operand: &[u32], _width: InputWidth, y: &mut [i32]) {
    in_blocks(weights, columns, operand, y, |Blocks { tiles, factors, operand, missing, sums }| {
        let (blocks, operand) = (sums.len(), operand.as_ptr_range());
        let (tiles, factors, y) = (tiles.as_ptr(), factors.as_ptr(), sums.as_mut_ptr());
        // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. Blocks' lengths are what
        // the function wants.
        unsafe { blocks_of_four(tiles, operand.start, y, factors, blocks, operand.end, missing) }
    });
}

/// One row's two columns of each pair from bit `$shift` on.
#[rustfmt::skip]
macro_rules! pairs {
    ($x:literal, $shift:literal) => {
        concat!(
            "and lr, r2, r7", $shift, "\n smlad r3, lr, ", $x, ", r3\n",
            "and lr, r2, r8", $shift, "\n smlad r4, lr, ", $x, ", r4\n",
            "and lr, r2, r9", $shift, "\n smlad r5, lr, ", $x, ", r5\n",
            "and lr, r2, r10", $shift, "\n smlad r6, lr, ", $x, ", r6\n",
        )
    };
}

/// Four rows and eight columns: 35 instructions of four bytes.
macro_rules! tile {
    () => {
        concat!(
            "ldmia r0!, {{r7-r10}}\n ldrd r11, r12, [r1], #8\n",
            pairs!("r11", ""),
            pairs!("r12", ", lsr #4"),
            "ldrd r11, r12, [r1], #8\n",
            pairs!("r11", ", lsr #8"),
            pairs!("r12", ", lsr #12"),
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
    // r0: tiles; r1: operand; r2: mask; r3 to r6: sums of a group; r7 to r10: weights; r11, r12: inputs; lr: two numbers.
    // The frame: 0 operand, 4 its end, 8 factors, 12 y, 16 20 24 28 sums of the rows, 32 blocks left, 36 where the first
    // group begins
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r7, r8, [sp, #36]",
        "ldr r9, [sp, #44]",
        "sub sp, #44",
        "strd r1, r8, [sp]",
        "strd r3, r2, [sp, #8]",
        "adr r8, 4f",
        "mov r10, #140",
        "mla r8, r9, r10, r8",
        "orr r8, r8, #1",
        "strd r7, r8, [sp, #32]",
        "mov r2, #0x000f000f",
        "2:",
        "movs r4, #0",
        "strd r4, r4, [sp, #16]",
        "strd r4, r4, [sp, #24]",
        "ldr r1, [sp]",
        start!(),
        "ldr pc, [sp, #36]",
        ".balign 4",
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
        "and lr, r10, #15",
        "mla r7, r3, lr, r7",
        "ubfx lr, r10, #4, #4",
        "mla r8, r4, lr, r8",
        "ubfx lr, r10, #8, #4",
        "mla r11, r5, lr, r11",
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
