//! Rows of many columns: the input's beginning stays in six registers, the rest of it is loaded again for every four rows.

use super::rows::Kernel;
use core::arch::naked_asm;

/// Vectors that stay in registers.
const RESIDENT: usize = 6;

/// The kernel for four rows of 8-bit inputs of so many columns, if they are many.
///
/// # Safety
/// Of the kernel: as for four rows of any columns, and it is called with these.
pub fn bytes(columns: usize) -> Option<Kernel<i8>> {
    (columns > 16 * RESIDENT).then_some(bytes_long as Kernel<i8>)
}

/// The kernel for four rows of 16-bit inputs of so many columns, if they are many.
///
/// # Safety
/// Of the kernel: as for [`bytes`].
pub fn halves(columns: usize) -> Option<Kernel<i16>> {
    (columns > 8 * RESIDENT).then_some(halves_long as Kernel<i16>)
}

/// The sum of a row's beginning, at `$row`, to `$sum`.
macro_rules! beginning {
    ($load:literal, $type:literal, $step:literal, $row:literal, $sum:literal, $first:literal $(, $x:literal)*) => {
        concat!(
            $load, " q7, [", $row, "], #", $step, "\n",
            "vmladav.", $type, " ", $sum, ", ", $first, ", q7\n",
            $(
                $load, " q7, [", $row, "], #", $step, "\n",
                "vmladava.", $type, " ", $sum, ", ", $x, ", q7\n",
            )*
        )
    };
}

/// Four rows of one width of the input, `$step` columns a vector. `$mask` is that less one, `$resident` the columns in
/// registers.
macro_rules! long {
    ($name:ident, $input:ty, $x:literal, $w:literal, $type:literal, $lanes:literal, $step:literal, $mask:literal, $resident:literal) => {
        /// `blocks` times four rows.
        ///
        /// # Safety
        /// `weights` points to 4 * blocks rows of `columns` bytes, `stride` bytes apart, `x` to `columns` elements; `y` has
        /// room for 4 * blocks sums; blocks is not 0, and there are more columns than stay in registers.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            weights: *const i8,
            x: *const $input,
            y: *mut i32,
            columns: usize,
            stride: usize,
            blocks: usize,
        ) {
            // r0, r5, r7, r1: rows (VLDRB wants low registers); r3: input; r4, r6, r8, r10: sums (VMLAVA wants even
            // ones); r9: input's rest; r11: its columns; r12: blocks left; q0 to q5: input's beginning. The frame: 0 from
            // where a row's pointer ends, after columns rounded up to whole vectors, to the next row; 4 stride
            naked_asm!(
                ".cpu cortex-m55",
                "push {{r4-r11, lr}}",
                "ldrd r5, r12, [sp, #36]",
                "vpush {{d8-d15}}",
                concat!("add r4, r3, #", $mask),
                concat!("bic r4, r4, #", $mask),
                "sub r4, r5, r4",
                "push {{r4, r5}}",
                concat!("sub r11, r3, #", $resident),
                concat!($x, " q0, [r1], #16"),
                concat!($x, " q1, [r1], #16"),
                concat!($x, " q2, [r1], #16"),
                concat!($x, " q3, [r1], #16"),
                concat!($x, " q4, [r1], #16"),
                concat!($x, " q5, [r1], #16"),
                "mov r9, r1",
                "2:",
                "ldr r3, [sp, #4]",
                "add r5, r0, r3",
                "add r7, r5, r3",
                "add r1, r7, r3",
                "mov r3, r9",
                beginning!($w, $type, $step, "r0", "r4", "q0", "q1", "q2", "q3", "q4", "q5"),
                beginning!($w, $type, $step, "r5", "r6", "q0", "q1", "q2", "q3", "q4", "q5"),
                beginning!($w, $type, $step, "r7", "r8", "q0", "q1", "q2", "q3", "q4", "q5"),
                beginning!($w, $type, $step, "r1", "r10", "q0", "q1", "q2", "q3", "q4", "q5"),
                concat!("dlstp.", $lanes, " lr, r11"),
                "3:",
                concat!($x, " q6, [r3], #16"),
                concat!($w, " q7, [r0], #", $step),
                concat!("vmlava.", $type, " r4, q6, q7"),
                concat!($w, " q7, [r5], #", $step),
                concat!("vmlava.", $type, " r6, q6, q7"),
                concat!($w, " q7, [r7], #", $step),
                concat!("vmlava.", $type, " r8, q6, q7"),
                concat!($w, " q7, [r1], #", $step),
                concat!("vmlava.", $type, " r10, q6, q7"),
                "letp lr, 3b",
                "ldr r3, [sp]",
                "add r0, r1, r3",
                "stmia r2!, {{r4, r6, r8, r10}}",
                "subs r12, #1",
                "bne 2b",
                "add sp, #8",
                "vpop {{d8-d15}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

long!(bytes_long, i8, "vldrb.u8", "vldrb.u8", "s8", "8", "16", "15", "96");
long!(halves_long, i16, "vldrh.u16", "vldrb.s16", "s16", "16", "8", "7", "48");
