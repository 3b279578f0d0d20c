//! Kernels for 32-bit RISC-V with multiplication (RV32IM and more).

use super::columns::Columns;
use crate::format::Layout;
use core::arch::naked_asm;

pub use pair::{product_pair, scores::scores_pair};
pub use passes::{peak, rescale, round};
pub use softmax::softmax_pair;
#[cfg(feature = "selftest")]
pub use tiles::operand_len;
pub use tiles::{prepare, prepare_scaled, tiles};

pub use super::attention::{arrange_pair, scores, softmax};
pub use super::passes::{
    activate_gated, add, divide_pair, magnitude, multiply, rotate, scale, squares, store,
};

/// The kernels' name.
pub const NAME: &str = "rv32m";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Bytes;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = true;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

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
mod passes;
mod softmax;
mod tiles;

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
