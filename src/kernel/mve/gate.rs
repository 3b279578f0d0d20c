//! Gated activations: the table of openings is read by gathering loads, four elements a step.

use super::super::passes::{self, Gate, Openings};
use super::passes::places;
use core::arch::naked_asm;

/// See [`super::super::passes::activate_gated`].
pub fn activate_gated(values: &mut [i32], ups: &[i32], gate: &Gate<'_>) -> u32 {
    let len = values.len().min(ups.len());
    let Some(openings) = gate.openings else {
        return passes::activate_gated(values, ups, gate);
    };
    if len == 0 {
        return 0;
    }
    // What is 14 bits and at most 17 places to the left of that loses nothing before it goes to the right.
    let to_table = (gate.to_table.0 & 31) as i32 - (gate.to_table.1 & 31) as i32;
    let how = Shifts { gate: places(gate.shift), to_table, up: (gate.up & 31) as i32 };
    // SAFETY: this target executes the vector instructions, since build.rs saw them assemble. `values` and `ups` have
    // `len` elements, which is not 0.
    unsafe { gated(values.as_mut_ptr(), ups.as_ptr(), openings, len, &how) }
}

/// To the left, if positive.
#[repr(C)]
struct Shifts {
    gate: i32,
    to_table: i32,
    up: i32,
}

/// # Safety
/// `values` and `ups` point to `len` elements; len is not 0.
#[unsafe(naked)]
unsafe extern "C" fn gated(
    values: *mut i32,
    ups: *const i32,
    openings: &Openings,
    len: usize,
    how: &Shifts,
) -> u32 {
    // r0: values; r1: ups; r2, r3: the table and its next entry; r4, r5, r6: shifts; r7: len, then the largest; r8: the
    // smallest. q0: x; q1: its size; q2: its place in the table, then between two entries; q3: the entry, then the
    // opening; q4: the entry's number; q5: the last place; q6: 31; q7: from one entry to the next
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "ldr r12, [sp, #24]",
        "vpush {{d8-d15}}",
        "ldm r12, {{r4, r5, r6}}",
        "mov r7, r3",
        "adds r3, r2, #2",
        "movw r12, #16383",
        "vdup.32 q5, r12",
        "vmov.i32 q6, #31",
        "dlstp.32 lr, r7",
        "movs r7, #0",
        "mov r8, #-1",
        "2:",
        "vldrw.u32 q0, [r0]",
        "vrshl.s32 q0, r4",
        "vabs.s32 q1, q0",
        "vabs.s32 q2, q0",
        "vshl.u32 q2, r5",
        "vmin.u32 q2, q2, q5",
        "vshr.u32 q4, q2, #5",
        "vldrh.u32 q3, [r2, q4, uxtw #1]",
        "vldrh.u32 q7, [r3, q4, uxtw #1]",
        "vsub.i32 q7, q7, q3",
        "vand q2, q2, q6",
        "vmul.i32 q7, q7, q2",
        "vrshr.s32 q7, q7, #5",
        "vadd.i32 q3, q3, q7",
        "vmul.i32 q3, q3, q1",
        "vshl.i32 q0, q0, #14",
        "vadd.i32 q0, q0, q3",
        "vrshr.s32 q0, q0, #15",
        "vshl.i32 q0, q0, #16",
        "vldrw.u32 q1, [r1], #16",
        "vshl.s32 q1, r6",
        "vmulh.s32 q0, q0, q1",
        "vstrw.32 q0, [r0], #16",
        "vmaxv.s32 r7, q0",
        "vminv.s32 r8, q0",
        "letp lr, 2b",
        "orn r0, r7, r8",
        "vpop {{d8-d15}}",
        "pop {{r4-r8, pc}}",
    )
}
