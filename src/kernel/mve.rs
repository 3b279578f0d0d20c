//! Kernels for Helium, the vector extension of Armv8.1-M Mainline: Cortex-M52, M55, M85.
//!
//! VLDRB widens eight weights to 16 bits and VMLAVA adds their eight products with the input to an accumulator; four
//! rows a step share the input. The low-overhead loop (DLSTP, LETP) switches off the lanes after the last column.

use super::rows;
use core::arch::naked_asm;

/// The kernels' name.
pub const NAME: &str = "armv81m-mve";

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let columns = x.len();
    if columns == 0 {
        return y.fill(0);
    }
    let rows = rows::count(weights.len(), stride, columns).min(y.len());
    let (blocks, rest) = (rows / 4, rows % 4);
    let (w, x, y) = (weights.as_ptr(), x.as_ptr(), y.as_mut_ptr());
    let done = rows - rest;
    // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. `weights` holds `rows`
    // rows of `columns` bytes, `stride` apart, `x` columns elements and `y` rows sums, and rows4 and row1 touch
    // nothing else. columns is not 0.
    unsafe {
        if blocks > 0 {
            rows4(w, x, y, columns, stride, blocks);
        }
        if rest > 0 {
            row1(w.add(done * stride), x, y.add(done), columns, stride, rest);
        }
    }
}

/// `blocks` times four rows.
///
/// # Safety
/// `weights` points to 4 * blocks rows of `columns` bytes, `stride` bytes apart, `x` to `columns` elements; `y` has
/// room for 4 * blocks sums; blocks and columns are not 0.
#[unsafe(naked)]
unsafe extern "C" fn rows4(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    columns: usize,
    stride: usize,
    blocks: usize,
) {
    // r0, r5, r7, r1: rows (VLDRB wants low registers); r3: input; r4, r6, r8, r10: sums (VMLAVA wants even ones);
    // r9: input's start; r11: columns; r12: blocks left. The frame: 0 from where a row's pointer ends, after columns
    // rounded up to a multiple of 8, to the next row; 4 stride
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "ldrd r5, r12, [sp, #36]",
        "mov r9, r1",
        "mov r11, r3",
        "add r4, r3, #7",
        "bic r4, r4, #7",
        "sub r4, r5, r4",
        "push {{r4, r5}}",
        "2:",
        "ldr r3, [sp, #4]",
        "add r5, r0, r3",
        "add r7, r5, r3",
        "add r1, r7, r3",
        "mov r3, r9",
        "movs r4, #0",
        "movs r6, #0",
        "mov r8, #0",
        "mov r10, #0",
        "dlstp.16 lr, r11",
        "3:",
        "vldrh.u16 q0, [r3], #16",
        "vldrb.s16 q1, [r0], #8",
        "vmlava.s16 r4, q0, q1",
        "vldrb.s16 q1, [r5], #8",
        "vmlava.s16 r6, q0, q1",
        "vldrb.s16 q1, [r7], #8",
        "vmlava.s16 r8, q0, q1",
        "vldrb.s16 q1, [r1], #8",
        "vmlava.s16 r10, q0, q1",
        "letp lr, 3b",
        "ldr r3, [sp]",
        "add r0, r1, r3",
        "stmia r2!, {{r4, r6, r8, r10}}",
        "subs r12, #1",
        "bne 2b",
        "add sp, #8",
        "pop {{r4-r11, pc}}",
    )
}

/// `rows` rows, one at a time.
///
/// # Safety
/// As for [`rows4`], with `rows` rows.
#[unsafe(naked)]
unsafe extern "C" fn row1(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    columns: usize,
    stride: usize,
    rows: usize,
) {
    // r4: sum; r5: row; r6: input; r7: stride; r12: rows left
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r7, lr}}",
        "ldrd r7, r12, [sp, #20]",
        "2:",
        "mov r5, r0",
        "mov r6, r1",
        "movs r4, #0",
        "dlstp.16 lr, r3",
        "3:",
        "vldrh.u16 q0, [r6], #16",
        "vldrb.s16 q1, [r5], #8",
        "vmlava.s16 r4, q0, q1",
        "letp lr, 3b",
        "add r0, r0, r7",
        "str r4, [r2], #4",
        "subs r12, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}
