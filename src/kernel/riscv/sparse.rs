//! Products that pass over columns whose inputs are 0: a tile of each of two blocks at a time, with an addition for the
//! place of each. 103 instructions for 32 products, where the usual product takes 100.

use crate::format::InputWidth;
use crate::kernel::sparse::in_blocks;
use crate::kernel::sparse_bytes::List;
use core::arch::naked_asm;

pub use crate::kernel::sparse_bytes::prepare;

/// See [`kernel::product`](crate::kernel::product).
pub fn product(tiles: &[u32], columns: usize, list: List<'_>, width: InputWidth, y: &mut [i32]) -> u32 {
    let product = match width {
        InputWidth::A8 => tiles8,
        InputWidth::A16 => tiles16,
    };
    in_blocks(tiles, columns, y, |tiles, sums| {
        let words = columns.next_multiple_of(4);
        let operand = list.operand.as_ptr();
        let (pairs, single) = sums.as_chunks_mut::<2>();
        if !pairs.is_empty() {
            // SAFETY: a List leads through the tiles of a block from its begin to its end, and `tiles` holds as many blocks as
            // there are sums, `words` apart. Neither is none.
            unsafe {
                product(tiles.as_ptr(), operand, pairs.as_mut_ptr(), list.groups, pairs.len(), words * 4)
            }
        }
        if let ([sums], Some(tiles)) = (single, tiles.get(pairs.len() * 2 * words..)) {
            let mut twice = [[0; 4]; 2];
            // SAFETY: `tiles` holds one block more, which is both blocks of a pair where they are 0 apart.
            unsafe { product(tiles.as_ptr(), operand, &mut twice, list.groups, 1, 0) }
            *sums = twice[0];
        }
    });
    0
}

/// Two blocks' tiles, `$tile` bytes on from what has been skipped, and the words of a group, `$group` bytes on.
#[rustfmt::skip]
macro_rules! tiles {
    ($block:ident, $tile:literal, $group:literal) => {
        concat!(
            "lw s0, ", $group, "(t0)\n add a6, a6, s0\n add a7, a7, s0\n",
            "lw t2, ", $group, "+4(t0)\n lw t3, ", $group, "+8(t0)\n",
            "lw t4, ", $group, "+12(t0)\n lw t5, ", $group, "+16(t0)\n",
            $block!("a6", $tile, "s2" "s3" "s4" "s5"),
            $block!("a7", $tile, "s6" "s7" "s8" "s9"),
        )
    };
}

/// A function that computes pairs of blocks of four rows, four tiles of each a step.
macro_rules! product {
    ($name:ident, $block:ident) => {
        /// # Safety
        /// `operand` is a [`List`] of `groups` groups that leads through a block of `tiles`, of which there are 2 * pairs,
        /// `distance` bytes from the first of a pair to the second and as many to the next pair; `y` has room for `pairs`
        /// times eight sums. Groups and pairs are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            tiles: *const u32,
            operand: *const u32,
            y: *mut [[i32; 4]; 2],
            groups: usize,
            pairs: usize,
            distance: usize,
        ) {
            // a6, a7: tiles of the two blocks; t0: operand; t1: operand end; t2 to t5: inputs; t6: mask; s2 to s9: sums;
            // s10: y; s11: y end; ra: where to enter the four tiles of a step, so that the last step ends with the last
            // tile; s0, s1, a0 to a5: weights.
            // The frame: 0 operand, 4 start value, 8 bytes of tiles that the first step is entered after, 12 distance, 16 and
            // more saved registers, 68 bytes behind the last tile
            naked_asm!(
                ".option push",
                arch!(),
                "addi sp, sp, -80",
                "sw ra, 16(sp)",
                "sw s0, 20(sp)",
                "sw s1, 24(sp)",
                "sw s2, 28(sp)",
                "sw s3, 32(sp)",
                "sw s4, 36(sp)",
                "sw s5, 40(sp)",
                "sw s6, 44(sp)",
                "sw s7, 48(sp)",
                "sw s8, 52(sp)",
                "sw s9, 56(sp)",
                "sw s10, 60(sp)",
                "sw s11, 64(sp)",
                // the step that is entered late has its pointers before the first tile
                "neg t2, a3",
                "andi t2, t2, 3",
                "slli t3, t2, 4",
                "slli t4, t2, 2",
                "add t4, t4, t3",
                "lw t5, 0(a1)",
                "lw t6, 4(a1)",
                "addi a1, a1, 8",
                "slli t1, a3, 2",
                "add t1, t1, a3",
                "slli t1, t1, 2",
                "add t1, a1, t1",
                "sub a1, a1, t4",
                "sw a1, 0(sp)",
                "sw t5, 4(sp)",
                "sw t3, 8(sp)",
                "sw a5, 12(sp)",
                "sw t6, 68(sp)",
                "mv s10, a2",
                "slli s11, a4, 5",
                "add s11, a2, s11",
                "mv a7, a0",
                "lla ra, 3f",
                "lla t3, 4f",
                "sub t3, t3, ra",
                "srli t3, t3, 2",
                "mul t3, t3, t2",
                "add ra, ra, t3",
                "li t6, 0x00ff00ff",
                "2:",
                "lw t0, 0(sp)",
                "lw s2, 4(sp)",
                "lw t2, 8(sp)",
                "lw t3, 12(sp)",
                "mv s3, s2",
                "mv s4, s2",
                "mv s5, s2",
                "mv s6, s2",
                "mv s7, s2",
                "mv s8, s2",
                "mv s9, s2",
                "sub a6, a7, t2",
                "add a7, a6, t3",
                "jr ra",
                "3:",
                tiles!($block, "0", "0"),
                tiles!($block, "16", "20"),
                tiles!($block, "32", "40"),
                tiles!($block, "48", "60"),
                "4:",
                "addi t0, t0, 80",
                "addi a6, a6, 64",
                "addi a7, a7, 64",
                "bne t0, t1, 3b",
                "lw t2, 68(sp)",
                "add a7, a7, t2",
                "sw s2, 0(s10)",
                "sw s3, 4(s10)",
                "sw s4, 8(s10)",
                "sw s5, 12(s10)",
                "sw s6, 16(s10)",
                "sw s7, 20(s10)",
                "sw s8, 24(s10)",
                "sw s9, 28(s10)",
                "addi s10, s10, 32",
                "bne s10, s11, 2b",
                "lw ra, 16(sp)",
                "lw s0, 20(sp)",
                "lw s1, 24(sp)",
                "lw s2, 28(sp)",
                "lw s3, 32(sp)",
                "lw s4, 36(sp)",
                "lw s5, 40(sp)",
                "lw s6, 44(sp)",
                "lw s7, 48(sp)",
                "lw s8, 52(sp)",
                "lw s9, 56(sp)",
                "lw s10, 60(sp)",
                "lw s11, 64(sp)",
                "addi sp, sp, 80",
                "ret",
                ".option pop",
            )
        }
    };
}

product!(tiles8, block8);
product!(tiles16, block16);
