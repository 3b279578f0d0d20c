//! Softmax: scores to base two, and their powers as weights.

use crate::kernel::attention::{FRACTION, widen};
use core::arch::naked_asm;

/// Dot products of keys to scores, see [`attention::scores`](crate::kernel::attention::scores); returns the largest.
pub fn to_base_two(scores: &mut [i32], z: &[u8], narrowing: u32, base: u32) -> i32 {
    let len = scores.len().min(z.len());
    if len == 0 {
        return i32::MIN;
    }
    let skip = len.wrapping_neg() & 3;
    let (y, z) = (scores.as_mut_ptr(), z.as_ptr().wrapping_sub(skip));
    let end = y.wrapping_add(len);
    let y = y.wrapping_sub(skip);
    // SAFETY: there are so many scores and bytes, more than none; the first round begins where they do.
    unsafe {
        match narrowing {
            0 => scores_of_short_heads(y, z, base, end, skip, 0),
            _ => scores_of_long_heads(y, z, base, end, skip, narrowing),
        }
    }
}

/// A score at `$at`, whose byte is at `$z`: 24 bytes of code, and those of `$narrow`, which rounds the dot product in r7.
/// `$beyond` is where a new largest one is kept, and `$back` where that leads back to.
macro_rules! score {
    ($narrow:literal, $at:literal, $z:literal, $beyond:literal, $back:literal) => {
        concat!(
            "ldr r7, [r0, #",
            $at,
            "]\n",
            $narrow,
            "\n ldrb r5, [r1, #",
            $z,
            "]\n lsrs r6, r5, #4\n subs r6, r2, r6\n ands r5, r3\n",
            // The carry is 0 from here on, where the shift is by 0.
            "adds r5, #16\n muls r7, r5, r7\n asrs r7, r6\n adcs r7, r4\n str r7, [r0, #",
            $at,
            "]\n cmp r7, r8\n bgt ",
            $beyond,
            "f\n ",
            $back,
            ":\n",
        )
    };
}

/// Keeps a new largest score.
macro_rules! keep {
    ($beyond:literal, $back:literal) => {
        concat!($beyond, ": mov r8, r7\n b ", $back, "b\n")
    };
}

/// Defines the loop over scores, whose dot products `$narrow` rounds, with `$size` bytes of code for each.
macro_rules! scores {
    ($name:ident, $narrow:literal, $size:literal) => {
        /// # Safety
        /// `y` and `z` point to `skip` before scores, up to `end`, and as many bytes, in whole groups of four, more than
        /// none.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            y: *mut i32,
            z: *const u8,
            base: u32,
            end: *mut i32,
            skip: usize,
            narrowing: u32,
        ) -> i32 {
            // r0: scores; r1: z; r2: base; r3: 15; r4: 0; r5: mantissa; r6: shift; r7: score; r8: the largest; r9: end;
            // r10: narrowing. The arguments on the stack are at 32
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "push {{r4-r6}}",
                "mov r9, r3",
                "ldr r5, [sp, #36]",
                "mov r10, r5",
                "movs r5, #1",
                "lsls r5, r5, #31",
                "mov r8, r5",
                "ldr r5, [sp, #32]",
                concat!("movs r6, #", $size),
                "muls r5, r6, r5",
                "movs r3, #15",
                "movs r4, #0",
                "add pc, r5",
                "nop",
                "2:",
                score!($narrow, "0", "0", "62", "72"),
                score!($narrow, "4", "1", "63", "73"),
                score!($narrow, "8", "2", "64", "74"),
                score!($narrow, "12", "3", "65", "75"),
                "adds r0, #16",
                "adds r1, #4",
                "cmp r0, r9",
                "bne 2b",
                "mov r0, r8",
                "pop {{r4-r6}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "pop {{r4-r7, pc}}",
                keep!("62", "72"),
                keep!("63", "73"),
                keep!("64", "74"),
                keep!("65", "75"),
            )
        }
    };
}

scores!(scores_of_short_heads, "", "24");
scores!(scores_of_long_heads, "mov r5, r10\n asrs r7, r5\n adcs r7, r4", "30");

/// See [`attention::softmax`](crate::kernel::attention::softmax).
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
    let (weights, padding) = weights.split_at_mut(len);
    for weight in padding {
        *weight = 0;
    }
    if len == 0 {
        return 0;
    }
    let mut tops = [top];
    if fraction < FRACTION {
        widen(scores.get_mut(..len).unwrap_or_default(), &mut tops, fraction);
    }
    let skip = len.wrapping_neg() & 3;
    let pass = Softmax { exp, base, top: tops[0], end: scores.as_ptr().wrapping_add(len) };
    let (scores, z) = (scores.as_ptr(), z.as_ptr().wrapping_sub(skip));
    // SAFETY: scores, bytes and weights are so many, more than none; the first round begins where they do.
    unsafe { powers(scores, z, weights.as_mut_ptr().wrapping_sub(skip), &pass, skip) }
}

/// What [`powers`] keeps in registers.
#[repr(C)]
struct Softmax<'a> {
    exp: &'a [u16; 1024],
    base: u32,
    top: i32,
    end: *const i32,
}

/// A score to a weight at `$at`, its byte at `$z`: 44 bytes of code. Where the power is 0, `$far` goes back to `$near`.
macro_rules! weight {
    ($z:literal, $at:literal, $far:literal, $near:literal) => {
        concat!(
            "ldmia r0!, {{r5}}\n mov r6, r8\n subs r5, r6, r5\n lsrs r6, r5, #10\n cmp r6, #31\n bhi ",
            $far,
            "f\n lsls r5, r5, #22\n lsrs r5, r5, #21\n ldrh r5, [r3, r5]\n lsrs r5, r6\n add r9, r5\n ldrb r6, [r1, #",
            $z,
            "]\n lsls r7, r6, #28\n lsrs r7, r7, #28\n adds r7, #16\n lsrs r6, r6, #4\n subs r6, r4, r6\n",
            "muls r5, r7, r5\n lsrs r5, r6\n movs r7, #0\n adcs r5, r7\n ",
            $near,
            ": strh r5, [r2, #",
            $at,
            "]\n",
        )
    };
}

/// The weight of a power that is 0.
macro_rules! nothing {
    ($far:literal, $near:literal) => {
        concat!($far, ": movs r5, #0\n b ", $near, "b\n")
    };
}

/// # Safety
/// `scores` points to elements up to `pass.end`, more than none, and `z` and `weights` to `skip` before as many; with
/// `skip` they are whole groups of four.
#[unsafe(naked)]
unsafe extern "C" fn powers(
    scores: *const i32,
    z: *const u8,
    weights: *mut i16,
    pass: &Softmax<'_>,
    skip: usize,
) -> u32 {
    // r0: scores; r1: z; r2: weights; r3: the table; r4: base; r5: power; r6: shift; r7: mantissa; r8: top; r9: sum; r10:
    // end. The argument on the stack is at 32
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "push {{r4-r6}}",
        "ldmia r3!, {{r4-r7}}",
        "mov r8, r6",
        "mov r10, r7",
        "mov r3, r4",
        "mov r4, r5",
        "movs r5, #0",
        "mov r9, r5",
        "ldr r5, [sp, #32]",
        "movs r6, #44",
        "muls r5, r6, r5",
        "add pc, r5",
        "nop",
        "2:",
        weight!("0", "0", "62", "72"),
        weight!("1", "2", "63", "73"),
        weight!("2", "4", "64", "74"),
        weight!("3", "6", "65", "75"),
        "adds r1, #4",
        "adds r2, #8",
        "cmp r0, r10",
        "bne 2b",
        "mov r0, r9",
        "pop {{r4-r6}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "pop {{r4-r7, pc}}",
        nothing!("62", "72"),
        nothing!("63", "73"),
        nothing!("64", "74"),
        nothing!("65", "75"),
    )
}
