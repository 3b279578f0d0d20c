//! The two longest passes between the matrices.

use crate::kernel::passes::{self, Gate};
use core::arch::naked_asm;

/// See [`passes::rescale`].
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len());
    let fours = len / 4;
    let size = match (y.get_mut(fours * 4..len), scales.get(fours * 4..)) {
        (Some(y), Some(scales)) => passes::rescale(y, scales, up, scale, right),
        _ => 0,
    };
    if fours == 0 {
        return size;
    }
    let half = if right > 0 { 1 << ((right - 1) & 31) } else { 0 };
    let how = Rescale { up: up & 31, scale: i32::from(scale) << 16, shift: right.unsigned_abs() & 31, half };
    let (y, scales) = (y.as_mut_ptr(), scales.as_ptr());
    // SAFETY: both slices have so many groups of four, more than none.
    size | unsafe {
        if right < 0 { rescale_left(y, scales, fours, &how) } else { rescale_right(y, scales, fours, &how) }
    }
}

/// What [`rescale_right`] and [`rescale_left`] keep in registers.
#[repr(C)]
struct Rescale {
    up: u32,
    scale: i32,
    shift: u32,
    half: i32,
}

/// An element. `$widen` brings its multiplier to the upper half of `$multiplier`.
#[rustfmt::skip]
macro_rules! element {
    ($y:literal, $widen:literal, $multiplier:literal, $shift:literal) => {
        concat!(
            "lsl ", $y, ", ", $y, ", r3\n",
            $widen, "\n",
            "smull lr, ", $y, ", ", $y, ", ", $multiplier, "\n",
            "smull lr, ", $y, ", ", $y, ", r8\n",
            "add ", $y, ", ", $y, ", r10\n",
            $shift, " ", $y, ", ", $y, ", r9\n",
            "eor lr, ", $y, ", ", $y, ", asr #31\n",
            "orr r12, r12, lr\n",
        )
    };
}

/// Defines the loop whose last shift is the instruction `$shift` ("asr" or "lsl").
macro_rules! rescale {
    ($name:ident, $shift:literal) => {
        /// # Safety
        /// `y` and `multipliers` point to `fours` groups of four, more than none.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            y: *mut i32,
            multipliers: *const i16,
            fours: usize,
            how: *const Rescale,
        ) -> u32 {
            // r0: y; r1: multipliers, which LDR may find at an odd half of a word; r2: groups left; r3, r8, r9, r10: up, scale,
            // shift, half; r4 to r7: elements; r11: multipliers; r12: OR of the magnitudes; lr: scratch
            naked_asm!(
                "push {{r4-r11, lr}}",
                "mov r12, #0",
                "ldrd r9, r10, [r3, #8]",
                "ldrd r3, r8, [r3]",
                "2:",
                "ldmia r0, {{r4-r7}}",
                "ldr r11, [r1], #4",
                element!("r4", "lsl lr, r11, #16", "lr", $shift),
                element!("r5", "bfc r11, #0, #16", "r11", $shift),
                "ldr r11, [r1], #4",
                element!("r6", "lsl lr, r11, #16", "lr", $shift),
                element!("r7", "bfc r11, #0, #16", "r11", $shift),
                "stmia r0!, {{r4-r7}}",
                "subs r2, #1",
                "bne 2b",
                "mov r0, r12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

rescale!(rescale_right, "asr");
rescale!(rescale_left, "lsl");

/// See [`passes::activate_gated`].
pub fn activate_gated(values: &mut [i32], ups: &[i32], gate: &Gate<'_>) -> u32 {
    let len = values.len().min(ups.len());
    match gate.openings {
        Some(openings) if gate.shift.left == 0 && gate.to_table.0 == 0 && len > 0 => {
            let how = Activation {
                right: (gate.shift.right & 31) + 1,
                to_table: gate.to_table.1 & 31,
                up: gate.up & 31,
                openings: openings.as_ptr(),
            };
            // SAFETY: both slices have `len` elements, not none, and the table 513: an index is below 512, and the entry
            // behind it is read, too.
            unsafe { activate(values.as_mut_ptr(), ups.as_ptr(), len, &how) }
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
    openings: *const u16,
}

/// # Safety
/// `values` and `ups` point to `len` elements, more than none, and `how.openings` to 513.
#[unsafe(naked)]
unsafe extern "C" fn activate(values: *mut i32, ups: *const i32, len: usize, how: *const Activation) -> u32 {
    // r4, r5, r6: the shifts; r7: the table; r8: 16; r9: magnitude. x: r3, |x|: r11, its place in the table: r12, two
    // entries: r10 and lr, the opening: r10
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldmia r3, {{r4-r7}}",
        "mov r8, #16",
        "mov r9, #0",
        "2:",
        "ldr r3, [r0]",
        "asrs r3, r4",
        "adc r3, r3, #0",
        "eor r11, r3, r3, asr #31",
        "sub r11, r11, r3, asr #31",
        "lsr r12, r11, r5",
        "usat r12, #14, r12",
        "lsr lr, r12, #5",
        "add lr, r7, lr, lsl #1",
        "ldrh r10, [lr]",
        "ldrh lr, [lr, #2]",
        "and r12, r12, #31",
        "sub lr, lr, r10",
        "mla lr, lr, r12, r8",
        "add r10, r10, lr, asr #5",
        "mul r10, r10, r11",
        "add r3, r10, r3, lsl #14",
        "asrs r3, r3, #15",
        "adc r3, r3, #0",
        "ldr r12, [r1], #4",
        "lsl r12, r12, r6",
        "lsls r3, r3, #16",
        "smull lr, r3, r12, r3",
        "str r3, [r0], #4",
        "eor r3, r3, r3, asr #31",
        "orr r9, r9, r3",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r9",
        "pop {{r4-r11, pc}}",
    )
}
