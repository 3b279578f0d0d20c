//! Kernels for the DSP extension of Armv7E-M and Armv8-M Mainline: Cortex-M4, M7, M33, M35P.
//!
//! SMLAD adds two 16 x 16 products to an accumulator, and SXTB16 widens bytes 0 and 2 of a word (after ROR #8, bytes
//! 1 and 3) to the halves of another. So a word of four weights meets the input as the words (x0, x2) and (x1, x3):
//! [`arrange`] stores it that way, once per vector instead of once per row.
//!
//! [`rows3`] takes three rows and eight columns a step: 3 LDRD, 1 LDM, 12 SXTB16 and 12 SMLAD for 24
//! multiply-accumulates, 28 / 24 = 1.17 instructions each, which is what 14 registers allow: three row pointers, three
//! accumulators, the input pointer, four input words, two weight words, one scratch register.

use core::arch::naked_asm;

/// The kernels' name.
pub const NAME: &str = "armv7em-dsp";

/// Every group of four (x0, x1, x2, x3) becomes (x0, x2, x1, x3).
pub fn arrange(x: &mut [i16]) {
    for group in x.as_chunks_mut::<4>().0 {
        group.swap(1, 2);
    }
}

/// See [`super::matvec`].
pub fn matvec(weights: &[i8], x: &[i16], y: &mut [i32]) {
    let columns = x.len();
    if columns == 0 {
        return y.fill(0);
    }
    let bits = weights.as_ptr().addr() | x.as_ptr().addr() | columns;
    if !bits.is_multiple_of(4) {
        return unaligned(weights, x, y);
    }
    let rows = (weights.len() / columns).min(y.len());
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `weights` holds rows * columns
    // bytes, `x` columns elements and `y` rows sums, and rows3 and row1 touch nothing else. `weights` and `x` start at
    // multiples of four bytes, and columns is a multiple of 4 and not 0, so every row starts at one, too.
    unsafe {
        let (blocks, rest) = (rows / 3, rows % 3);
        if blocks > 0 {
            rows3(
                weights.as_ptr(),
                x.as_ptr(),
                y.as_mut_ptr(),
                columns,
                blocks,
            );
        }
        if rest > 0 {
            let done = rows - rest;
            row1(
                weights.as_ptr().add(done * columns),
                x.as_ptr(),
                y.as_mut_ptr().add(done),
                columns,
                rest,
            );
        }
    }
}

/// The same product for slices that LDRD cannot read, and for columns that are no multiple of four.
#[cold]
fn unaligned(weights: &[i8], x: &[i16], y: &mut [i32]) {
    let arranged = x.len() / 4 * 4;
    for (row, y) in weights.chunks_exact(x.len()).zip(y) {
        let mut sum = 0i32;
        for (column, &w) in row.iter().enumerate() {
            let place = match column % 4 {
                1 if column < arranged => column + 1,
                2 if column < arranged => column - 1,
                _ => column,
            };
            let x = x.get(place).map_or(0, |&x| i32::from(x));
            sum = sum.wrapping_add(i32::from(w) * x);
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

/// Eight columns of three rows.
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
/// `weights` points to 3 * blocks * columns bytes, `x` to `columns` arranged elements, both word-aligned; `y` has
/// room for 3 * blocks sums; columns is a multiple of 4; blocks and columns are not 0.
#[unsafe(naked)]
unsafe extern "C" fn rows3(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    columns: usize,
    blocks: usize,
) {
    // r0, r1, r2: rows; r3: input; r4, r5, r6: sums; r7, r8: weights; r9: scratch; r10, r11, r12, lr: input words.
    // The frame, whose first six words one LDM brings back at the start of a block:
    //   0 input, 4 8 12 zeros, 16 columns, 20 input end in groups of 32, 24 in groups of 8, 28 at all, 32 y, 36 blocks
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r8, [sp, #36]",
        "sub sp, #44",
        "movs r4, #0",
        "strd r1, r4, [sp]",
        "strd r4, r4, [sp, #8]",
        "bic r5, r3, #31",
        "add r5, r1, r5, lsl #1",
        "strd r3, r5, [sp, #16]",
        "bic r5, r3, #7",
        "add r5, r1, r5, lsl #1",
        "add r6, r1, r3, lsl #1",
        "strd r5, r6, [sp, #24]",
        "strd r2, r8, [sp, #32]",
        // a block of three rows
        "2:",
        "ldmia sp, {{r3-r8}}",
        "add r1, r0, r7",
        "add r2, r1, r7",
        "cmp r3, r8",
        "beq 5f",
        // 32 columns
        ".balign 4",
        "3:",
        rows3_by_8!(),
        rows3_by_8!(),
        rows3_by_8!(),
        rows3_by_8!(),
        "ldr r9, [sp, #20]",
        "cmp r3, r9",
        "bne 3b",
        "ldr r9, [sp, #28]",
        "cmp r3, r9",
        "bne 5f",
        // the third row's end is the next block's start
        "4:",
        "ldrd r7, r8, [sp, #32]",
        "stmia r7!, {{r4-r6}}",
        "mov r0, r2",
        "subs r8, #1",
        "strd r7, r8, [sp, #32]",
        "bne 2b",
        "add sp, #44",
        "pop {{r4-r11, pc}}",
        // what is left of a row after the groups of 32: first groups of 8, then one of 4
        "5:",
        "ldr r9, [sp, #24]",
        "cmp r3, r9",
        "beq 7f",
        "6:",
        rows3_by_8!(),
        "ldr r9, [sp, #24]",
        "cmp r3, r9",
        "bne 6b",
        "ldr r9, [sp, #28]",
        "cmp r3, r9",
        "beq 4b",
        "7:",
        "ldrd r10, r11, [r3], #8",
        row_by_4!("r0", "r4"),
        row_by_4!("r1", "r5"),
        row_by_4!("r2", "r6"),
        "b 4b",
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
    rows: usize,
) {
    // r0: row; r1: input's start; r2: y; r3: input; r4: sum; r5: input end in groups of 8; r6: input end; the rest as in rows3
    naked_asm!(
        "push {{r4-r11, lr}}",
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
        "ldr r7, [sp, #36]",
        "subs r7, #1",
        "str r7, [sp, #36]",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}
