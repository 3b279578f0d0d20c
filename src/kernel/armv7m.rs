//! Kernels for Armv7-M without DSP: Cortex-M3, and M33 where a chip leaves the extension out.

mod pair;
mod passes;
mod scores;
mod softmax;
pub mod sparse;

use super::columns::Columns;
use super::offset_bytes::{Blocks, in_blocks};
use crate::format::{InputWidth, Layout};
use core::arch::naked_asm;

#[cfg(feature = "selftest")]
pub use super::offset_bytes::operand_len;
pub use super::offset_bytes::prepare;
pub use pair::product_pair;
pub use passes::{activate_gated, rescale};
pub use scores::scores_pair;
pub use softmax::softmax_pair;

pub use super::attention::{arrange_pair, scores, softmax};
pub use super::passes::{add, magnitude, multiply, peak, rotate, round, scale, squares, store};

/// The kernels' name.
pub const NAME: &str = "armv7m";

/// The layout that is fastest with these kernels.
pub const LAYOUT: Layout = Layout::Bytes;
/// Whether two query heads that share keys and values are faster together.
pub const PAIRS: bool = true;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::product`].
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
        let (tiles, operand, y, blocks) = (tiles.as_ptr(), operand.as_ptr(), sums.as_mut_ptr(), sums.len());
        // SAFETY: Blocks' lengths are what the two want. This target executes their instructions.
        unsafe {
            match width {
                InputWidth::A8 => tiles8(tiles, operand, y, groups, blocks),
                InputWidth::A16 => tiles16(tiles, operand, y, groups, blocks),
            }
        }
    });
    0
}

/// See [`super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let mut product = Columns::new(weights, stride, x, y);
    product.set::<8>(set8);
    product.add::<8>(add8);
    product.add::<4>(add4);
    product.finish();
}

/// Two columns of one row at width A8: of the word in `$word`, shifted by `$shift`, into `$sum`.
macro_rules! pair {
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

/// A tile at width A8: 27 instructions for 16 products.
macro_rules! tile8 {
    () => {
        concat!(
            "ldmia r0!, {{r7-r10}}\n ldrd r11, r12, [r1], #8\n",
            pair!("r3", "r7", ""),
            pair!("r4", "r8", ""),
            pair!("r5", "r9", ""),
            pair!("r6", "r10", ""),
            "ldrd r11, r12, [r1], #8\n",
            pair!("r3", "r7", ", lsr #8"),
            pair!("r4", "r8", ", lsr #8"),
            pair!("r5", "r9", ", lsr #8"),
            pair!("r6", "r10", ", lsr #8"),
        )
    };
}

/// One column at width A16: `$byte` takes a byte out of a row's word, `$x` is the input.
macro_rules! column {
    ($byte:literal, $rotation:literal, $x:literal) => {
        concat!(
            $byte,
            " lr, r7",
            $rotation,
            "\n",
            $byte,
            " r2, r8",
            $rotation,
            "\n",
            "mla r3, lr, ",
            $x,
            ", r3\n mla r4, r2, ",
            $x,
            ", r4\n",
            $byte,
            " lr, r9",
            $rotation,
            "\n",
            $byte,
            " r2, r10",
            $rotation,
            "\n",
            "mla r5, lr, ",
            $x,
            ", r5\n mla r6, r2, ",
            $x,
            ", r6\n",
        )
    };
}

/// A tile at width A16: 35 instructions for 16 products. Loading the bytes one by one would be 33, but then flash is
/// read four times as often.
macro_rules! tile16 {
    () => {
        concat!(
            "ldmia r0!, {{r7-r10}}\n ldrd r11, r12, [r1], #8\n",
            column!("uxtb.w", "", "r11"),
            column!("uxtb.w", ", ror #8", "r12"),
            "ldrd r11, r12, [r1], #8\n",
            column!("uxtb.w", ", ror #16", "r11"),
            column!("lsr.w", ", #24", "r12"),
        )
    };
}

/// A function that computes blocks of four rows, four tiles a step.
macro_rules! product {
    ($name:ident, $tile:ident) => {
        /// # Safety
        /// `tiles` points to blocks * groups tiles, `operand` to 1 + 4 * groups words; `y` has room for `blocks` times
        /// four sums. Groups and blocks are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            tiles: *const u32,
            operand: *const u32,
            y: *mut [i32; 4],
            groups: usize,
            blocks: usize,
        ) {
            // r0: tiles; r1: operand; r2: mask; r3 to r6: sums; r7 to r10: four rows' words; r11, r12: operand;
            // lr (and r2 in tile16): scratch.
            // The frame, whose first six words one LDM brings back at the start of a block: 0 operand, 4 to 16 start
            // values, 20 where to enter the four tiles of a step, so that the last step ends with the last tile,
            // 24 operand end, 28 y, 32 blocks left
            naked_asm!(
                "push {{r4-r11, lr}}",
                "ldr r12, [sp, #36]",
                "sub sp, #36",
                "ldr r7, [r1], #4",
                "add r11, r1, r3, lsl #4",
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
                "str r11, [sp, #24]",
                "strd r2, r12, [sp, #28]",
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
                "stmia r7!, {{r3-r6}}",
                "subs r8, #1",
                "strd r7, r8, [sp, #28]",
                "bne.w 2b",
                "add sp, #36",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

product!(tiles8, tile8);
product!(tiles16, tile16);

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
