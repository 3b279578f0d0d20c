//! Products of int4 matrices.
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
//! and the first pair need not be masked out: 64 instructions for 32 products, and 27 for each group.
//!
//! At width A16 the portable kernel does it.

use crate::format::{InputWidth, nibbles};
use crate::kernel::int4::{self, Blocks, in_blocks, operand_len, spread};
use core::arch::naked_asm;

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
        for [x0, x1, x2, x3] in group.get_mut(1..).unwrap_or_default().as_chunks_mut().0 {
            *x1 = x1.wrapping_sub(*x0 << 4);
            *x2 = x2.wrapping_sub(*x0 << 8);
            *x3 = x3.wrapping_sub(*x0 << 12);
        }
    }
}

/// See [`int4::product`].
pub fn product(
    weights: &int4::Nibbles<'_>,
    columns: usize,
    operand: &[u32],
    width: InputWidth,
    y: &mut [i32],
) {
    if matches!(width, InputWidth::A16) {
        return int4::product(weights, columns, operand, width, y);
    }
    in_blocks(weights, columns, operand, y, |Blocks { tiles, factors, operand, missing, sums }| {
        let (blocks, operand) = (sums.len(), operand.as_ptr_range());
        let (tiles, factors, y) = (tiles.as_ptr(), factors.as_ptr(), sums.as_mut_ptr());
        // SAFETY: Blocks' lengths are what the function wants.
        unsafe { blocks_of_four(tiles, operand.start, y, factors, blocks, operand.end, missing) }
    });
}

/// Eight columns of one row, its sum in `$sum`: 15 instructions.
#[rustfmt::skip]
macro_rules! row {
    ($at:literal, $row:literal, $sum:literal) => {
        concat!(
            "lw t4, ", $at, "+", $row, "(a0)\n",
            "mul t5, t4, t0\n add ", $sum, ", ", $sum, ", t5\n",
            "srli t5, t4, 4\n and t5, t5, t6\n mul t5, t5, t1\n add ", $sum, ", ", $sum, ", t5\n",
            "srli t5, t4, 8\n and t5, t5, t6\n mul t5, t5, t2\n add ", $sum, ", ", $sum, ", t5\n",
            "srli t5, t4, 12\n and t5, t5, t6\n mul t5, t5, t3\n add ", $sum, ", ", $sum, ", t5\n",
        )
    };
}

/// Four rows and eight columns: 64 instructions of four bytes.
#[rustfmt::skip]
macro_rules! tile {
    ($at:literal) => {
        concat!(
            "lw t0, ", $at, "(a1)\n lw t1, ", $at, "+4(a1)\n lw t2, ", $at, "+8(a1)\n lw t3, ", $at, "+12(a1)\n",
            row!($at, "0", "s0"),
            row!($at, "4", "s1"),
            row!($at, "8", "s2"),
            row!($at, "12", "s3"),
        )
    };
}

/// Adds a group's sum, the high half of `$sum`, times the number in t1 to the row's in `$total`.
#[rustfmt::skip]
macro_rules! add {
    ($total:literal, $sum:literal) => {
        concat!("srai ", $sum, ", ", $sum, ", 16\n mul ", $sum, ", ", $sum, ", t1\n add ", $total, ", ", $total, ", ", $sum)
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
    // a0: tiles; a1: operand; a2: y; a3: factors; a4: blocks left; a5: operand end; a6: bytes of the tiles that are missing;
    // a7: where the first group begins, whose pointers are before it; t0 to t3: inputs; t4: weights; t5: pair; t6: mask; s0
    // to s3: sums of a group; s4 to s7: sums of the rows; s8: operand
    naked_asm!(
        ".option push",
        arch!(),
        // one size for all, for the jump
        ".option norvc",
        "addi sp, sp, -48",
        "sw s0, 0(sp)",
        "sw s1, 4(sp)",
        "sw s2, 8(sp)",
        "sw s3, 12(sp)",
        "sw s4, 16(sp)",
        "sw s5, 20(sp)",
        "sw s6, 24(sp)",
        "sw s7, 28(sp)",
        "sw s8, 32(sp)",
        "mv s8, a1",
        "lla a7, 4f",
        "slli t0, a6, 8",
        "add a7, a7, t0",
        "slli a6, a6, 4",
        "li t6, 0x000f000f",
        "2:",
        "li s4, 0",
        "li s5, 0",
        "li s6, 0",
        "li s7, 0",
        "lw s0, 0(s8)",
        "addi a1, s8, 4",
        "sub a1, a1, a6",
        "sub a0, a0, a6",
        "mv s1, s0",
        "mv s2, s0",
        "mv s3, s0",
        "jr a7",
        "3:",
        "lw s0, 0(a1)",
        "addi a1, a1, 4",
        "mv s1, s0",
        "mv s2, s0",
        "mv s3, s0",
        "4:",
        tile!("0"),
        tile!("16"),
        tile!("32"),
        tile!("48"),
        "addi a0, a0, 64",
        "addi a1, a1, 64",
        "lhu t0, 0(a3)",
        "addi a3, a3, 2",
        "andi t1, t0, 15",
        add!("s4", "s0"),
        "srli t1, t0, 4",
        "andi t1, t1, 15",
        add!("s5", "s1"),
        "srli t1, t0, 8",
        "andi t1, t1, 15",
        add!("s6", "s2"),
        "srli t1, t0, 12",
        add!("s7", "s3"),
        "bne a1, a5, 3b",
        "sw s4, 0(a2)",
        "sw s5, 4(a2)",
        "sw s6, 8(a2)",
        "sw s7, 12(a2)",
        "addi a2, a2, 16",
        "addi a4, a4, -1",
        "bnez a4, 2b",
        "lw s0, 0(sp)",
        "lw s1, 4(sp)",
        "lw s2, 8(sp)",
        "lw s3, 12(sp)",
        "lw s4, 16(sp)",
        "lw s5, 20(sp)",
        "lw s6, 24(sp)",
        "lw s7, 28(sp)",
        "lw s8, 32(sp)",
        "addi sp, sp, 48",
        "ret",
        ".option pop",
    )
}
