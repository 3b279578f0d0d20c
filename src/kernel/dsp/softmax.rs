//! Attention's softmax: scores to powers of two and to weights. For one query head, and for two that share values, which
//! share the work on the steps, too.
//!
//! Powers come from a table of one octave. Weights are powers times the values' steps, by SMMULR as in
//! [`scores`](mod@super::scores).

use super::in_every_byte;
use crate::kernel::attention::{FRACTION, widen};
use core::arch::naked_asm;

/// Softmax weights of one query: `scores` with `fraction` fraction bits (at most 10) to powers `2^(score - top)` in Q16,
/// and these times the mantissas of `z`, shifted by `base` less their exponents (which is 6 to 31), rounded half up.
/// Returns the sum of the powers.
///
/// - `exp`: `2^16 * 2^(-i/1024)`, 65535 for i = 0
/// - `scores`: one for each of `z`, in whole groups of four, at least 2^15 above the smallest `i32`; what is in them
///   afterwards says nothing
/// - `weights`: as many, in the order that [`crate::kernel::arrange`] makes; those that fill up the last group become 0
///
/// Does nothing where `scores` or `weights` are shorter.
pub fn softmax(
    exp: &[u16; 1024],
    scores: &mut [i32],
    top: i32,
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> u32 {
    let Some((frame, scores)) = frame(scores, [top], fraction, z, base) else {
        return 0;
    };
    if weights.len() < scores.len() {
        return 0;
    }
    // SAFETY: this target executes the DSP instructions. `scores` and `weights` have as many elements, in whole groups
    // of four, and `frame` says where whole groups of `z` and where `scores` end.
    unsafe { softmax1(scores.as_ptr(), z.as_ptr(), weights.as_mut_ptr(), exp, frame) }
}

/// [`softmax`] of two queries; `scores` as [`crate::kernel::scores_pair`] makes them, `weights` in the order of
/// [`crate::kernel::arrange_pair`], both in whole groups of eight.
pub fn softmax_pair(
    exp: &[u16; 1024],
    scores: &mut [i32],
    tops: [i32; 2],
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> [u32; 2] {
    let Some((frame, scores)) = frame(scores, tops, fraction, z, base) else {
        return [0; 2];
    };
    if weights.len() < scores.len() {
        return [0; 2];
    }
    // SAFETY: as in [`softmax`], with two scores and two weights for each of `z`.
    let sums = unsafe { softmax2(scores.as_ptr(), z.as_ptr(), weights.as_mut_ptr(), exp, frame) };
    [sums as u32, (sums >> 32) as u32]
}

/// What [`softmax1`] and [`softmax2`] find on the stack.
#[repr(C)]
struct Frame {
    tops: [i32; 2],
    /// 32 less the base of the shifts, in every byte.
    shift: u32,
    /// Where the scores of whole groups of four scale bytes end.
    end: *const i32,
    /// Where the scores end.
    padded_end: *const i32,
    /// The scale bytes of the last group, if it is not whole.
    last: u32,
}

/// Makes a frame and brings the scores of `HEADS` queries to ten fraction bits and whole groups; none where there are too
/// few of them.
fn frame<'a, const HEADS: usize>(
    scores: &'a mut [i32],
    mut tops: [i32; HEADS],
    fraction: u32,
    z: &[u8],
    base: u32,
) -> Option<(Frame, &'a [i32])> {
    let (whole, rest) = z.as_chunks::<4>();
    let groups = whole.len() + usize::from(!rest.is_empty());
    let scores = scores.get_mut(..4 * HEADS * groups)?;
    let (real, padding) = scores.split_at_mut_checked(HEADS * z.len())?;
    if fraction < FRACTION {
        widen(real, &mut tops, fraction);
    }
    // The smallest score has the power 0.
    padding.fill(i32::MIN);
    let last = rest.iter().rev().fold(0, |last, &z| last << 8 | u32::from(z));
    let ends = scores.as_ptr_range();
    let end = scores.get(4 * HEADS * whole.len()..)?.as_ptr();
    let shift = in_every_byte(32u32.wrapping_sub(base));
    let tops = core::array::from_fn(|head| tops.get(head).copied().unwrap_or_default());
    Some((Frame { tops, shift, end, padded_end: ends.end, last }, scores))
}

/// A score in `$score` to a power, which `$sum` takes up. The table is at r3; lr is scratch. `$meanwhile` is an
/// instruction for the time that the table takes to answer.
macro_rules! power {
    ($score:literal, $top:literal, $sum:literal, $meanwhile:expr) => {
        concat!(
            "qsub ",
            $score,
            ", ",
            $top,
            ", ",
            $score,
            "\n",
            "usat ",
            $score,
            ", #15, ",
            $score,
            "\n",
            "ubfx lr, ",
            $score,
            ", #0, #10\n",
            "ldrh lr, [r3, lr, lsl #1]\n",
            "lsr ",
            $score,
            ", ",
            $score,
            ", #10\n",
            $meanwhile,
            "\n",
            "lsr ",
            $score,
            ", lr, ",
            $score,
            "\n",
            "add ",
            $sum,
            ", ",
            $sum,
            ", ",
            $score,
            "\n",
        )
    };
}

/// One position of [`softmax1`]: the mantissa in byte `$byte` of r6, the shift in the lowest byte of r7.
macro_rules! softmax1 {
    ($score:literal, $byte:literal) => {
        concat!(
            power!($score, "r4", "r5", concat!("uxtb r12, r6", $byte)),
            "lsl r12, r12, r7\n",
            "smmulr ",
            $score,
            ", ",
            $score,
            ", r12\n",
        )
    };
}

/// Weights of one query; returns the sum of the powers.
///
/// # Safety
/// `scores` points to whole groups of four scores up to `frame.padded_end`, `weights` to room for as many; those up to
/// `frame.end` have a byte each at `z`.
#[unsafe(naked)]
unsafe extern "C" fn softmax1(
    scores: *const i32,
    z: *const u8,
    weights: *mut i16,
    exp: &[u16; 1024],
    frame: Frame,
) -> u32 {
    // r0: scores; r1: z, which LDR may find at any byte; r2: weights; r3: the table; r4: top; r5: sum; r6: mantissas; r7:
    // shifts; r8 to r11: scores; r12: z or a position's factor; lr: scratch. The frame begins at 36
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldr r4, [sp, #36]",
        "movs r5, #0",
        "b 4f",
        ".balign 4",
        "2:",
        "ldr r12, [r1], #4",
        "3:",
        "ldr r8, [sp, #44]",
        "and r7, r12, #0xf0f0f0f0",
        "add r7, r8, r7, lsr #4",
        "and r6, r12, #0x0f0f0f0f",
        "orr r6, r6, #0x10101010",
        "ldmia r0!, {{r8, r9, r10, r11}}",
        softmax1!("r8", ""),
        "lsr r7, r7, #8",
        softmax1!("r9", ", ror #8"),
        "lsr r7, r7, #8",
        softmax1!("r10", ", ror #16"),
        "lsr r7, r7, #8",
        softmax1!("r11", ", ror #24"),
        "pkhbt r8, r8, r10, lsl #16",
        "pkhbt r9, r9, r11, lsl #16",
        "str r8, [r2], #4",
        "str r9, [r2], #4",
        "4:",
        "ldr lr, [sp, #48]",
        "cmp r0, lr",
        "bne 2b",
        // the last group
        "ldr lr, [sp, #52]",
        "cmp r0, lr",
        "ittt ne",
        "strne lr, [sp, #48]",
        "ldrne r12, [sp, #56]",
        "bne 3b",
        "mov r0, r5",
        "pop {{r4-r11, pc}}",
    )
}

/// One position of [`softmax2`], as above with r8 and r9: weights go to `$a` and `$b`.
macro_rules! softmax2 {
    ($byte:literal, $a:literal, $b:literal) => {
        concat!(
            "ldrd r10, r11, [r0], #8\n",
            power!("r10", "r4", "r6", concat!("uxtb r12, r8", $byte)),
            power!("r11", "r5", "r7", "lsl r12, r12, r9"),
            "smmulr r10, r10, r12\n",
            "smmulr r11, r11, r12\n",
            "strh r10, ",
            $a,
            "\n",
            "strh r11, ",
            $b,
            "\n",
        )
    };
}

/// Weights of two queries; returns the sums of the powers, the first in the lower half.
///
/// # Safety
/// As for [`softmax1`], with two scores and two weights for each byte.
#[unsafe(naked)]
unsafe extern "C" fn softmax2(
    scores: *const i32,
    z: *const u8,
    weights: *mut i16,
    exp: &[u16; 1024],
    frame: Frame,
) -> u64 {
    // r0: scores; r1: z, which LDR may find at any byte; r2: weights; r3: the table; r4, r5: tops; r6, r7: sums; r8:
    // mantissas; r9: shifts; r10, r11: scores; r12: z or a position's factor; lr: scratch. The frame begins at 36
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [sp, #36]",
        "movs r6, #0",
        "movs r7, #0",
        "subs r2, #16",
        "b 4f",
        ".balign 4",
        "2:",
        "ldr r12, [r1], #4",
        "3:",
        "ldr r10, [sp, #44]",
        "and r9, r12, #0xf0f0f0f0",
        "add r9, r10, r9, lsr #4",
        "and r8, r12, #0x0f0f0f0f",
        "orr r8, r8, #0x10101010",
        softmax2!("", "[r2, #16]!", "[r2, #4]"),
        "lsr r9, r9, #8",
        softmax2!(", ror #8", "[r2, #8]", "[r2, #12]"),
        "lsr r9, r9, #8",
        softmax2!(", ror #16", "[r2, #2]", "[r2, #6]"),
        "lsr r9, r9, #8",
        softmax2!(", ror #24", "[r2, #10]", "[r2, #14]"),
        "4:",
        "ldr lr, [sp, #48]",
        "cmp r0, lr",
        "bne 2b",
        // the last group
        "ldr lr, [sp, #52]",
        "cmp r0, lr",
        "ittt ne",
        "strne lr, [sp, #48]",
        "ldrne r12, [sp, #56]",
        "bne 3b",
        "mov r0, r6",
        "mov r1, r7",
        "pop {{r4-r11, pc}}",
    )
}
