//! Sums to residual units: two products of a 32-bit and a 16-bit number, of which the upper 32 bits stay.

use core::arch::{asm, naked_asm};

/// `floor(a * b / 2^16)`.
#[inline(always)]
pub fn mul_w(a: i32, b: i16) -> i32 {
    let product;
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble; this one reads two registers
    // and writes one.
    unsafe {
        asm!("smulwb {0}, {1}, {2}", lateout(reg) product, in(reg) a, in(reg) i32::from(b),
            options(pure, nomem, nostack, preserves_flags));
    }
    product
}

/// Multiplies each element by its multiplier and all by `scale`, as [`mul_w`] does, then shifts to the right, rounding
/// half up. Returns the bitwise OR of the results' magnitudes, `y ^ (y >> 31)`: how many bits the largest needs.
///
/// - `y`: one element for each multiplier; what is longer than the other stays as it is
/// - `shift`: at most 31
pub fn rescale(y: &mut [i32], multipliers: &[i16], scale: i16, shift: u32) -> u32 {
    let len = y.len().min(multipliers.len());
    let shift = shift & 31;
    let half = (1u32 << shift) >> 1;
    if len == 0 {
        return 0;
    }
    // SAFETY: this target executes the DSP instructions; both slices have `len` elements, which is not 0.
    unsafe { rescale_all(y.as_mut_ptr(), multipliers.as_ptr(), i32::from(scale), shift, half, len) }
}

/// One element: the multiplier is half `$half` ("b" or "t") of `$multiplier`.
macro_rules! element {
    ($y:literal, $half:literal, $multiplier:literal) => {
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
            "asr ",
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

/// # Safety
/// `y` and `multipliers` point to `len` elements; len is not 0. `shift` is at most 31.
#[unsafe(naked)]
unsafe extern "C" fn rescale_all(
    y: *mut i32,
    multipliers: *const i16,
    scale: i32,
    shift: u32,
    half: u32,
    len: usize,
) -> u32 {
    // r0: y; r1: multipliers, which LDR may find at an odd half of a word; r2: scale; r3: shift; r4 to r7: elements;
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
        "ldr r10, [r1], #4",
        "ldr r11, [r1], #4",
        element!("r4", "b", "r10"),
        element!("r5", "t", "r10"),
        element!("r6", "b", "r11"),
        element!("r7", "t", "r11"),
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
        element!("r4", "b", "r10"),
        "str r4, [r0], #4",
        "subs r9, #1",
        "bne 4b",
        "5:",
        "mov r0, r12",
        "pop {{r4-r11, pc}}",
    )
}
