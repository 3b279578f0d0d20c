//! Kernels for Armv7-M without DSP: Cortex-M3, and M33 where a chip leaves the extension out.

pub mod int4;
mod pair;
mod passes;
mod scores;
mod softmax;
pub mod sparse;
mod tiles;

use super::columns::Columns;
use crate::format::Layout;
use core::arch::naked_asm;

pub use pair::{arrange_pair, product_pair};
pub use passes::{activate_gated, add, peak, rescale, rotate, round, scale, squares};
pub use scores::scores_pair;
pub use softmax::softmax_pair;
#[cfg(feature = "selftest")]
pub use tiles::operand_len;
pub use tiles::{prepare, prepare_scaled, tiles};

pub use super::attention::{scores, softmax};
pub use super::passes::{divide_pair, magnitude, multiply, store};

/// The kernels' name.
pub const NAME: &str = "armv7m";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Bytes;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = true;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let mut product = Columns::new(weights, stride, x, y);
    product.set::<8>(set8);
    product.add::<8>(add8);
    product.add::<4>(add4);
    product.finish();
}

/// A [`columns::Kernel`](super::columns::Kernel) for `$columns` columns: how the elements of x come from lr into r4 and
/// more, and a row's weights from r0 and their products into r12.
macro_rules! columns {
    ($name:ident, $columns:literal, $load:expr, $row:expr) => {
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
            // r0: row; r1: y end; r2: y; r3: stride; r4 to r11: x; r12: sum; lr: scratch.
            // The frame: 0 weights, 4 x, 8 y, 48 y end, 52 times left
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldr r12, [sp, #36]",
                "add r12, r2, r12, lsl #2",
                "str r12, [sp, #36]",
                "push {{r0, r1, r2}}",
                "2:",
                "ldrd r0, lr, [sp]",
                $load,
                concat!("adds r1, r0, #", $columns),
                "strd r1, lr, [sp]",
                "ldr r2, [sp, #8]",
                "ldr r1, [sp, #48]",
                "3:",
                $row,
                "str r12, [r2], #4",
                "add r0, r3",
                "cmp r2, r1",
                "bne 3b",
                "ldr lr, [sp, #52]",
                "subs lr, #1",
                "str lr, [sp, #52]",
                "bne 2b",
                "add sp, #12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

/// Four elements of x.
macro_rules! load4 {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ldrsh ",
            $a,
            ", [lr], #2\n ldrsh ",
            $b,
            ", [lr], #2\n",
            "ldrsh ",
            $c,
            ", [lr], #2\n ldrsh ",
            $d,
            ", [lr], #2\n",
        )
    };
}

/// The product of the weight at `$offset` with `$x`, added to the sum.
macro_rules! add {
    ($offset:literal, $x:literal) => {
        concat!("ldrsb lr, [r0, #", $offset, "]\n mla r12, lr, ", $x, ", r12\n")
    };
}

/// Four products: the first is added to the sum or, in `set8`, is the sum.
macro_rules! first4 {
    ($first:literal) => {
        concat!($first, add!("1", "r5"), add!("2", "r6"), add!("3", "r7"))
    };
}

/// Four more.
macro_rules! second4 {
    () => {
        concat!(add!("4", "r8"), add!("5", "r9"), add!("6", "r10"), add!("7", "r11"))
    };
}

columns!(
    set8,
    "8",
    concat!(load4!("r4" "r5" "r6" "r7"), load4!("r8" "r9" "r10" "r11")),
    concat!(first4!("ldrsb lr, [r0]\n mul r12, lr, r4\n"), second4!())
);
columns!(
    add8,
    "8",
    concat!(load4!("r4" "r5" "r6" "r7"), load4!("r8" "r9" "r10" "r11")),
    concat!(first4!("ldr r12, [r2]\n ldrsb lr, [r0]\n mla r12, lr, r4, r12\n"), second4!())
);
columns!(
    add4,
    "4",
    load4!("r4" "r5" "r6" "r7"),
    first4!("ldr r12, [r2]\n ldrsb lr, [r0]\n mla r12, lr, r4, r12\n")
);
