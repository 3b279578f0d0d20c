//! The two longest passes between the matrices.
//!
//! `floor(a * b / 2^16)` of an i32 and an int16 is the product of the upper half and what the lower half's leaves above
//! its low 16 bits: two multiplications.

use crate::kernel::passes::{self, Gate};
use core::arch::naked_asm;

/// See [`passes::rescale`].
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len());
    if len == 0 || !matches!(up, 0 | 8) {
        return passes::rescale(y, scales, up, scale, right);
    }
    let skip = len.wrapping_neg() & 3;
    let y = y.as_mut_ptr();
    let pass =
        Rescale { scale: i32::from(scale), shift: right.unsigned_abs() & 31, end: y.wrapping_add(len), skip };
    let (y, scales) = (y.wrapping_sub(skip), scales.as_ptr().wrapping_sub(skip));
    // SAFETY: there are so many elements and scales, more than none; the first round begins where they do.
    unsafe {
        match (up, right > 0) {
            (0, true) => rescale_up_0_right(y, scales, &pass),
            (0, false) => rescale_up_0_left(y, scales, &pass),
            (_, true) => rescale_up_8_right(y, scales, &pass),
            (_, false) => rescale_up_8_left(y, scales, &pass),
        }
    }
}

/// What the loops of [`rescale()`] keep in registers.
#[repr(C)]
struct Rescale {
    scale: i32,
    shift: u32,
    end: *mut i32,
    /// Elements that the first round leaves out.
    skip: usize,
}

/// An element at `$at`, its row's scale at `$scale`: 38 bytes of code, and those of `$shift`. The halves of the number,
/// already shifted up, are all but the `$low` bits that `$extend` takes, and these.
macro_rules! element {
    ($at:literal, $scale:literal, $extend:literal, $low:literal, $shift:literal) => {
        concat!(
            "ldr r4, [r0, #",
            $at,
            "]\n ldrh r6, [r1, #",
            $scale,
            "]\n sxth r6, r6\n asrs r5, r4, #",
            $low,
            "\n ",
            $extend,
            " r4, r4\n muls r5, r6, r5\n muls r4, r6, r4\n asrs r4, r4, #",
            $low,
            "\n adds r4, r4, r5\n",
            "asrs r5, r4, #16\n uxth r4, r4\n muls r5, r2, r5\n muls r4, r2, r4\n asrs r4, r4, #16\n adds r4, r4, r5\n",
            $shift,
            "\n str r4, [r0, #",
            $at,
            "]\n asrs r5, r4, #31\n eors r4, r5\n orrs r7, r4\n",
        )
    };
}

/// Defines the loop for numbers that are shifted up by 16 - `$low`, with an element of `$size` bytes of code.
macro_rules! rescale {
    ($name:ident, $extend:literal, $low:literal, $shift:literal, $size:literal) => {
        /// # Safety
        /// `y` and `scales` point to `pass.skip` before elements, up to `pass.end`, and as many scales, in whole
        /// groups of four, more than none.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(y: *mut i32, scales: *const i16, pass: &Rescale) -> u32 {
            // r0: y; r1: scales; r2: scale; r3: shift; r4, r5: halves; r6: a row's scale; r7: OR of the magnitudes; r12:
            // y's end
            naked_asm!(
                "push {{r4-r7, lr}}",
                "ldmia r2!, {{r3-r6}}",
                "mov r12, r5",
                "mov r2, r3",
                "mov r3, r4",
                concat!("movs r7, #", $size),
                "muls r6, r7, r6",
                "movs r7, #0",
                "add pc, r6",
                "nop",
                "2:",
                element!("0", "0", $extend, $low, $shift),
                element!("4", "2", $extend, $low, $shift),
                element!("8", "4", $extend, $low, $shift),
                element!("12", "6", $extend, $low, $shift),
                "adds r0, #16",
                "adds r1, #8",
                "cmp r0, r12",
                "bne 2b",
                "mov r0, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
}

rescale!(rescale_up_0_right, "uxth", "16", "asrs r4, r3\n movs r5, #0\n adcs r4, r5", "44");
rescale!(rescale_up_0_left, "uxth", "16", "lsls r4, r3", "40");
rescale!(rescale_up_8_right, "uxtb", "8", "asrs r4, r3\n movs r5, #0\n adcs r4, r5", "44");
rescale!(rescale_up_8_left, "uxtb", "8", "lsls r4, r3", "40");

/// See [`passes::activate_gated`].
pub fn activate_gated(values: &mut [i32], ups: &[i32], gate: &Gate<'_>) -> u32 {
    let len = values.len().min(ups.len());
    match gate.openings {
        Some(openings) if gate.shift.left == 0 && gate.to_table.0 == 0 && len > 0 => {
            let values = values.as_mut_ptr();
            let how = Activation {
                right: (gate.shift.right & 31) + 1,
                to_table: gate.to_table.1 & 31,
                up: gate.up & 31,
                end: values.wrapping_add(len),
            };
            // SAFETY: both slices have `len` elements, not none, and the table 513: an index is below 512, and the entry
            // behind it is read, too.
            unsafe { activate(values, ups.as_ptr(), openings.as_ptr(), &how) }
        }
        _ => passes::activate_gated(values, ups, gate),
    }
}

/// What [`activate`] keeps in registers.
#[repr(C)]
struct Activation {
    /// With the place that is rounded away.
    right: u32,
    to_table: u32,
    up: u32,
    end: *mut i32,
}

/// # Safety
/// `values` and `ups` point to as many elements, up to `how.end`, more than none, and `openings` to 513.
#[unsafe(naked)]
unsafe extern "C" fn activate(
    values: *mut i32,
    ups: *const i32,
    openings: *const u16,
    how: &Activation,
) -> u32 {
    // r0: values; r1: ups; r3: magnitude; r4: x; r6: |x|; r5: its place in the table; r2, r7: entries; r8, r9, r10: the
    // shifts; r11: the table; r12: end
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldmia r3!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r2",
        "mov r12, r7",
        "movs r3, #0",
        "2:",
        // x and its magnitude
        "ldr r4, [r0]",
        "mov r5, r8",
        "asrs r4, r5",
        "movs r7, #0",
        "adcs r4, r7",
        "asrs r5, r4, #31",
        "adds r6, r4, r5",
        "eors r6, r5",
        // the opening
        "mov r7, r9",
        "movs r5, r6",
        "lsrs r5, r7",
        "lsrs r7, r5, #14",
        "bne 4f",
        "3:",
        "lsrs r7, r5, #5",
        "lsls r7, r7, #1",
        "add r7, r11",
        "ldrh r2, [r7]",
        "ldrh r7, [r7, #2]",
        "subs r7, r7, r2",
        "lsls r5, r5, #27",
        "lsrs r5, r5, #27",
        "muls r7, r5, r7",
        "adds r7, #16",
        "asrs r7, r7, #5",
        "adds r7, r7, r2",
        // the activation
        "muls r7, r6, r7",
        "lsls r4, r4, #14",
        "adds r4, r4, r7",
        "asrs r4, r4, #15",
        "movs r7, #0",
        "adcs r4, r7",
        // times up
        "ldmia r1!, {{r5}}",
        "mov r7, r10",
        "lsls r5, r7",
        "asrs r6, r5, #16",
        "uxth r5, r5",
        "muls r6, r4, r6",
        "muls r5, r4, r5",
        "asrs r5, r5, #16",
        "adds r5, r5, r6",
        "stmia r0!, {{r5}}",
        "asrs r6, r5, #31",
        "eors r5, r6",
        "orrs r3, r5",
        "cmp r0, r12",
        "bne 2b",
        "mov r0, r3",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        // the table's last entry
        "4:",
        "ldr r5, 5f",
        "b 3b",
        ".balign 4",
        "5:",
        ".word 16383",
    )
}
