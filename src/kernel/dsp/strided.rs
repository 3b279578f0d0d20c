//! Products of row-major matrices, rows at a stride: what the cache of attention holds.
//!
//! [`rows3`] takes three rows and eight columns a step: 3 LDRD, 1 LDM, 12 SXTB16 and 12 SMLAD for 24
//! multiply-accumulates, 28 / 24 = 1.17 instructions each, which is what 14 registers allow: three row pointers, three
//! accumulators, the input pointer, four input words, two weight words, one scratch register.

use super::super::rows;
use core::arch::naked_asm;

/// Every group of four (x0, x1, x2, x3) becomes (x0, x2, x1, x3).
#[inline(never)]
pub fn arrange(x: &mut [i16]) {
    for group in x.as_chunks_mut::<4>().0 {
        group.swap(1, 2);
    }
}

/// See [`super::super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let columns = x.len();
    if columns == 0 {
        return y.fill(0);
    }
    let rows = rows::at_most(y.len(), weights.len(), stride, columns);
    let bits = weights.as_ptr().addr() | x.as_ptr().addr() | columns | stride;
    if !bits.is_multiple_of(4) {
        return unaligned(weights, stride, x, y);
    }
    let (w, x, y) = (weights.as_ptr(), x.as_ptr(), y.as_mut_ptr());
    let (blocks, rest) = (rows / 3, rows % 3);
    let done = rows - rest;
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `weights` holds `rows`
    // rows of `columns` bytes, `stride` apart, `x` columns elements and `y` rows sums, and rows3 and row1 touch
    // nothing else. `weights` and `x` start at multiples of four bytes, and columns and stride are multiples of 4 and
    // not 0, so every row starts at one, too.
    unsafe {
        if blocks > 0 {
            rows3(w, x, y, columns, stride, blocks);
        }
        if rest > 0 {
            row1(w.add(done * stride), x, y.add(done), columns, stride, rest);
        }
    }
}

/// The same product for slices that LDRD cannot read, and for columns that are no multiple of four.
#[cold]
fn unaligned(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let arranged = x.len() / 4 * 4;
    for (row, y) in rows::rows(weights, stride, x.len()).zip(y) {
        let mut sum = 0i32;
        for (column, &w) in row.iter().enumerate() {
            let place = match column % 4 {
                1 if column < arranged => column + 1,
                2 if column < arranged => column - 1,
                _ => column,
            };
            let x = x.get(place).map_or(0, |&x| i32::from(x));
            sum = sum.wrapping_add(i32::from(w) * x);
            crate::shift::keep_rolled();
        }
        *y = sum;
    }
}

/// Eight columns of one row: weights at `$pointer`, which moves on, and the input words in r10, r11, r12, lr.
macro_rules! row_by_8 {
    ($pointer:literal, $accumulator:literal) => {
        concat!(
            "ldrd r7, r8, [",
            $pointer,
            "], #8\n",
            "sxtb16 r9, r7\n",
            "smlad ",
            $accumulator,
            ", r9, r10, ",
            $accumulator,
            "\n",
            "sxtb16 r7, r7, ror #8\n",
            "smlad ",
            $accumulator,
            ", r7, r11, ",
            $accumulator,
            "\n",
            "sxtb16 r9, r8\n",
            "smlad ",
            $accumulator,
            ", r9, r12, ",
            $accumulator,
            "\n",
            "sxtb16 r8, r8, ror #8\n",
            "smlad ",
            $accumulator,
            ", r8, lr, ",
            $accumulator,
            "\n",
        )
    };
}

/// Four columns of one row, with the input words in r10 and r11.
macro_rules! row_by_4 {
    ($pointer:literal, $accumulator:literal) => {
        concat!(
            "ldr r7, [",
            $pointer,
            "], #4\n",
            "sxtb16 r9, r7\n",
            "smlad ",
            $accumulator,
            ", r9, r10, ",
            $accumulator,
            "\n",
            "sxtb16 r7, r7, ror #8\n",
            "smlad ",
            $accumulator,
            ", r7, r11, ",
            $accumulator,
            "\n",
        )
    };
}

/// Eight columns of three rows: 28 instructions of four bytes.
macro_rules! rows3_by_8 {
    () => {
        concat!(
            "ldmia r3!, {{r10, r11, r12, lr}}\n",
            row_by_8!("r0", "r4"),
            row_by_8!("r1", "r5"),
            row_by_8!("r2", "r6"),
        )
    };
}

/// `blocks` times three rows.
///
/// # Safety
/// `weights` points to 3 * blocks rows of `columns` bytes, `stride` bytes apart, `x` to `columns` arranged elements;
/// `y` has room for 3 * blocks sums. Both inputs start at multiples of four bytes; columns and stride are multiples
/// of 4; blocks and columns are not 0.
#[unsafe(naked)]
unsafe extern "C" fn rows3(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    columns: usize,
    stride: usize,
    blocks: usize,
) {
    // r0, r1, r2: rows; r3: input; r4, r5, r6: sums; r7, r8: weights; r9: scratch; r10, r11, r12, lr: input words.
    // The frame: 0 input, 4 8 12 zeros, 16 where a block begins, 20 stride, 24 from a row's end to the next row, 28 input
    // end, 32 where groups of 8 columns begin, 36 y, 40 blocks left
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r7, r8, [sp, #36]",
        "sub sp, #44",
        "movs r4, #0",
        "strd r1, r4, [sp]",
        "strd r4, r4, [sp, #8]",
        "sub r9, r7, r3",
        "strd r7, r9, [sp, #20]",
        "strd r2, r8, [sp, #36]",
        "add r5, r1, r3, lsl #1",
        "sub r2, r0, r9",
        // columns / 8 groups; all but a multiple of four of them in the first round
        "lsrs r6, r3, #3",
        "ite ne",
        "adrne r7, 3f",
        "adreq r7, 4f",
        "rsb r6, r6, #0",
        "and r6, r6, #3",
        "mov r8, #112",
        "mla r7, r6, r8, r7",
        "orr r7, r7, #1",
        "strd r5, r7, [sp, #28]",
        "lsls r6, r3, #29",
        "it ne",
        "adrne r7, 5f",
        "orr r7, r7, #1",
        "str r7, [sp, #16]",
        // a block of three rows, the first of them after the last row of the block before
        "2:",
        "ldrd r7, r8, [sp, #20]",
        "add r0, r2, r8",
        "add r1, r0, r7",
        "add r2, r1, r7",
        "ldmia sp, {{r3, r4, r5, r6, pc}}",
        ".balign 4",
        "3:",
        rows3_by_8!(),
        rows3_by_8!(),
        rows3_by_8!(),
        rows3_by_8!(),
        "ldr r9, [sp, #28]",
        "cmp r3, r9",
        "bne 3b",
        ".balign 4",
        "4:",
        "ldrd r7, r8, [sp, #36]",
        "stmia r7!, {{r4-r6}}",
        "subs r8, #1",
        "strd r7, r8, [sp, #36]",
        "bne 2b",
        "add sp, #44",
        "pop {{r4-r11, pc}}",
        // four columns come before the groups of 8
        ".balign 4",
        "5:",
        "ldrd r10, r11, [r3], #8",
        row_by_4!("r0", "r4"),
        row_by_4!("r1", "r5"),
        row_by_4!("r2", "r6"),
        "ldr pc, [sp, #32]",
    )
}

/// `rows` rows, one at a time.
///
/// # Safety
/// As for [`rows3`], with `rows` rows.
#[unsafe(naked)]
unsafe extern "C" fn row1(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    columns: usize,
    stride: usize,
    rows: usize,
) {
    // r0: row; r1: input's start; r2: y; r3: input; r4: sum; r5: input end in groups of 8; r6: input end; the rest as
    // in rows3. The last arguments on the stack become: 36 from a row's end to the next row, 40 rows left
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldr r7, [sp, #36]",
        "sub r7, r7, r3",
        "str r7, [sp, #36]",
        "bic r5, r3, #7",
        "add r5, r1, r5, lsl #1",
        "add r6, r1, r3, lsl #1",
        "2:",
        "mov r3, r1",
        "movs r4, #0",
        "cmp r3, r5",
        "beq 4f",
        "3:",
        "ldmia r3!, {{r10, r11, r12, lr}}",
        row_by_8!("r0", "r4"),
        "cmp r3, r5",
        "bne 3b",
        "4:",
        "cmp r3, r6",
        "beq 5f",
        "ldrd r10, r11, [r3], #8",
        row_by_4!("r0", "r4"),
        "5:",
        "str r4, [r2], #4",
        "ldrd r7, r8, [sp, #36]",
        "add r0, r0, r7",
        "subs r8, #1",
        "str r8, [sp, #40]",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}
