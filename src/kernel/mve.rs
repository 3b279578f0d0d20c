//! Kernels for Helium, the vector extension of Armv8.1-M Mainline: Cortex-M52, M55, M85.
//!
//! VLDRB widens eight weights to 16 bits and VMLAVA adds their eight products with the input to an accumulator; four rows
//! a step share the input. The low-overhead loop (DLSTP, LETP) switches off the lanes after the last column.

use core::arch::naked_asm;

/// The kernels' name.
pub const NAME: &str = "armv81m-mve";

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::matvec`].
pub fn matvec(weights: &[i8], x: &[i16], y: &mut [i32]) {
    let columns = x.len();
    if columns == 0 {
        return y.fill(0);
    }
    let rows = (weights.len() / columns).min(y.len());
    let (blocks, rest) = (rows / 4, rows % 4);
    // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. `weights` holds rows * columns
    // bytes, `x` columns elements and `y` rows sums, which is all that rows4 and row1 touch. columns is not 0.
    unsafe {
        if blocks > 0 {
            rows4(
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

/// `blocks` times four rows.
///
/// # Safety
/// `weights` points to 4 * blocks * columns bytes, `x` to `columns` elements; `y` has room for 4 * blocks sums; blocks
/// and columns are not 0.
#[unsafe(naked)]
unsafe extern "C" fn rows4(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    columns: usize,
    blocks: usize,
) {
    // r0, r5, r7, r1: rows (VLDRB wants low registers); r3: input; r4, r6, r8, r10: sums (VMLAVA wants even ones);
    // r9: input's start; r11: columns; r12: blocks left; [sp]: what the row pointers move past the end of a row, 0 to 7
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "mov r9, r1",
        "mov r11, r3",
        "rsb r4, r3, #0",
        "and r4, r4, #7",
        "push {{r4}}",
        "2:",
        "add r5, r0, r11",
        "add r7, r5, r11",
        "add r1, r7, r11",
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
        "subs r0, r1, r3",
        "stmia r2!, {{r4, r6, r8, r10}}",
        "subs r12, #1",
        "bne 2b",
        "pop {{r4}}",
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
    rows: usize,
) {
    // r5: row; r6: input; r4: sum; r12: rows left
    naked_asm!(
        "push {{r4-r6, lr}}",
        "ldr r12, [sp, #16]",
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
        "add r0, r0, r3",
        "str r4, [r2], #4",
        "subs r12, #1",
        "bne 2b",
        "pop {{r4-r6, pc}}",
    )
}
