//! Products of a matrix with two vectors at once: eight columns of both in registers, while all rows pass.

use crate::kernel::{attention, rows};
use core::arch::naked_asm;

/// See [`attention::product_pair`].
pub fn product_pair(weights: &[i8], stride: usize, columns: usize, pair: &[i16], y: &mut [i32]) {
    let rows = rows::at_most(y.len() / 2, weights.len(), stride, columns);
    if rows == 0 || columns < 8 || !columns.is_multiple_of(4) || pair.len() < 2 * columns {
        return attention::product_pair(weights, stride, columns, pair, y);
    }
    let (weights, pair, y) = (weights.as_ptr(), pair.as_ptr(), y.as_mut_ptr());
    let times = columns / 8 - 1;
    // SAFETY: there are so many rows, `stride` apart, and room for as many pairs of sums; `pair` holds two inputs for each
    // column. First come eight columns, then eight more as often as there are, then what is left of them, four.
    unsafe {
        set8(weights, pair, y, stride, rows, 1);
        if times > 0 {
            add8(weights.add(8), pair.add(16), y, stride, rows, times);
        }
        if !columns.is_multiple_of(8) {
            add4(weights.add(columns - 4), pair.add(2 * columns - 8), y, stride, rows, 1);
        }
    }
}

/// Four columns' inputs, from `$at` bytes on.
#[rustfmt::skip]
macro_rules! load4 {
    ($at:literal, $a0:literal $a1:literal $a2:literal $a3:literal, $b0:literal $b1:literal $b2:literal $b3:literal) => {
        concat!(
            "lh ", $a0, ", ", $at, "(a1)\n lh ", $a2, ", ", $at, "+2(a1)\n",
            "lh ", $b0, ", ", $at, "+4(a1)\n lh ", $b2, ", ", $at, "+6(a1)\n",
            "lh ", $a1, ", ", $at, "+8(a1)\n lh ", $a3, ", ", $at, "+10(a1)\n",
            "lh ", $b1, ", ", $at, "+12(a1)\n lh ", $b3, ", ", $at, "+14(a1)\n",
        )
    };
}

/// The first column's products are the sums.
#[rustfmt::skip]
macro_rules! first {
    ($column:literal, $a:literal, $b:literal) => {
        concat!("lb a6, ", $column, "(a0)\n mul a7, a6, ", $a, "\n mul t0, a6, ", $b, "\n")
    };
}

/// A column's products are added to the sums.
#[rustfmt::skip]
macro_rules! more {
    ($column:literal, $a:literal, $b:literal) => {
        concat!(
            "lb a6, ", $column, "(a0)\n mul t1, a6, ", $a, "\n mul t2, a6, ", $b, "\n",
            "add a7, a7, t1\n add t0, t0, t2\n",
        )
    };
}

/// The sums so far.
macro_rules! old {
    () => {
        "lw a7, 0(a2)\n lw t0, 4(a2)\n"
    };
}

/// The columns after the first one.
macro_rules! rest4 {
    () => {
        concat!(more!("1", "s1", "s9"), more!("2", "s2", "s10"), more!("3", "s3", "s11"))
    };
}
macro_rules! rest8 {
    () => {
        concat!(
            rest4!(),
            more!("4", "s4", "t3"),
            more!("5", "s5", "t4"),
            more!("6", "s6", "t5"),
            more!("7", "s7", "t6")
        )
    };
}
macro_rules! loads4 {
    () => {
        load4!("0", "s0" "s1" "s2" "s3", "s8" "s9" "s10" "s11")
    };
}
macro_rules! loads8 {
    () => {
        concat!(loads4!(), load4!("16", "s4" "s5" "s6" "s7", "t3" "t4" "t5" "t6"))
    };
}

/// A row's eight products, the sums in a7 and t0.
macro_rules! set8 {
    () => {
        concat!(first!("0", "s0", "s8"), rest8!())
    };
}
macro_rules! add8 {
    () => {
        concat!(old!(), more!("0", "s0", "s8"), rest8!())
    };
}

pub mod scores;

/// A function for `$columns` columns, `times` over: `$load` brings their inputs, `$row` makes a row's sums.
macro_rules! product {
    ($name:ident, $columns:literal, $load:expr, $row:expr) => {
        /// # Safety
        /// `weights` points to `rows` rows of `times` times the columns, `stride` apart, `x` to two elements for each
        /// column, `y` to two sums for each row. Rows and times are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            weights: *const i8,
            x: *const i16,
            y: *mut i32,
            stride: usize,
            rows: usize,
            times: usize,
        ) {
            // a0: row; a1: x; a2: y; a3: stride; a4: y end; a5: times left; a6: weight; a7, t0: sums; t1, t2: products; ra:
            // weights of the first row; s0 to s7: the first vector; s8 to s11, t3 to t6: the second.
            // The frame: 0 y's start, 4 and more saved registers
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
                "slli a4, a4, 3",
                "add a4, a4, a2",
                "mv ra, a0",
                "2:",
                $load,
                concat!("addi a1, a1, 4*", $columns),
                "mv a0, ra",
                concat!("addi ra, ra, ", $columns),
                "lw a2, 0(sp)",
                "3:",
                $row,
                "sw a7, 0(a2)",
                "sw t0, 4(a2)",
                "addi a2, a2, 8",
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

product!(set8, "8", loads8!(), set8!());
product!(add8, "8", loads8!(), add8!());
product!(add4, "4", loads4!(), concat!(old!(), more!("0", "s0", "s8"), rest4!()));
