//! The passes over vectors between the matrices: four elements at a time, two of 16 bits in a word. What is left over, and
//! slices of 16-bit elements that do not start at a word, go through the safe loops.

use crate::kernel::passes::{self, BlockShift, Gate};
use core::arch::naked_asm;

/// See [`passes::magnitude`].
pub fn magnitude(values: &[i32]) -> u32 {
    let (fours, rest) = values.as_chunks::<4>();
    let size = passes::magnitude(rest);
    if fours.is_empty() {
        return size;
    }
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble; there are so many groups of
    // four, and not none.
    size | unsafe { magnitude4(fours.as_ptr().cast(), fours.len()) }
}

/// # Safety
/// `values` points to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn magnitude4(values: *const i32, fours: usize) -> u32 {
    naked_asm!(
        "push {{r4-r6, lr}}",
        "movs r2, #0",
        "2:",
        "ldmia r0!, {{r3-r6}}",
        "eor r3, r3, r3, asr #31",
        "orrs r2, r3",
        "eor r4, r4, r4, asr #31",
        "orrs r2, r4",
        "eor r5, r5, r5, asr #31",
        "orrs r2, r5",
        "eor r6, r6, r6, asr #31",
        "orrs r2, r6",
        "subs r1, #1",
        "bne 2b",
        "mov r0, r2",
        "pop {{r4-r6, pc}}",
    )
}

/// See [`passes::round`].
pub fn round(values: &[i32], shift: BlockShift, q: &mut [i16]) {
    let len = values.len().min(q.len());
    let fours = len / 4;
    if shift.left > 0 || fours == 0 || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::round(values, shift, q);
    }
    // SAFETY: as above; both slices have so many groups of four, and `q` starts at a word.
    unsafe { round4(values.as_ptr(), q.as_mut_ptr(), fours, shift.right) };
    if let (Some(values), Some(q)) = (values.get(fours * 4..len), q.get_mut(fours * 4..)) {
        passes::round(values, shift, q);
    }
}

/// SHADD16 adds 1 to each half and halves: the place that is rounded away.
///
/// # Safety
/// `values` and `q`, which starts at a word, point to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn round4(values: *const i32, q: *mut i16, fours: usize, right: u32) {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r7, lr}}",
        "mov r12, #0x00010001",
        "2:",
        "ldmia r0!, {{r4-r7}}",
        "asrs r4, r3",
        "asrs r5, r3",
        "asrs r6, r3",
        "asrs r7, r3",
        "pkhbt r4, r4, r5, lsl #16",
        "pkhbt r6, r6, r7, lsl #16",
        "shadd16 r4, r4, r12",
        "shadd16 r6, r6, r12",
        "strd r4, r6, [r1], #8",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`passes::peak`].
pub fn peak(q: &[i16]) -> u32 {
    let (fours, rest) = q.as_chunks::<4>();
    if fours.is_empty() || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::peak(q);
    }
    // SAFETY: as above; `q` starts at a word and has so many groups of four.
    let peaks = unsafe { peak4(q.as_ptr(), fours.len()) };
    (peaks & 0xffff).max(peaks >> 16).max(passes::peak(rest))
}

/// The largest magnitudes of the even and of the odd elements, a half each: SSUB16 and USUB16 note which halves are not
/// negative, and SEL takes these from one word and the others from another.
///
/// # Safety
/// `q` starts at a word and points to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn peak4(q: *const i16, fours: usize) -> u32 {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4, lr}}",
        "movs r2, #0",
        "mov r12, #0",
        "2:",
        "ldrd r3, r4, [r0], #8",
        "ssub16 lr, r12, r3",
        "sel r3, lr, r3",
        "usub16 lr, r3, r2",
        "sel r2, r3, r2",
        "ssub16 lr, r12, r4",
        "sel r4, lr, r4",
        "usub16 lr, r4, r2",
        "sel r2, r4, r2",
        "subs r1, #1",
        "bne 2b",
        "mov r0, r2",
        "pop {{r4, pc}}",
    )
}

/// See [`passes::scale`].
pub fn scale(q: &mut [i16], factor: i32) {
    let fours = q.len() / 4;
    if fours == 0 || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::scale(q, factor);
    }
    // SAFETY: as above; `q` starts at a word and has so many groups of four.
    unsafe { scale4(q.as_mut_ptr(), fours, factor) };
    if let Some(rest) = q.get_mut(fours * 4..) {
        passes::scale(rest, factor);
    }
}

/// # Safety
/// `q` starts at a word and points to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn scale4(q: *mut i16, fours: usize, factor: i32) {
    // SMLAWB cuts 16 bits off a product and adds half of the 8 that are left.
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r6, lr}}",
        "mov r12, #128",
        "2:",
        "ldrd r3, r4, [r0]",
        "smlawb r5, r2, r3, r12",
        "smlawt r6, r2, r3, r12",
        "asrs r5, #8",
        "pkhbt r5, r5, r6, lsl #8",
        "smlawb r3, r2, r4, r12",
        "smlawt r6, r2, r4, r12",
        "asrs r3, #8",
        "pkhbt r6, r3, r6, lsl #8",
        "strd r5, r6, [r0], #8",
        "subs r1, #1",
        "bne 2b",
        "pop {{r4-r6, pc}}",
    )
}

/// See [`passes::rotate`].
pub fn rotate(x: &mut [i16], turns: &[i16]) {
    let fours = x.len().min(turns.len()) / 4;
    if fours == 0 || !(x.as_ptr().addr() | turns.as_ptr().addr()).is_multiple_of(4) {
        return passes::rotate(x, turns);
    }
    // SAFETY: as above; both slices start at words and have so many groups of four.
    unsafe { rotate2(x.as_mut_ptr(), turns.as_ptr(), fours) };
    if let (Some(x), Some(turns)) = (x.get_mut(fours * 4..), turns.get(fours * 4..)) {
        passes::rotate(x, turns);
    }
}

/// Two pairs a step.
///
/// # Safety
/// `x` and `turns` start at words and point to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn rotate2(x: *mut i16, turns: *const i16, fours: usize) {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r7, lr}}",
        "mov r12, #8192",
        "2:",
        "ldrd r3, r4, [r0]",
        "ldrd r5, r6, [r1], #8",
        "smlsd r7, r3, r5, r12",
        "smladx r3, r3, r5, r12",
        "lsrs r7, r7, #14",
        "pkhbt r3, r7, r3, lsl #2",
        "smlsd r7, r4, r6, r12",
        "smladx r4, r4, r6, r12",
        "lsrs r7, r7, #14",
        "pkhbt r4, r7, r4, lsl #2",
        "strd r3, r4, [r0], #8",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`passes::add`].
pub fn add(sums: &mut [i32], values: &[i32]) -> u32 {
    let len = sums.len().min(values.len());
    let fours = len / 4;
    let size = match (sums.get_mut(fours * 4..len), values.get(fours * 4..)) {
        (Some(sums), Some(values)) => passes::add(sums, values),
        _ => 0,
    };
    if fours == 0 {
        return size;
    }
    // SAFETY: as above; both slices have so many groups of four.
    size | unsafe { add4(sums.as_mut_ptr(), values.as_ptr(), fours) }
}

/// # Safety
/// `sums` and `values` point to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn add4(sums: *mut i32, values: *const i32, fours: usize) -> u32 {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "mov r12, #0",
        "2:",
        "ldmia r0, {{r4-r7}}",
        "ldmia r1!, {{r3, r8, r9, r10}}",
        "qadd r4, r4, r3",
        "qadd r5, r5, r8",
        "qadd r6, r6, r9",
        "qadd r7, r7, r10",
        "stmia r0!, {{r4-r7}}",
        "eor r4, r4, r4, asr #31",
        "orr r12, r12, r4",
        "eor r5, r5, r5, asr #31",
        "orr r12, r12, r5",
        "eor r6, r6, r6, asr #31",
        "orr r12, r12, r6",
        "eor r7, r7, r7, asr #31",
        "orr r12, r12, r7",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r12",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`passes::activate_gated`].
pub fn activate_gated(values: &mut [i32], ups: &[i32], gate: &Gate<'_>) -> u32 {
    let len = values.len().min(ups.len());
    match gate.openings {
        Some(openings) if gate.shift.left == 0 && gate.to_table.0 == 0 && len > 0 => {
            let how = Activation {
                right: gate.shift.right,
                to_table: gate.to_table.1,
                up: gate.up,
                openings: openings.as_ptr(),
            };
            // SAFETY: as above; both slices have `len` elements, not none, and the table 513: an index is below 512, and
            // the word there holds the entry behind it, too.
            unsafe { activate1(values.as_mut_ptr(), ups.as_ptr(), len, &how) }
        }
        _ => passes::activate_gated(values, ups, gate),
    }
}

/// What [`activate1`] keeps in registers.
#[repr(C)]
struct Activation {
    right: u32,
    to_table: u32,
    up: u32,
    openings: *const u16,
}

/// # Safety
/// `values` and `ups` point to `len` elements, more than none, and `how.openings` to 513.
#[unsafe(naked)]
unsafe extern "C" fn activate1(values: *mut i32, ups: *const i32, len: usize, how: *const Activation) -> u32 {
    // r4, r5, r6: the shifts; r7: the table; r8: 16; r9: magnitude. x: r3, |x|: r11, its place in the table: r12, two entries:
    // lr, the opening: r10
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldmia r3, {{r4-r7}}",
        "mov r8, #16",
        "mov r9, #0",
        "2:",
        "ldr r3, [r0]",
        "asrs r3, r4",
        "adds r3, #1",
        "asrs r3, r3, #1",
        "eor r11, r3, r3, asr #31",
        "sub r11, r11, r3, asr #31",
        "lsr r12, r11, r5",
        "usat r12, #14, r12",
        "lsr lr, r12, #5",
        "ldr lr, [r7, lr, lsl #1]",
        "and r12, r12, #31",
        "smlatb r10, lr, r12, r8",
        "rsb r12, r12, #32",
        "smlabb r10, lr, r12, r10",
        "asr r10, r10, #5",
        "lsls r3, r3, #14",
        "add r3, r3, #0x4000",
        "mla r3, r11, r10, r3",
        "asrs r3, r3, #15",
        "ldr r12, [r1], #4",
        "lsl r12, r12, r6",
        "smulwb r3, r12, r3",
        "str r3, [r0], #4",
        "eor r3, r3, r3, asr #31",
        "orr r9, r9, r3",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r9",
        "pop {{r4-r11, pc}}",
    )
}
