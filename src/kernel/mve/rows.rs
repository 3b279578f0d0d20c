//! Products of rows with a vector: four rows a step share the input, and VMLAVA adds the products of a vector's lanes to
//! a sum.
//!
//! With 16-bit inputs VLDRB widens eight weights; 8-bit inputs lie as bytes, and sixteen weights meet them as they are.

use super::super::rows;
use super::{long, resident};
use crate::format::InputWidth;
use core::arch::naked_asm;
use zerocopy::IntoBytes;

/// The kernels read the natural order.
pub fn arrange(_x: &mut [i16]) {}

/// See [`super::super::matvec_strided`].
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let columns = x.len();
    if columns == 0 {
        return y.fill(0);
    }
    let rows = rows::count(weights.len(), stride, columns).min(y.len());
    let four = resident::halves(columns).filter(|_| stride == columns);
    // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. `weights` holds `rows`
    // rows of `columns` bytes, `stride` apart, `x` columns elements and `y` rows sums; columns is not 0.
    unsafe {
        all_rows(
            weights.as_ptr(),
            stride,
            x.as_ptr(),
            columns,
            y.as_mut_ptr(),
            rows,
            [long::halves(columns).unwrap_or(halves4), halves1],
            four,
        )
    }
}

/// Puts a vector for rows into the form that [`product`] wants: 8-bit inputs as bytes into `operand`.
///
/// Its loop becomes vector code only where the compiler sees that the two are apart: in a function of its own.
#[inline(never)]
pub fn prepare(vector: &mut [i16], width: InputWidth, operand: &mut [u32]) {
    if width == InputWidth::A8 {
        for (byte, &x) in operand.as_mut_bytes().iter_mut().zip(&*vector) {
            *byte = x as u8;
        }
    }
}

/// Multiplies rows by a vector that [`prepare`] has seen, see [`super::super::product`].
pub fn product(weights: &[i8], vector: &[i16], operand: &[u32], width: InputWidth, y: &mut [i32]) {
    let columns = vector.len();
    if width != InputWidth::A8 || columns == 0 || 4 * operand.len() < columns {
        return matvec_strided(weights, columns, vector, y);
    }
    let rows = rows::count(weights.len(), columns, columns).min(y.len());
    // SAFETY: as above; `operand` has `columns` bytes, and the rows follow one another.
    unsafe {
        let x = operand.as_ptr().cast();
        all_rows(
            weights.as_ptr(),
            columns,
            x,
            columns,
            y.as_mut_ptr(),
            rows,
            [long::bytes(columns).unwrap_or(bytes4), bytes1],
            resident::bytes(columns),
        )
    }
}

/// Rows by a vector: weights, input, sums, columns, stride and the number of blocks or rows.
pub type Kernel<X> = unsafe extern "C" fn(*const i8, *const X, *mut i32, usize, usize, usize);

/// Products of `rows` rows, with a kernel for four of them, one for single ones, and maybe a better one for four.
///
/// # Safety
/// `weights` points to `rows` rows of `columns` bytes, `stride` apart, `x` to `columns` elements; `y` has room for `rows`
/// sums; columns is not 0. `better` is for `columns` columns, and for a stride that is as long.
#[allow(clippy::too_many_arguments)]
unsafe fn all_rows<X>(
    weights: *const i8,
    stride: usize,
    x: *const X,
    columns: usize,
    y: *mut i32,
    rows: usize,
    [four, one]: [Kernel<X>; 2],
    better: Option<resident::Blocks<X>>,
) {
    let (blocks, rest) = (rows / 4, rows % 4);
    // SAFETY: the blocks and the rest are within the rows and the sums that the caller vouches for.
    unsafe {
        match better {
            _ if blocks == 0 => {}
            Some(better) => better(weights, x, y, blocks),
            None => four(weights, x, y, columns, stride, blocks),
        }
        if rest > 0 {
            one(weights.add((rows - rest) * stride), x, y.add(rows - rest), columns, stride, rest);
        }
    }
}

/// The kernels for one width of the input: `$mask` are the lanes of a vector less one, `$step` the bytes of a row that it
/// takes.
macro_rules! kernels {
    ($four:ident, $one:ident, $input:ty, $type:literal, $lanes:literal, $mask:literal, $x:literal, $w:literal) => {
        /// `blocks` times four rows.
        ///
        /// # Safety
        /// `weights` points to 4 * blocks rows of `columns` bytes, `stride` bytes apart, `x` to `columns` elements; `y` has
        /// room for 4 * blocks sums; blocks and columns are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $four(
            weights: *const i8,
            x: *const $input,
            y: *mut i32,
            columns: usize,
            stride: usize,
            blocks: usize,
        ) {
            // r0, r5, r7, r1: rows (VLDRB wants low registers); r3: input; r4, r6, r8, r10: sums (VMLAVA wants even
            // ones); r9: input's start; r11: columns; r12: blocks left. The frame: 0 from where a row's pointer ends,
            // after columns rounded up to whole vectors, to the next row; 4 stride
            naked_asm!(
                ".cpu cortex-m55",
                "push {{r4-r11, lr}}",
                "ldrd r5, r12, [sp, #36]",
                "mov r9, r1",
                "mov r11, r3",
                concat!("add r4, r3, #", $mask),
                concat!("bic r4, r4, #", $mask),
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
                concat!("dlstp.", $lanes, " lr, r11"),
                "3:",
                concat!($x, " q0, [r3], #16"),
                concat!($w, " q1, [r0], #", $mask, " + 1"),
                concat!("vmlava.", $type, " r4, q0, q1"),
                concat!($w, " q1, [r5], #", $mask, " + 1"),
                concat!("vmlava.", $type, " r6, q0, q1"),
                concat!($w, " q1, [r7], #", $mask, " + 1"),
                concat!("vmlava.", $type, " r8, q0, q1"),
                concat!($w, " q1, [r1], #", $mask, " + 1"),
                concat!("vmlava.", $type, " r10, q0, q1"),
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
        /// As for four rows, with `rows` rows.
        #[unsafe(naked)]
        unsafe extern "C" fn $one(
            weights: *const i8,
            x: *const $input,
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
                concat!("dlstp.", $lanes, " lr, r3"),
                "3:",
                concat!($x, " q0, [r6], #16"),
                concat!($w, " q1, [r5], #", $mask, " + 1"),
                concat!("vmlava.", $type, " r4, q0, q1"),
                "letp lr, 3b",
                "add r0, r0, r7",
                "str r4, [r2], #4",
                "subs r12, #1",
                "bne 2b",
                "pop {{r4-r7, pc}}",
            )
        }
    };
}

kernels!(halves4, halves1, i16, "s16", "16", "7", "vldrh.u16", "vldrb.s16");
kernels!(bytes4, bytes1, i8, "s8", "8", "15", "vldrb.u8", "vldrb.u8");
