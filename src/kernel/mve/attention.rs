//! Attention over an int8 cache: dot products to scores to base two, and softmax, whose powers a gathering load reads. Four
//! positions a step.
//!
//! A scale byte z is the step (16 + z % 16) * 2^(z / 16). VRSHL by a vector of negative numbers shifts each lane to the
//! right by its own places and rounds.

use super::super::attention::narrowing;
use super::matvec_strided;
use core::arch::naked_asm;

/// See [`super::super::attention::scores`].
pub fn scores(keys: &[i8], z: &[u8], query: &[i16], base: u32, scores: &mut [i32]) -> i32 {
    let len = z.len().min(scores.len());
    let scores = scores.get_mut(..len).unwrap_or_default();
    if len == 0 {
        return i32::MIN;
    }
    matvec_strided(keys, query.len(), query, scores);
    let narrow = -(narrowing(query.len()) as i32);
    // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. `scores` and `z` have `len`
    // elements, which is not 0.
    unsafe { to_base_two(scores.as_mut_ptr(), z.as_ptr(), len, base, narrow) }
}

/// Products to scores; returns the largest. `narrow` is not positive: places to the left.
///
/// # Safety
/// `scores` and `z` point to `len` elements; len is not 0.
#[unsafe(naked)]
unsafe extern "C" fn to_base_two(scores: *mut i32, z: *const u8, len: usize, base: u32, narrow: i32) -> i32 {
    // r4: narrowing; r12: the largest; q0: scores; q1: z, then mantissas; q2: shifts
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "ldr r4, [sp, #8]",
        "mov r12, #0x80000000",
        "dlstp.32 lr, r2",
        "2:",
        "vldrw.u32 q0, [r0]",
        "vldrb.u32 q1, [r1], #4",
        "vshr.u32 q2, q1, #4",
        "vsub.i32 q2, q2, r3",
        "vbic.i32 q1, #0xf0",
        "vorr.i32 q1, #0x10",
        "vrshl.s32 q0, r4",
        "vmul.i32 q0, q0, q1",
        "vrshl.s32 q0, q0, q2",
        "vstrw.32 q0, [r0], #16",
        "vmaxv.s32 r12, q0",
        "letp lr, 2b",
        "mov r0, r12",
        "pop {{r4, pc}}",
    )
}

/// See [`super::super::attention::softmax`].
pub fn softmax(
    exp: &[u16; 1024],
    scores: &mut [i32],
    top: i32,
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> u32 {
    let len = z.len().min(scores.len()).min(weights.len());
    let (weights, rest) = weights.split_at_mut(len);
    rest.fill(0);
    if len == 0 {
        return 0;
    }
    // More bits would read past the end of the table.
    let fraction = fraction.min(10);
    let how = Powers {
        top,
        // 2^-31 is 0 in Q16: there is no need to look further down.
        end: (32 << fraction) - 1,
        left: 10 - fraction,
        base,
        len,
    };
    // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. `scores`, `z` and `weights`
    // have `len` elements, which is not 0.
    unsafe { powers(exp, scores.as_ptr(), z.as_ptr(), weights.as_mut_ptr(), &how) }
}

/// How scores become powers: the largest of them, the end of the distances, from a distance to ten fraction bits, and what
/// a weight is shifted by where a value's exponent is 0.
#[repr(C)]
struct Powers {
    top: i32,
    end: u32,
    left: u32,
    base: u32,
    len: usize,
}

/// # Safety
/// `scores` and `z` point to `how.len` elements, `weights` to room for as many; that is not 0.
#[unsafe(naked)]
unsafe extern "C" fn powers(
    exp: &[u16; 1024],
    scores: *const i32,
    z: *const u8,
    weights: *mut i16,
    how: &Powers,
) -> u32 {
    // r4: sum (VADDVA wants an even one); r6: places to the left; r7: base. q0: distances, then their places in an octave;
    // q1: octaves, then shifts; q2: powers; q3: z, then mantissas; q4: the largest score; q5: the largest distance
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "ldr r12, [sp, #24]",
        "vpush {{d8-d11}}",
        "ldm r12, {{r4, r5, r6, r7, r8}}",
        "vdup.32 q4, r4",
        "vdup.32 q5, r5",
        "movs r4, #0",
        "dlstp.32 lr, r8",
        "2:",
        "vldrw.u32 q0, [r1], #16",
        "vsub.i32 q0, q4, q0",
        "vmin.u32 q0, q0, q5",
        "vshl.u32 q0, r6",
        "vshr.u32 q1, q0, #10",
        "vneg.s32 q1, q1",
        // a distance has 15 bits
        "vbic.i32 q0, #0x7c00",
        "vldrh.u32 q2, [r0, q0, uxtw #1]",
        "vshl.u32 q2, q2, q1",
        "vaddva.u32 r4, q2",
        "vldrb.u32 q3, [r2], #4",
        "vshr.u32 q1, q3, #4",
        "vsub.i32 q1, q1, r7",
        "vbic.i32 q3, #0xf0",
        "vorr.i32 q3, #0x10",
        "vmul.i32 q2, q2, q3",
        "vrshl.s32 q2, q2, q1",
        "vstrh.32 q2, [r3], #8",
        "letp lr, 2b",
        "mov r0, r4",
        "vpop {{d8-d11}}",
        "pop {{r4-r8, pc}}",
    )
}
