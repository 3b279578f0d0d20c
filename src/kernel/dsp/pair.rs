//! Products of row-major matrices with two vectors at once: two query heads that share keys and values.
//!
//! A word of weights is loaded and widened once for both vectors. Two rows and four columns a step, 15 instructions for
//! 16 multiply-accumulates: two rows and two vectors are four sums, which with four words of the vectors is what 14
//! registers allow.

use super::super::rows;
use crate::shift::keep_rolled;
use core::arch::naked_asm;

/// Puts two vectors of the same length into the order in which [`product_pair`] wants them: of every group of four
/// elements of `a` and `b`, (a0, a2, b0, b2, a1, a3, b1, b3).
///
/// `pair` holds twice as many elements, in whole groups of eight; what the vectors lack counts as 0.
pub fn arrange_pair(a: &[i16], b: &[i16], pair: &mut [i16]) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let (pair, _) = pair.as_chunks_mut::<8>();
    let fours = a.len().min(b.len()).min(pair.len());
    if fours > 0 {
        // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `a` and `b` have so many
        // groups of four, `pair` of eight.
        unsafe { arrange4(a.as_ptr(), b.as_ptr(), pair.as_mut_ptr(), fours) }
    }
    if !a_rest.is_empty()
        && let Some(pair) = pair.get_mut(fours)
    {
        let (mut a, mut b) = ([0; 4], [0; 4]);
        for ((a, b), (&a_rest, &b_rest)) in a.iter_mut().zip(&mut b).zip(a_rest.iter().zip(b_rest)) {
            (*a, *b) = (a_rest, b_rest);
        }
        *pair = [a[0], a[2], b[0], b[2], a[1], a[3], b[1], b[3]];
    }
}

/// # Safety
/// `a` and `b` point to `fours` groups, more than none, `pair` to room for as many. They may start at any element: LDR and
/// STR do not mind.
#[unsafe(naked)]
unsafe extern "C" fn arrange4(a: *const [i16; 4], b: *const [i16; 4], pair: *mut [i16; 8], fours: usize) {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r8, lr}}",
        "2:",
        "ldr r5, [r0, #4]",
        "ldr r4, [r0], #8",
        "ldr r7, [r1, #4]",
        "ldr r6, [r1], #8",
        "pkhbt r8, r4, r5, lsl #16",
        "pkhtb r4, r5, r4, asr #16",
        "pkhbt r12, r6, r7, lsl #16",
        "pkhtb r6, r7, r6, asr #16",
        "str r12, [r2, #4]",
        "str r4, [r2, #8]",
        "str r6, [r2, #12]",
        "str r8, [r2], #16",
        "subs r3, #1",
        "bne 2b",
        "pop {{r4-r8, pc}}",
    )
}

/// Multiplies a matrix by two vectors: `y[2 * row]` becomes the sum over `column` of `weights[row * stride + column] *
/// a[column]`, `y[2 * row + 1]` that with `b`.
///
/// - `weights`: rows of `columns` elements, `stride` apart; the last one may end before a whole stride
/// - `pair`: `a` and `b`, as [`arrange_pair`] makes them
/// - `y`: two sums for each row
///
/// Where `weights` has fewer whole rows than `y` has pairs, the other elements stay as they are; where `pair` is too
/// short, all of them. The fast path needs `weights` and `pair` at multiples of four bytes and multiples of four columns
/// and of four for the stride.
pub fn product_pair(weights: &[i8], stride: usize, columns: usize, pair: &[i16], y: &mut [i32]) {
    if columns == 0 {
        return y.fill(0);
    }
    let (groups, _) = pair.as_chunks::<8>();
    if groups.len() < columns.div_ceil(4) {
        return;
    }
    let rows = rows::at_most(y.len() / 2, weights.len(), stride, columns);
    let bits = weights.as_ptr().addr() | pair.as_ptr().addr() | columns | stride;
    if !bits.is_multiple_of(4) {
        return singly(weights, stride, columns, groups, y);
    }
    let (blocks, odd) = (rows / 2, rows % 2 == 1);
    let (w, x) = (weights.as_ptr(), pair.as_ptr());
    if blocks > 0 {
        // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `weights` holds `rows`
        // rows of `columns` bytes, `stride` apart, `pair` 2 * columns elements and `y` 2 * rows sums. `weights` and
        // `pair` start at multiples of four bytes, and so does every row; columns and blocks are not 0.
        unsafe { rows2(w, x, y.as_mut_ptr(), columns, stride, blocks) }
    }
    if odd
        && let Some(row) = weights.get(2 * blocks * stride..)
        && let Some(y) = y.get_mut(4 * blocks..4 * blocks + 2)
    {
        let mut sums = [0; 4];
        // SAFETY: as above, for one row, which is both rows of the block.
        unsafe { rows2(row.as_ptr(), x, sums.as_mut_ptr(), columns, 0, 1) }
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = sum;
        }
    }
}

/// The same product for slices that LDM cannot read.
#[cold]
fn singly(weights: &[i8], stride: usize, columns: usize, groups: &[[i16; 8]], y: &mut [i32]) {
    let (y, _) = y.as_chunks_mut::<2>();
    for (row, y) in rows::rows(weights, stride, columns).zip(y) {
        *y = [0; 2];
        for (weights, [a0, a2, b0, b2, a1, a3, b1, b3]) in row.chunks(4).zip(groups) {
            let of_both = [[a0, a1, a2, a3], [b0, b1, b2, b3]];
            for (y, x) in y.iter_mut().zip(of_both) {
                for (&weight, x) in weights.iter().zip(x) {
                    *y = y.wrapping_add(i32::from(weight) * i32::from(*x));
                    keep_rolled();
                }
            }
        }
    }
}

/// Four columns of one row: `$load` brings them to r11.
macro_rules! row {
    ($load:literal, $a:literal, $b:literal) => {
        concat!(
            $load,
            "\n",
            "sxtb16 lr, r11\n",
            "smlad ",
            $a,
            ", lr, r7, ",
            $a,
            "\n",
            "smlad ",
            $b,
            ", lr, r8, ",
            $b,
            "\n",
            "sxtb16 r11, r11, ror #8\n",
            "smlad ",
            $a,
            ", r11, r9, ",
            $a,
            "\n",
            "smlad ",
            $b,
            ", r11, r10, ",
            $b,
            "\n",
        )
    };
}

/// Four columns of two rows: 15 instructions of four bytes.
macro_rules! rows2_by_4 {
    () => {
        concat!(
            "ldmia r1!, {{r7, r8, r9, r10}}\n",
            row!("ldr r11, [r0, r2]", "r5", "r6"),
            row!("ldr r11, [r0], #4", "r3", "r4"),
        )
    };
}

/// `blocks` times two rows.
///
/// # Safety
/// `weights` points to 2 * blocks rows of `columns` bytes, `stride` bytes apart, `pair` to 2 * columns elements; `y` has
/// room for 4 * blocks sums. Both inputs start at multiples of four bytes; columns and stride are multiples of 4;
/// blocks and columns are not 0.
#[unsafe(naked)]
unsafe extern "C" fn rows2(
    weights: *const i8,
    pair: *const i16,
    y: *mut i32,
    columns: usize,
    stride: usize,
    blocks: usize,
) {
    // r0: row; r1: pair; r2: stride; r3 to r6: sums; r7 to r10: words of both vectors; r11: weights; r12: pair's end;
    // lr: scratch. The frame: 0 pair, 4 8 12 16 zeros, 20 pair's end, 24 where a block begins, 28 y, 32 blocks left,
    // 36 from a row's end to the next block
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r7, r8, [sp, #36]",
        "sub sp, #44",
        "strd r2, r8, [sp, #28]",
        "mov r2, r7",
        "rsb r7, r3, r7, lsl #1",
        "str r7, [sp, #36]",
        "movs r4, #0",
        "strd r1, r4, [sp]",
        "strd r4, r4, [sp, #8]",
        "add r5, r1, r3, lsl #2",
        "strd r4, r5, [sp, #16]",
        // all but a multiple of four groups of four columns in the first round
        "rsb r6, r3, #0",
        "ubfx r6, r6, #2, #2",
        "adr r7, 3f",
        "movs r5, #60",
        "mla r7, r6, r5, r7",
        "orr r7, r7, #1",
        "str r7, [sp, #24]",
        "2:",
        "ldmia sp, {{r1, r3, r4, r5, r6, r12, pc}}",
        ".balign 4",
        "3:",
        rows2_by_4!(),
        rows2_by_4!(),
        rows2_by_4!(),
        rows2_by_4!(),
        "cmp r1, r12",
        "bne 3b",
        "ldrd r7, r8, [sp, #28]",
        "ldr r9, [sp, #36]",
        "stmia r7!, {{r3, r4, r5, r6}}",
        "add r0, r0, r9",
        "subs r8, #1",
        "strd r7, r8, [sp, #28]",
        "bne 2b",
        "add sp, #44",
        "pop {{r4-r11, pc}}",
    )
}
