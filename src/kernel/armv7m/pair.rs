//! Products of a matrix with two vectors at once, eight rows at a time: eight sums in registers, two for each of four rows.
//!
//! An address is a register plus another one shifted, so that one pointer and the stride reach the rows 0, 1, 2 and 4;
//! from the last row upwards, with the stride negated, they reach 7, 6, 5 and 3: eight rows without any other pointer.

use crate::kernel::{attention, rows};
use core::arch::naked_asm;

/// See [`attention::arrange_pair`].
pub fn arrange_pair(a: &[i16], b: &[i16], pair: &mut [i16]) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let (pair, _) = pair.as_chunks_mut::<8>();
    let fours = a.len().min(b.len()).min(pair.len());
    if fours > 0 {
        // SAFETY: `a` and `b` have so many groups of four, `pair` of eight.
        unsafe { arrange_pair4(a.as_ptr(), b.as_ptr(), pair.as_mut_ptr(), fours) }
    }
    if !a_rest.is_empty() {
        attention::arrange_pair(a_rest, b_rest, pair.get_mut(fours..).unwrap_or_default().as_flattened_mut());
    }
}

/// # Safety
/// `a` and `b` point to `fours` groups, more than none, `pair` to room for as many. They may start at any element: LDR and
/// STR do not mind.
#[unsafe(naked)]
unsafe extern "C" fn arrange_pair4(
    a: *const [i16; 4],
    b: *const [i16; 4],
    pair: *mut [i16; 8],
    fours: usize,
) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "2:",
        "ldr r4, [r0], #4",
        "ldr r5, [r0], #4",
        "ldr r6, [r1], #4",
        "ldr r7, [r1], #4",
        "lsr r12, r4, #16",
        "lsr lr, r6, #16",
        "bfi r4, r5, #16, #16",
        "bfi r6, r7, #16, #16",
        "bfi r5, r12, #0, #16",
        "bfi r7, lr, #0, #16",
        "str r4, [r2], #4",
        "str r6, [r2], #4",
        "str r5, [r2], #4",
        "str r7, [r2], #4",
        "subs r3, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`attention::product_pair`].
pub fn product_pair(weights: &[i8], stride: usize, columns: usize, pair: &[i16], y: &mut [i32]) {
    let len = rows::at_most(y.len() / 2, weights.len(), stride, columns);
    let groups = columns / 4;
    if len < 8 || groups == 0 || !columns.is_multiple_of(4) || pair.len() < 8 * groups {
        return attention::product_pair(weights, stride, columns, pair, y);
    }
    let (weights, pair, y, blocks) = (weights.as_ptr(), pair.as_ptr(), y.as_mut_ptr(), len / 8);
    // SAFETY: there are `len` rows and room for as many pairs of sums, and `pair` holds so many groups. The last block ends
    // with the last row: what it has in common with the one before is computed twice.
    unsafe {
        product8(weights, stride, pair, groups, y, blocks);
        if !len.is_multiple_of(8) {
            product8(weights.add((len - 8) * stride), stride, pair, groups, y.add(2 * (len - 8)), 1);
        }
    }
}

/// A weight, times both inputs.
macro_rules! weight {
    ($a:literal, $b:literal, $address:literal) => {
        concat!(
            "ldrsb lr, ",
            $address,
            "\n mla ",
            $a,
            ", lr, r3, ",
            $a,
            "\n mla ",
            $b,
            ", lr, r12, ",
            $b,
            "\n"
        )
    };
}

/// A column of four rows: 14 instructions for 8 products. `$first` and `$second` are where the inputs are.
macro_rules! column {
    ($first:literal, $second:literal) => {
        concat!(
            "ldrsh r3, ",
            $first,
            "\n ldrsh r12, ",
            $second,
            "\n",
            weight!("r6", "r7", "[r0, r2]"),
            weight!("r8", "r9", "[r0, r2, lsl #1]"),
            weight!("r10", "r11", "[r0, r2, lsl #2]"),
            weight!("r4", "r5", "[r0], #1"),
        )
    };
}

/// All columns of four rows: r0 is at the first one, r2 the stride. r1 is two bytes before the inputs, so that the last
/// load of a group can move it on.
macro_rules! four_rows {
    () => {
        concat!(
            "ldr r1, [sp, #4]\n",
            "movs r4, #0\n movs r5, #0\n movs r6, #0\n movs r7, #0\n",
            "mov r8, r4\n mov r9, r4\n mov r10, r4\n mov r11, r4\n",
            "3:\n",
            column!("[r1, #2]", "[r1, #6]"),
            column!("[r1, #10]", "[r1, #14]"),
            column!("[r1, #4]", "[r1, #8]"),
            column!("[r1, #12]", "[r1, #16]!"),
            "ldr lr, [sp]\n cmp r1, lr\n bne 3b\n",
        )
    };
}

/// # Safety
/// `weights` points to 8 * blocks rows of 4 * groups elements, `stride` apart, `pair` to 8 * groups inputs in the order of
/// `arrange_pair`, `y` to room for 16 * blocks sums. Groups and blocks are not 0.
#[unsafe(naked)]
unsafe extern "C" fn product8(
    weights: *const i8,
    stride: usize,
    pair: *const i16,
    groups: usize,
    y: *mut i32,
    blocks: usize,
) {
    // r0: row; r1: inputs; r2: stride or its negative; r3, r12: inputs; r4 to r11: sums; lr: weight.
    // The frame: 0 inputs' end, 4 inputs, 8 stride, 12 row 0; on the caller's: 52 y, 56 blocks left
    naked_asm!(
        "push {{r4-r11, lr}}",
        "sub sp, #16",
        "subs r2, #2",
        "add r3, r2, r3, lsl #4",
        "strd r3, r2, [sp]",
        "strd r1, r0, [sp, #8]",
        "2:",
        "ldrd r2, r0, [sp, #8]",
        four_rows!(),
        "ldr r1, [sp, #52]",
        "strd r4, r5, [r1]",
        "strd r6, r7, [r1, #8]",
        "strd r8, r9, [r1, #16]",
        "strd r10, r11, [r1, #32]",
        "ldrd r2, r0, [sp, #8]",
        "add r0, r0, r2, lsl #3",
        "str r0, [sp, #12]",
        "subs r0, r0, r2",
        "negs r2, r2",
        four_rows!(),
        "ldr r1, [sp, #52]",
        "strd r10, r11, [r1, #24]",
        "strd r8, r9, [r1, #40]",
        "strd r6, r7, [r1, #48]",
        "strd r4, r5, [r1, #56]",
        "adds r1, #64",
        "ldr r2, [sp, #56]",
        "subs r2, #1",
        "strd r1, r2, [sp, #52]",
        "bne 2b",
        "add sp, #16",
        "pop {{r4-r11, pc}}",
    )
}
