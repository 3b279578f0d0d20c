//! Products of queries and keys to scores, for two query heads that share keys and the work on their steps.
//!
//! Four scale bytes are taken apart at once, into a word of mantissas and one of shifts: a shift by a register takes its
//! lowest byte. The bit that it shifts out last is the carry, which ADC adds: rounded half up. A shift by 0 leaves the
//! carry as it is, so it is 0 before.

use super::super::{attention, in_every_byte};
use super::product_pair;
use crate::shift::round_shift;
use core::arch::naked_asm;

/// See [`attention::scores_pair`].
pub fn scores_pair(
    keys: &[i8],
    head_dim: usize,
    z: &[u8],
    pair: &[i16],
    (base, _): (u32, u32),
    scores: &mut [i32],
) -> [i32; 2] {
    let len = z.len().min(scores.len() / 2);
    let scores = scores.get_mut(..2 * len).unwrap_or_default();
    product_pair(keys, head_dim, head_dim, pair, scores);
    let narrowing = attention::narrowing(head_dim);
    if narrowing > 0 {
        for score in scores.iter_mut() {
            *score = round_shift(*score, narrowing);
        }
    }
    // SAFETY: `scores` has two elements for each of `len` bytes at `z`.
    let tops = unsafe { scale(scores.as_mut_ptr(), z.as_ptr(), in_every_byte(base), len & !3, len) };
    [tops as i32, (tops >> 32) as i32]
}

/// Two scores of one position: the mantissa in r7, the shift in the lowest byte of r6, the carry 0; `$out` and `$back` are
/// labels of the rare case, which `new_top` has.
#[rustfmt::skip]
macro_rules! position {
    ($a:literal, $b:literal, $labels:literal) => {
        concat!(
            "mul ", $a, ", ", $a, ", r7\n mul ", $b, ", ", $b, ", r7\n",
            "asrs ", $a, ", ", $a, ", r6\n adc ", $a, ", ", $a, ", #0\n",
            "asrs ", $b, ", ", $b, ", r6\n adc ", $b, ", ", $b, ", #0\n",
            "cmp ", $a, ", r3\n bgt 6", $labels, "f\n 7", $labels, ":\n",
            "cmp ", $b, ", r4\n bgt 8", $labels, "f\n 9", $labels, ":\n",
        )
    };
}

/// The rare case: new largest scores.
#[rustfmt::skip]
macro_rules! new_top {
    ($a:literal, $b:literal, $labels:literal) => {
        concat!(
            "6", $labels, ":\n mov r3, ", $a, "\n b 7", $labels, "b\n",
            "8", $labels, ":\n mov r4, ", $b, "\n b 9", $labels, "b\n",
        )
    };
}

/// Products to scores; returns the largest ones, the first in the lower half. `base` is in every byte.
///
/// # Safety
/// `dots` points to two products for each of the scale bytes at `z`, whose number is `len`; `fours` is `len` rounded down
/// to a multiple of four.
#[unsafe(naked)]
unsafe extern "C" fn scale(dots: *mut i32, z: *const u8, base: u32, fours: usize, len: usize) -> u64 {
    // r0: dots; r1: z, which LDR may find at any byte; r2: base; r3, r4: the largest; r5: mantissas; r6: shifts; r7: a
    // position's mantissa; r8 to r11: two positions; r12: end in groups of four; lr: end
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr lr, [sp, #36]",
        "add r12, r0, r3, lsl #3",
        "add lr, r0, lr, lsl #3",
        "mov r3, #0x80000000",
        "mov r4, r3",
        "cmp r0, r12",
        "beq 3f",
        "2:",
        "ldr r5, [r1], #4",
        "and r6, r5, #0xf0f0f0f0",
        "sub r6, r2, r6, lsr #4",
        "and r5, r5, #0x0f0f0f0f",
        "orr r5, r5, #0x10101010",
        "ldmia r0, {{r8-r11}}",
        "uxtb r7, r5",
        "cmn r7, r7",
        position!("r8", "r9", "0"),
        "uxtb r7, r5, ror #8",
        "lsrs r6, r6, #8",
        position!("r10", "r11", "1"),
        "stmia r0!, {{r8-r11}}",
        "ldmia r0, {{r8-r11}}",
        "uxtb r7, r5, ror #16",
        "lsrs r6, r6, #8",
        position!("r8", "r9", "2"),
        "lsrs r7, r5, #24",
        "lsrs r6, r6, #8",
        position!("r10", "r11", "3"),
        "stmia r0!, {{r8-r11}}",
        "cmp r0, r12",
        "bne 2b",
        "3:",
        "cmp r0, lr",
        "beq 5f",
        "4:",
        "ldrb r5, [r1], #1",
        "uxtb r6, r2",
        "sub r6, r6, r5, lsr #4",
        "and r7, r5, #15",
        "orr r7, r7, #16",
        "ldrd r8, r9, [r0]",
        "cmn r7, r7",
        position!("r8", "r9", "4"),
        "strd r8, r9, [r0], #8",
        "cmp r0, lr",
        "bne 4b",
        "5:",
        "mov r0, r3",
        "mov r1, r4",
        "pop {{r4-r11, pc}}",
        new_top!("r8", "r9", "0"),
        new_top!("r10", "r11", "1"),
        new_top!("r8", "r9", "2"),
        new_top!("r10", "r11", "3"),
        new_top!("r8", "r9", "4"),
    )
}
