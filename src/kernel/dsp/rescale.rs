//! Sums to residual units: two products of a 32-bit and a 16-bit number, of which the upper 32 bits stay.

use crate::kernel::passes;
use core::arch::naked_asm;

/// See [`passes::rescale`].
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len());
    if len == 0 || up > 0 || !scales.as_ptr().addr().is_multiple_of(4) {
        return passes::rescale(y, scales, up, scale, right);
    }
    let (y, scales, scale) = (y.as_mut_ptr(), scales.as_ptr(), i32::from(scale));
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble; both slices have `len`
    // elements, which is not 0, and the scales start at a word.
    unsafe {
        if right > 0 {
            rescale_right(y, scales, scale, right as u32 & 31, 1 << ((right - 1) & 31), len)
        } else {
            rescale_left(y, scales, scale, right.unsigned_abs() & 31, 0, len)
        }
    }
}

/// One element: the multiplier is half `$half` ("b" or "t") of `$multiplier`.
macro_rules! element {
    ($y:literal, $half:literal, $multiplier:literal, $shift:literal) => {
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
            "eor lr, ",
            $y,
            ", ",
            $y,
            ", asr #31\n",
            "orr r12, r12, lr\n",
        )
    };
}

/// Defines the loop whose last shift is the instruction `$shift` ("asr" or "lsl").
macro_rules! rescale {
    ($name:ident, $shift:literal) => {
        /// # Safety
        /// `y` and `multipliers`, which start at a word, point to `len` elements; len is not 0. `shift` is at most 31.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            y: *mut i32,
            multipliers: *const i16,
            scale: i32,
            shift: u32,
            half: u32,
            len: usize,
        ) -> u32 {
            // r0: y; r1: multipliers; r2: scale; r3: shift; r4 to r7: elements;
            // r8: half; r9: end in groups of 4; r10, r11: multipliers' words; r12: OR of the magnitudes; lr: scratch
            naked_asm!(
                ".cpu cortex-m33",
                "push {{r4-r11, lr}}",
                "ldrd r8, r9, [sp, #36]",
                "mov r12, #0",
                "bic r9, r9, #3",
                "add r9, r0, r9, lsl #2",
                "cmp r0, r9",
                "beq 3f",
                ".balign 4",
                "2:",
                "ldmia r0, {{r4, r5, r6, r7}}",
                "ldrd r10, r11, [r1], #8",
                element!("r4", "b", "r10", $shift),
                element!("r5", "t", "r10", $shift),
                element!("r6", "b", "r11", $shift),
                element!("r7", "t", "r11", $shift),
                "stmia r0!, {{r4, r5, r6, r7}}",
                "cmp r0, r9",
                "bne 2b",
                "3:",
                "ldr r9, [sp, #40]",
                "ands r9, #3",
                "beq 5f",
                "4:",
                "ldr r4, [r0]",
                "ldrsh r10, [r1], #2",
                element!("r4", "b", "r10", $shift),
                "str r4, [r0], #4",
                "subs r9, #1",
                "bne 4b",
                "5:",
                "mov r0, r12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

rescale!(rescale_right, "asr");
rescale!(rescale_left, "lsl");
