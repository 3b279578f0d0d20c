//! Kernels for 32-bit RISC-V with multiplication (RV32IM and more).

use super::columns::Columns;
use super::offset_bytes::{Blocks, in_blocks};
use crate::format::{InputWidth, Layout};
use core::arch::naked_asm;

#[cfg(feature = "selftest")]
pub use super::offset_bytes::operand_len;
pub use super::offset_bytes::prepare;
pub use pair::{product_pair, scores::scores_pair};
pub use softmax::softmax_pair;

pub use super::attention::{arrange_pair, scores, softmax};
pub use super::passes::{
    activate_gated, add, magnitude, multiply, peak, rescale, rotate, round, scale, squares, store,
};

/// The kernels' name.
pub const NAME: &str = "rv32m";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Tall;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = true;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::product`].
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    let product = match width {
        InputWidth::A8 => tiles8,
        InputWidth::A16 => tiles16,
    };
    in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
        let words = groups * 4;
        let (pairs, single) = sums.as_chunks_mut::<2>();
        if !pairs.is_empty() {
            // SAFETY: by Blocks' lengths, `tiles` holds 2 * pairs blocks, `words` apart, and `operand` what they meet.
            unsafe {
                product(tiles.as_ptr(), operand.as_ptr(), pairs.as_mut_ptr(), groups, pairs.len(), words * 4)
            }
        }
        if let ([sums], Some(tiles)) = (single, tiles.get(pairs.len() * 2 * words..)) {
            let mut twice = [[0; 4]; 2];
            // SAFETY: `tiles` holds one block more, which is both blocks of a pair where they are 0 apart.
            unsafe { product(tiles.as_ptr(), operand.as_ptr(), &mut twice, groups, 1, 0) }
            *sums = twice[0];
        }
    });
    0
}

/// See [`super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let mut product = Columns::new(weights, stride, x, y);
    if x.len() < 16 {
        product.set::<8>(set8);
    } else {
        product.set::<16>(set16);
        product.add::<16>(add16);
        product.add::<8>(add8);
    }
    product.add::<4>(add4);
    product.finish();
}

/// Assembly outside of functions starts without the target's extensions.
#[cfg(target_feature = "c")]
macro_rules! arch {
    () => {
        ".option arch, +m, +c"
    };
}
#[cfg(not(target_feature = "c"))]
macro_rules! arch {
    () => {
        ".option arch, +m"
    };
}

pub mod int4;
mod pair;
mod softmax;
pub mod tall;

/// One instruction for each of four registers or pairs of them.
#[rustfmt::skip]
macro_rules! each {
    ($instruction:literal, $a:literal $b:literal $c:literal $d:literal, $rest:expr) => {
        concat!(
            $instruction, " ", $a, ", ", $a, $rest, "\n", $instruction, " ", $b, ", ", $b, $rest, "\n",
            $instruction, " ", $c, ", ", $c, $rest, "\n", $instruction, " ", $d, ", ", $d, $rest, "\n",
        )
    };
}

/// One block's tile at width A8: 48 instructions for 16 products.
#[rustfmt::skip]
macro_rules! block8 {
    ($tiles:literal, $offset:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "lw s0, ", $offset, "(", $tiles, ")\n lw s1, ", $offset, "+4(", $tiles, ")\n",
            "lw a0, ", $offset, "+8(", $tiles, ")\n lw a1, ", $offset, "+12(", $tiles, ")\n",
            "srli a2, s0, 8\n srli a3, s1, 8\n srli a4, a0, 8\n srli a5, a1, 8\n",
            each!("and", "s0" "s1" "a0" "a1", ", t6"),
            each!("and", "a2" "a3" "a4" "a5", ", t6"),
            each!("mul", "s0" "s1" "a0" "a1", ", t2"),
            each!("mul", "a2" "a3" "a4" "a5", ", t4"),
            each!("add", "s0" "s1" "a0" "a1", ", t3"),
            each!("add", "a2" "a3" "a4" "a5", ", t5"),
            each!("srai", "s0" "s1" "a0" "a1", ", 16"),
            each!("srai", "a2" "a3" "a4" "a5", ", 16"),
            "add ", $a, ", ", $a, ", s0\n add ", $b, ", ", $b, ", s1\n",
            "add ", $c, ", ", $c, ", a0\n add ", $d, ", ", $d, ", a1\n",
            "add ", $a, ", ", $a, ", a2\n add ", $b, ", ", $b, ", a3\n",
            "add ", $c, ", ", $c, ", a4\n add ", $d, ", ", $d, ", a5\n",
        )
    };
}

/// One column of one block at width A16, `$byte` of the tile at `$offset`, whose input is in `$x`.
#[rustfmt::skip]
macro_rules! column16 {
    ($tiles:literal, $offset:literal, $byte:literal, $x:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "lbu s0, ", $offset, "+", $byte, "(", $tiles, ")\n lbu s1, ", $offset, "+", $byte, "+4(", $tiles, ")\n",
            "lbu a0, ", $offset, "+", $byte, "+8(", $tiles, ")\n lbu a1, ", $offset, "+", $byte, "+12(", $tiles, ")\n",
            each!("mul", "s0" "s1" "a0" "a1", concat!(", ", $x)),
            "add ", $a, ", ", $a, ", s0\n add ", $b, ", ", $b, ", s1\n",
            "add ", $c, ", ", $c, ", a0\n add ", $d, ", ", $d, ", a1\n",
        )
    };
}

/// One block's tile at width A16: 48 instructions for 16 products.
#[rustfmt::skip]
macro_rules! block16 {
    ($tiles:literal, $offset:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            column16!($tiles, $offset, "0", "t2", $a $b $c $d),
            column16!($tiles, $offset, "1", "t3", $a $b $c $d),
            column16!($tiles, $offset, "2", "t4", $a $b $c $d),
            column16!($tiles, $offset, "3", "t5", $a $b $c $d),
        )
    };
}

/// Two blocks' tiles.
#[rustfmt::skip]
macro_rules! pair {
    ($block:ident, $offset:literal) => {
        concat!(
            "lw t2, ", $offset, "(t0)\n lw t3, ", $offset, "+4(t0)\n",
            "lw t4, ", $offset, "+8(t0)\n lw t5, ", $offset, "+12(t0)\n",
            $block!("a6", $offset, "s2" "s3" "s4" "s5"),
            $block!("a7", $offset, "s6" "s7" "s8" "s9"),
        )
    };
}

/// A function that computes pairs of blocks of four rows, four tiles of each a step.
macro_rules! product {
    ($name:ident, $block:ident) => {
        /// # Safety
        /// `tiles` points to 2 * pairs blocks of `groups` tiles, `distance` bytes from the first of a pair to the second
        /// and as many to the next pair, `operand` to 1 + 4 * groups words; `y` has room for `pairs` times eight sums.
        /// Groups and pairs are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            tiles: *const u32,
            operand: *const u32,
            y: *mut [[i32; 4]; 2],
            groups: usize,
            pairs: usize,
            distance: usize,
        ) {
            // a6, a7: tiles of the two blocks; t0: operand; t1: operand end; t2 to t5: operand; t6: mask; s2 to s9: sums;
            // s10: y; s11: y end; ra: where to enter the four tiles of a step, so that the last step ends with the last
            // tile; s0, s1, a0 to a5: weights.
            // The frame: 0 operand, 4 start value, 8 bytes of tiles to skip, 12 distance, 16 and more saved registers
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
                "lw t4, 0(a1)",
                "addi a1, a1, 4",
                "slli t1, a3, 4",
                "add t1, a1, t1",
                "sub a1, a1, t3",
                "sw a1, 0(sp)",
                "sw t4, 4(sp)",
                "sw t3, 8(sp)",
                "sw a5, 12(sp)",
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
                pair!($block, "0"),
                pair!($block, "16"),
                pair!($block, "32"),
                pair!($block, "48"),
                "4:",
                "addi t0, t0, 64",
                "addi a6, a6, 64",
                "addi a7, a7, 64",
                "bne t0, t1, 3b",
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

/// A [`columns::Kernel`](super::columns::Kernel) for `$columns` columns: `$load` brings the elements of x, `$start` what
/// the sum begins with, `$row` adds a row's products.
macro_rules! columns {
    ($name:ident, $columns:literal, $load:expr, $start:literal, $row:expr) => {
        /// # Safety
        /// See [`columns::Kernel`](super::columns::Kernel).
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            weights: *const i8,
            x: *const i16,
            y: *mut i32,
            stride: usize,
            rows: usize,
            times: usize,
        ) {
            // a0: row; a1: x; a2: y; a3: stride; a4: y end; a5: times left; a7: sum; a6, t0 to t2: weights; ra: weights
            // of the first row; s0 to s11, t3 to t6: elements of x. The frame: 0 y's start, 4 and more saved registers
            naked_asm!(
                ".option push",
                arch!(),
                "addi sp, sp, -64",
                "sw a2, 0(sp)",
                "sw ra, 4(sp)",
                "sw s0, 8(sp)",
                "sw s1, 12(sp)",
                "sw s2, 16(sp)",
                "sw s3, 20(sp)",
                "sw s4, 24(sp)",
                "sw s5, 28(sp)",
                "sw s6, 32(sp)",
                "sw s7, 36(sp)",
                "sw s8, 40(sp)",
                "sw s9, 44(sp)",
                "sw s10, 48(sp)",
                "sw s11, 52(sp)",
                "slli a4, a4, 2",
                "add a4, a4, a2",
                "mv ra, a0",
                "2:",
                $load,
                concat!("addi a1, a1, 2*", $columns),
                "mv a0, ra",
                concat!("addi ra, ra, ", $columns),
                "lw a2, 0(sp)",
                "3:",
                $start,
                $row,
                "sw a7, 0(a2)",
                "addi a2, a2, 4",
                "add a0, a0, a3",
                "bne a2, a4, 3b",
                "addi a5, a5, -1",
                "bnez a5, 2b",
                "lw ra, 4(sp)",
                "lw s0, 8(sp)",
                "lw s1, 12(sp)",
                "lw s2, 16(sp)",
                "lw s3, 20(sp)",
                "lw s4, 24(sp)",
                "lw s5, 28(sp)",
                "lw s6, 32(sp)",
                "lw s7, 36(sp)",
                "lw s8, 40(sp)",
                "lw s9, 44(sp)",
                "lw s10, 48(sp)",
                "lw s11, 52(sp)",
                "addi sp, sp, 64",
                "ret",
                ".option pop",
            )
        }
    };
}

/// Four elements of x, from `$column` on.
#[rustfmt::skip]
macro_rules! load4 {
    ($column:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "lh ", $a, ", 2*", $column, "(a1)\n lh ", $b, ", 2*", $column, "+2(a1)\n",
            "lh ", $c, ", 2*", $column, "+4(a1)\n lh ", $d, ", 2*", $column, "+6(a1)\n",
        )
    };
}

/// Four products, from `$column` on.
#[rustfmt::skip]
macro_rules! row4 {
    ($column:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "lb a6, ", $column, "(a0)\n lb t0, ", $column, "+1(a0)\n",
            "lb t1, ", $column, "+2(a0)\n lb t2, ", $column, "+3(a0)\n",
            "mul a6, a6, ", $a, "\n mul t0, t0, ", $b, "\n mul t1, t1, ", $c, "\n mul t2, t2, ", $d, "\n",
            "add a7, a7, a6\n add a7, a7, t0\n add a7, a7, t1\n add a7, a7, t2\n",
        )
    };
}

/// Everything for 4, 8 or 16 columns.
macro_rules! of4 {
    ($what:ident) => {
        $what!("0", "s0" "s1" "s2" "s3")
    };
}
macro_rules! of8 {
    ($what:ident) => {
        concat!(of4!($what), $what!("4", "s4" "s5" "s6" "s7"))
    };
}
macro_rules! of16 {
    ($what:ident) => {
        concat!(of8!($what), $what!("8", "s8" "s9" "s10" "s11"), $what!("12", "t3" "t4" "t5" "t6"))
    };
}

columns!(set8, "8", of8!(load4), "li a7, 0", of8!(row4));
columns!(set16, "16", of16!(load4), "li a7, 0", of16!(row4));
columns!(add16, "16", of16!(load4), "lw a7, 0(a2)", of16!(row4));
columns!(add8, "8", of8!(load4), "lw a7, 0(a2)", of8!(row4));
columns!(add4, "4", of4!(load4), "lw a7, 0(a2)", of4!(row4));
