//! The passes over vectors between the matrices. Four lanes of 32 bits, or eight of 16, a step.

use super::super::passes::BlockShift;
use core::arch::naked_asm;

/// A block shift as VRSHL wants it: to the left if positive.
pub(super) const fn places(shift: BlockShift) -> i32 {
    // One of the two is 0, and one more place to the right is rounded away.
    (shift.left & 31) as i32 - (shift.right & 31) as i32 - 1
}

/// See [`super::super::passes::round`].
pub fn round(values: &[i32], shift: BlockShift, q: &mut [i16]) {
    let len = values.len().min(q.len());
    if len > 0 {
        // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. Both have `len`
        // elements, which is not 0.
        unsafe { round_all(values.as_ptr(), q.as_mut_ptr(), places(shift), len) }
    }
}

/// # Safety
/// `values` points to `len` elements, `q` to room for as many; len is not 0.
#[unsafe(naked)]
unsafe extern "C" fn round_all(values: *const i32, q: *mut i16, places: i32, len: usize) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "dlstp.32 lr, r3",
        "2:",
        "vldrw.u32 q0, [r0], #16",
        "vrshl.s32 q0, r2",
        "vstrh.32 q0, [r1], #8",
        "letp lr, 2b",
        "pop {{r7, pc}}",
    )
}

/// See [`super::super::passes::peak`].
pub fn peak(q: &[i16]) -> u32 {
    if q.is_empty() {
        return 0;
    }
    // SAFETY: as in `round`.
    unsafe { peak_all(q.as_ptr(), q.len()) }
}

/// # Safety
/// `q` points to `len` elements; len is not 0.
#[unsafe(naked)]
unsafe extern "C" fn peak_all(q: *const i16, len: usize) -> u32 {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "movs r2, #0",
        "dlstp.16 lr, r1",
        "2:",
        "vldrh.u16 q0, [r0], #16",
        "vmaxav.s16 r2, q0",
        "letp lr, 2b",
        "mov r0, r2",
        "pop {{r7, pc}}",
    )
}

/// See [`super::super::passes::scale`].
pub fn scale(q: &mut [i16], factor: i32) {
    if !q.is_empty() {
        // SAFETY: as in `round`.
        unsafe { scale_all(q.as_mut_ptr(), factor, q.len()) }
    }
}

/// # Safety
/// `q` points to `len` elements; len is not 0.
#[unsafe(naked)]
unsafe extern "C" fn scale_all(q: *mut i16, factor: i32, len: usize) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "dlstp.32 lr, r2",
        "2:",
        "vldrh.s32 q0, [r0]",
        "vmul.i32 q0, q0, r1",
        "vrshr.s32 q0, q0, #24",
        "vstrh.32 q0, [r0], #8",
        "letp lr, 2b",
        "pop {{r7, pc}}",
    )
}

/// See [`super::super::passes::rotate`].
pub fn rotate(x: &mut [i16], turns: &[i16]) {
    let len = x.len().min(turns.len()) & !1;
    if len > 0 {
        // SAFETY: as in `round`.
        unsafe { rotate_all(x.as_mut_ptr(), turns.as_ptr(), len) }
    }
}

/// # Safety
/// `x` and `turns` point to `len` elements; len is even and not 0.
#[unsafe(naked)]
unsafe extern "C" fn rotate_all(x: *mut i16, turns: *const i16, len: usize) {
    // VMULLB takes the even elements and VMULLT the odd ones, of pairs (a, b) and (cos, sin), then (sin, cos)
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "dlstp.16 lr, r2",
        "2:",
        "vldrh.u16 q0, [r0]",
        "vldrh.u16 q1, [r1], #16",
        "vmullb.s16 q2, q0, q1",
        "vmullt.s16 q3, q0, q1",
        "vsub.i32 q2, q2, q3",
        "vrev32.16 q1, q1",
        "vmullb.s16 q3, q0, q1",
        "vmullt.s16 q1, q0, q1",
        "vadd.i32 q3, q3, q1",
        "vrshrnb.i32 q0, q2, #14",
        "vrshrnt.i32 q0, q3, #14",
        "vstrh.16 q0, [r0], #16",
        "letp lr, 2b",
        "pop {{r7, pc}}",
    )
}

/// See [`super::super::passes::rescale`].
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len());
    if len == 0 {
        return 0;
    }
    // SAFETY: as in `round`.
    unsafe { rescale_all(y.as_mut_ptr(), scales.as_ptr(), len, up & 31, i32::from(scale) << 16, -right) }
}

/// VMULH leaves the upper word of a product: floor(a * b / 2^16) of `a` and of `b` in the upper half of a word. The
/// result's bits are those of its largest element and of its smallest one's complement.
///
/// # Safety
/// `y` and `scales` point to `len` elements; len is not 0.
#[unsafe(naked)]
unsafe extern "C" fn rescale_all(
    y: *mut i32,
    scales: *const i16,
    len: usize,
    up: u32,
    scale: i32,
    places: i32,
) -> u32 {
    // r4: largest; r5: places; r6: smallest; q3: scale
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r6, lr}}",
        "ldrd r4, r5, [sp, #16]",
        "vdup.32 q3, r4",
        "movs r4, #0",
        "mov r6, #-1",
        "dlstp.32 lr, r2",
        "2:",
        "vldrw.u32 q0, [r0]",
        "vldrh.s32 q1, [r1], #8",
        "vshl.s32 q0, r3",
        "vshl.i32 q1, q1, #16",
        "vmulh.s32 q0, q0, q1",
        "vmulh.s32 q0, q0, q3",
        "vrshl.s32 q0, r5",
        "vstrw.32 q0, [r0], #16",
        "vmaxv.s32 r4, q0",
        "vminv.s32 r6, q0",
        "letp lr, 2b",
        "orn r0, r4, r6",
        "pop {{r4-r6, pc}}",
    )
}
