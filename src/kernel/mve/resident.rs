//! Matrices of few columns: the input stays in at most four registers, and each row is only a load and a multiplication for
//! each of them.

use core::arch::naked_asm;

/// The sum of one row to `$sum`: the vector in each `$x` by the next `$step` weights.
macro_rules! row {
    ($load:literal, $type:literal, $step:literal, $sum:literal, $first:literal $(, $x:literal)*) => {
        concat!(
            $load, " q4, [r0], #", $step, "\n",
            "vmladav.", $type, " ", $sum, ", ", $first, ", q4\n",
            $(
                $load, " q4, [r0], #", $step, "\n",
                "vmladava.", $type, " ", $sum, ", ", $x, ", q4\n",
            )*
        )
    };
}

/// `blocks` times four rows, all of them one after the other, by an input that `$x` hold.
macro_rules! resident {
    ($name:ident, $load:literal, $input:ty, $input_load:literal, $type:literal, $step:literal, $($x:literal),*) => {
        #[doc = concat!("Four rows of as many times ", $step, " columns as there are registers, `blocks` times.")]
        ///
        /// # Safety
        /// `weights` points to `4 * blocks` whole rows, `x` to an input as long as a row; `y` has room for `4 * blocks`
        /// sums; blocks is not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(weights: *const i8, x: *const $input, y: *mut i32, blocks: usize) {
            // r0: weights; r1: input; r2: sums; r4, r6, r8, r10: four sums (VMLADAV wants even ones)
            naked_asm!(
                ".cpu cortex-m55",
                "push {{r4-r10, lr}}",
                "vpush {{d8-d9}}",
                $(concat!($input_load, " ", $x, ", [r1], #16"),)*
                "dls lr, r3",
                "2:",
                row!($load, $type, $step, "r4", $($x),*),
                row!($load, $type, $step, "r6", $($x),*),
                row!($load, $type, $step, "r8", $($x),*),
                row!($load, $type, $step, "r10", $($x),*),
                "stmia r2!, {{r4, r6, r8, r10}}",
                "le lr, 2b",
                "vpop {{d8-d9}}",
                "pop {{r4-r10, pc}}",
            )
        }
    };
}

resident!(bytes1, "vldrb.u8", i8, "vldrb.u8", "s8", "16", "q0");
resident!(bytes2, "vldrb.u8", i8, "vldrb.u8", "s8", "16", "q0", "q1");
resident!(bytes3, "vldrb.u8", i8, "vldrb.u8", "s8", "16", "q0", "q1", "q2");
resident!(bytes4, "vldrb.u8", i8, "vldrb.u8", "s8", "16", "q0", "q1", "q2", "q3");
resident!(halves1, "vldrb.s16", i16, "vldrh.u16", "s16", "8", "q0");
resident!(halves2, "vldrb.s16", i16, "vldrh.u16", "s16", "8", "q0", "q1");
resident!(halves3, "vldrb.s16", i16, "vldrh.u16", "s16", "8", "q0", "q1", "q2");
resident!(halves4, "vldrb.s16", i16, "vldrh.u16", "s16", "8", "q0", "q1", "q2", "q3");

/// A kernel for rows that follow one another, see [`bytes`] and [`halves`].
pub type Blocks<X> = unsafe extern "C" fn(*const i8, *const X, *mut i32, usize);

/// The kernel for 8-bit inputs of so many columns, if there is one.
///
/// # Safety
/// Of the kernel: `weights` points to `4 * blocks` rows, one after the other, `x` to `columns` elements, `y` to room for
/// `4 * blocks` sums; blocks is not 0.
pub fn bytes(columns: usize) -> Option<Blocks<i8>> {
    match columns {
        16 => Some(bytes1),
        32 => Some(bytes2),
        48 => Some(bytes3),
        64 => Some(bytes4),
        _ => None,
    }
}

/// The kernel for 16-bit inputs of so many columns, if there is one.
///
/// # Safety
/// Of the kernel: as for [`bytes`].
pub fn halves(columns: usize) -> Option<Blocks<i16>> {
    match columns {
        8 => Some(halves1),
        16 => Some(halves2),
        24 => Some(halves3),
        32 => Some(halves4),
        _ => None,
    }
}
