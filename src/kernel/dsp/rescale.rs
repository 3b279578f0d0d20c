//! Sums to residual units: two products of a 32-bit and a 16-bit number, of which the upper 32 bits stay.

use crate::kernel::passes;
use core::arch::naked_asm;

/// See [`passes::rescale`].
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    rescale_if(true, y, scales, up, scale, right)
}

/// See [`crate::kernel::rescale_if`].
#[inline]
pub fn rescale_if(measured: bool, y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len());
    let fours = len / 4;
    if fours == 0 || up > 0 || !scales.as_ptr().addr().is_multiple_of(4) {
        return passes::rescale(y, scales, up, scale, right);
    }
    let size = match (y.get_mut(4 * fours..), scales.get(4 * fours..)) {
        (Some(y), Some(scales)) if len > 4 * fours => passes::rescale(y, scales, up, scale, right),
        _ => 0,
    };
    let (rescale4, half): (Rescale, _) = match (right > 0, measured) {
        (true, true) => (measured_right, 1 << ((right - 1) & 31)),
        (true, false) => (unmeasured_right, 1 << ((right - 1) & 31)),
        (false, true) => (measured_left, 0),
        (false, false) => (unmeasured_left, 0),
    };
    let (y, scales) = (y.as_mut_ptr(), scales.as_ptr());
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble; both slices have so many groups
    // of four, not none, and the scales start at a word.
    size | unsafe { rescale4(y, scales, i32::from(scale), right.unsigned_abs() & 31, half, fours) }
}

/// A loop over `fours` groups of four.
type Rescale = unsafe extern "C" fn(
    y: *mut i32,
    scales: *const i16,
    scale: i32,
    shift: u32,
    half: u32,
    fours: usize,
) -> u32;

/// One element: the multiplier is half `$half` ("b" or "t") of `$multiplier`; `$magnitude` is what is made of the result.
macro_rules! element {
    ($y:literal, $half:literal, $multiplier:literal, $shift:literal, $magnitude:ident) => {
        concat!(
            "smulw",
            $half,
            " ",
            $y,
            ", ",
            $y,
            ", ",
            $multiplier,
            "\n",
            "smlawb ",
            $y,
            ", ",
            $y,
            ", r2, r8\n",
            $shift,
            " ",
            $y,
            ", ",
            $y,
            ", r3\n",
            $magnitude!($y),
        )
    };
}

macro_rules! measured {
    ($y:literal) => {
        concat!("eor lr, ", $y, ", ", $y, ", asr #31\n", "orr r12, r12, lr\n")
    };
}

macro_rules! unmeasured {
    ($y:literal) => {
        ""
    };
}

/// Defines the loop whose last shift is the instruction `$shift` ("asr" or "lsl").
macro_rules! rescale {
    ($name:ident, $shift:literal, $magnitude:ident) => {
        /// # Safety
        /// `y` and `multipliers`, which start at a word, point to `fours` groups of four, more than none. `shift` is at most
        /// 31.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            y: *mut i32,
            multipliers: *const i16,
            scale: i32,
            shift: u32,
            half: u32,
            fours: usize,
        ) -> u32 {
            // r0: y; r1: multipliers; r2: scale; r3: shift; r4 to r7: elements;
            // r8: half; r9: groups left; r10, r11: multipliers' words; r12: OR of the magnitudes; lr: scratch
            naked_asm!(
                ".cpu cortex-m33",
                "push {{r4-r11, lr}}",
                "ldrd r8, r9, [sp, #36]",
                "mov r12, #0",
                ".balign 4",
                "2:",
                "ldmia r0, {{r4, r5, r6, r7}}",
                "ldrd r10, r11, [r1], #8",
                element!("r4", "b", "r10", $shift, $magnitude),
                element!("r5", "t", "r10", $shift, $magnitude),
                element!("r6", "b", "r11", $shift, $magnitude),
                element!("r7", "t", "r11", $shift, $magnitude),
                "stmia r0!, {{r4, r5, r6, r7}}",
                "subs r9, #1",
                "bne 2b",
                "mov r0, r12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

rescale!(measured_right, "asr", measured);
rescale!(measured_left, "lsl", measured);
rescale!(unmeasured_right, "asr", unmeasured);
rescale!(unmeasured_left, "lsl", unmeasured);
