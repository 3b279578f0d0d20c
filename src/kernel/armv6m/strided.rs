//! Products of rows of signed bytes, four columns at a time.

use crate::kernel::columns::Columns;
use core::arch::naked_asm;

/// See [`matvec_strided`](crate::kernel::matvec_strided).
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    let bits = weights.as_ptr().addr() | x.as_ptr().addr() | stride;
    let mut product = Columns::new(weights, stride, x, y);
    // The kernels load words.
    if bits.is_multiple_of(4) {
        product.set::<4>(set4);
        product.add::<4>(add4);
    }
    product.finish();
}

/// A [`columns::Kernel`](crate::kernel::columns::Kernel) for 4 columns. All addresses and the stride are multiples of 4. `$old`
/// adds what is in y.
macro_rules! columns {
    ($name:ident, $old:literal) => {
        /// # Safety
        /// See [`columns::Kernel`](crate::kernel::columns::Kernel); `weights`, `x` and `stride` are multiples of 4.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            weights: *const i8,
            x: *const i16,
            y: *mut i32,
            stride: usize,
            rows: usize,
            times: usize,
        ) {
            // r0: row; r1: y; r2 to r5: x; r6: weights; r7: scratch; r8: sum; r9: stride; r10: y end; r11: y's start;
            // r12: weights; lr: x. The last argument on the stack is what is left of it.
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "ldr r7, [sp, #36]",
                "lsls r7, r7, #2",
                "adds r7, r7, r2",
                "mov r9, r3",
                "mov r10, r7",
                "mov r11, r2",
                "mov r12, r0",
                "mov lr, r1",
                "2:",
                "mov r0, r12",
                "movs r1, #4",
                "add r12, r1",
                "mov r1, lr",
                "ldmia r1!, {{r2, r4}}",
                "mov lr, r1",
                "asrs r3, r2, #16",
                "sxth r2, r2",
                "asrs r5, r4, #16",
                "sxth r4, r4",
                "mov r1, r11",
                "3:",
                "ldr r6, [r0]",
                "sxtb r7, r6",
                "muls r7, r2, r7",
                "mov r8, r7",
                "asrs r6, r6, #8",
                "sxtb r7, r6",
                "muls r7, r3, r7",
                "add r8, r7",
                "asrs r6, r6, #8",
                "sxtb r7, r6",
                "muls r7, r4, r7",
                "add r8, r7",
                "asrs r6, r6, #8",
                "muls r6, r5, r6",
                "add r6, r8",
                $old,
                "stmia r1!, {{r6}}",
                "add r0, r9",
                "cmp r1, r10",
                "bne 3b",
                "ldr r7, [sp, #40]",
                "subs r7, #1",
                "str r7, [sp, #40]",
                "bne 2b",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
}

columns!(set4, "");
columns!(add4, "ldr r7, [r1]\n adds r6, r6, r7");
