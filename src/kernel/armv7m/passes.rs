//! The passes between the matrices that take the most.

use crate::kernel::passes::{self, BlockShift, Gate};
use core::arch::naked_asm;

/// See [`passes::rescale`].
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len());
    let fours = len / 4;
    let size = match (y.get_mut(fours * 4..len), scales.get(fours * 4..)) {
        (Some(y), Some(scales)) => passes::rescale(y, scales, up, scale, right),
        _ => 0,
    };
    if fours == 0 {
        return size;
    }
    let half = if right > 0 { 1 << ((right - 1) & 31) } else { 0 };
    let how = Rescale { up: up & 31, scale: i32::from(scale) << 16, shift: right.unsigned_abs() & 31, half };
    let (y, scales) = (y.as_mut_ptr(), scales.as_ptr());
    // SAFETY: both slices have so many groups of four, more than none.
    size | unsafe {
        if right < 0 { rescale_left(y, scales, fours, &how) } else { rescale_right(y, scales, fours, &how) }
    }
}

/// What [`rescale_right`] and [`rescale_left`] keep in registers.
#[repr(C)]
struct Rescale {
    up: u32,
    scale: i32,
    shift: u32,
    half: i32,
}

/// An element. `$widen` brings its multiplier to the upper half of `$multiplier`.
#[rustfmt::skip]
macro_rules! element {
    ($y:literal, $widen:literal, $multiplier:literal, $shift:literal) => {
        concat!(
            "lsl ", $y, ", ", $y, ", r3\n",
            $widen, "\n",
            "smull lr, ", $y, ", ", $y, ", ", $multiplier, "\n",
            "smull lr, ", $y, ", ", $y, ", r8\n",
            "add ", $y, ", ", $y, ", r10\n",
            $shift, " ", $y, ", ", $y, ", r9\n",
            "eor lr, ", $y, ", ", $y, ", asr #31\n",
            "orr r12, r12, lr\n",
        )
    };
}

/// Defines the loop whose last shift is the instruction `$shift` ("asr" or "lsl").
macro_rules! rescale {
    ($name:ident, $shift:literal) => {
        /// # Safety
        /// `y` and `multipliers` point to `fours` groups of four, more than none.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            y: *mut i32,
            multipliers: *const i16,
            fours: usize,
            how: *const Rescale,
        ) -> u32 {
            // r0: y; r1: multipliers, which LDR may find at an odd half of a word; r2: groups left; r3, r8, r9, r10: up, scale,
            // shift, half; r4 to r7: elements; r11: multipliers; r12: OR of the magnitudes; lr: scratch
            naked_asm!(
                "push {{r4-r11, lr}}",
                "mov r12, #0",
                "ldrd r9, r10, [r3, #8]",
                "ldrd r3, r8, [r3]",
                "2:",
                "ldmia r0, {{r4-r7}}",
                "ldr r11, [r1], #4",
                element!("r4", "lsl lr, r11, #16", "lr", $shift),
                element!("r5", "bfc r11, #0, #16", "r11", $shift),
                "ldr r11, [r1], #4",
                element!("r6", "lsl lr, r11, #16", "lr", $shift),
                element!("r7", "bfc r11, #0, #16", "r11", $shift),
                "stmia r0!, {{r4-r7}}",
                "subs r2, #1",
                "bne 2b",
                "mov r0, r12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

rescale!(rescale_right, "asr");
rescale!(rescale_left, "lsl");

/// See [`passes::activate_gated`].
pub fn activate_gated(values: &mut [i32], ups: &[i32], gate: &Gate<'_>) -> u32 {
    let len = values.len().min(ups.len());
    match gate.openings {
        Some(openings) if gate.shift.left == 0 && gate.to_table.0 == 0 && len > 0 => {
            let how = Activation {
                right: (gate.shift.right & 31) + 1,
                to_table: gate.to_table.1 & 31,
                up: gate.up & 31,
                openings: openings.as_ptr(),
            };
            // SAFETY: both slices have `len` elements, not none, and the table 513: an index is below 512, and the entry
            // behind it is read, too.
            unsafe { activate(values.as_mut_ptr(), ups.as_ptr(), len, &how) }
        }
        _ => passes::activate_gated(values, ups, gate),
    }
}

/// What [`activate`] keeps in registers.
#[repr(C)]
struct Activation {
    /// With the place that is rounded away.
    right: u32,
    to_table: u32,
    up: u32,
    openings: *const u16,
}

/// # Safety
/// `values` and `ups` point to `len` elements, more than none, and `how.openings` to 513.
#[unsafe(naked)]
unsafe extern "C" fn activate(values: *mut i32, ups: *const i32, len: usize, how: *const Activation) -> u32 {
    // r4, r5, r6: the shifts; r7: the table; r8: 16; r9: magnitude. x: r3, |x|: r11, its place in the table: r12, two
    // entries: r10 and lr, the opening: r10
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldmia r3, {{r4-r7}}",
        "mov r8, #16",
        "mov r9, #0",
        "2:",
        "ldr r3, [r0]",
        "asrs r3, r4",
        "adc r3, r3, #0",
        "eor r11, r3, r3, asr #31",
        "sub r11, r11, r3, asr #31",
        "lsr r12, r11, r5",
        "usat r12, #14, r12",
        "lsr lr, r12, #5",
        "add lr, r7, lr, lsl #1",
        "ldrh r10, [lr]",
        "ldrh lr, [lr, #2]",
        "and r12, r12, #31",
        "sub lr, lr, r10",
        "mla lr, lr, r12, r8",
        "add r10, r10, lr, asr #5",
        "mul r10, r10, r11",
        "add r3, r10, r3, lsl #14",
        "asrs r3, r3, #15",
        "adc r3, r3, #0",
        "ldr r12, [r1], #4",
        "lsl r12, r12, r6",
        "lsls r3, r3, #16",
        "smull lr, r3, r12, r3",
        "str r3, [r0], #4",
        "eor r3, r3, r3, asr #31",
        "orr r9, r9, r3",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r9",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`passes::round`].
pub fn round(values: &[i32], shift: BlockShift, q: &mut [i16]) {
    let len = values.len().min(q.len());
    let (Some(values), Some(q)) = (values.get(..len), q.get_mut(..len)) else {
        return;
    };
    let ((fours, rest), (q, q_rest)) = (values.as_chunks::<4>(), q.as_chunks_mut::<4>());
    let (left, right) = (shift.left & 31, (shift.right & 31) + 1);
    if !fours.is_empty() {
        // SAFETY: both slices have so many groups of four, not none.
        unsafe { round4(fours.as_ptr(), q.as_mut_ptr(), fours.len(), right, left) };
    }
    if !rest.is_empty() {
        let (mut four, mut rounded) = ([0; 4], [0; 4]);
        for (to, &from) in four.iter_mut().zip(rest) {
            *to = from;
        }
        // SAFETY: as above, one group.
        unsafe { round4(&four, &mut rounded, 1, right, left) };
        for (to, from) in q_rest.iter_mut().zip(rounded) {
            *to = from;
        }
    }
}

/// Four elements, in r4 to r7, to the words r4 and r6. The bit that a shift takes out last is the carry, which ADC adds.
macro_rules! round {
    () => {
        concat!(
            "asrs r4, r3\n adc r4, r4, #0\n",
            "asrs r5, r3\n adc r5, r5, #0\n",
            "asrs r6, r3\n adc r6, r6, #0\n",
            "asrs r7, r3\n adc r7, r7, #0\n",
            "bfi r4, r5, #16, #16\n bfi r6, r7, #16, #16\n",
            "str r4, [r1], #4\n str r6, [r1], #4\n",
        )
    };
}

/// # Safety
/// `values` and `q`, which STR may find at an odd half of a word, point to `fours` groups of four, more than none. `right`,
/// with the place that is rounded away, is 1 to 32.
#[unsafe(naked)]
unsafe extern "C" fn round4(values: *const [i32; 4], q: *mut [i16; 4], fours: usize, right: u32, left: u32) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "ldr r12, [sp, #20]",
        "cmp r12, #0",
        "bne 3f",
        "2:",
        "ldmia r0!, {{r4-r7}}",
        round!(),
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
        "3:",
        "ldmia r0!, {{r4-r7}}",
        "lsl r4, r4, r12",
        "lsl r5, r5, r12",
        "lsl r6, r6, r12",
        "lsl r7, r7, r12",
        round!(),
        "subs r2, #1",
        "bne 3b",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`passes::peak`].
pub fn peak(q: &[i16]) -> u32 {
    let (fours, rest) = q.as_chunks::<4>();
    let mut peak = 0;
    if !fours.is_empty() {
        // SAFETY: there are so many groups of four, not none.
        peak = unsafe { peak4(fours.as_ptr(), fours.len(), 0) };
    }
    if !rest.is_empty() {
        let mut four = [0; 4];
        for (to, &from) in four.iter_mut().zip(rest) {
            *to = from;
        }
        // SAFETY: as above, one group.
        peak = unsafe { peak4(&four, 1, peak) };
    }
    peak
}

/// Two elements: each, with the peak added, is compared once for both ends of -peak..=peak, in the high half of a word.
/// `$low` and `$high` are labels of the rare case.
#[rustfmt::skip]
macro_rules! meet {
    ($low:literal, $high:literal) => {
        concat!(
            "ldr r4, [r0], #4\n",
            "add r5, r2, r4, lsl #16\n cmp r5, r3\n bhi 6", $low, "f\n 7", $low, ":\n",
            "add r5, r2, r4\n cmp r5, r3\n bhi 6", $high, "f\n 7", $high, ":\n",
        )
    };
}

/// The rare case: a new peak, the element's magnitude. `$take` takes the element to the high half of r2. Nothing is above
/// 2^15.
#[rustfmt::skip]
macro_rules! new_peak {
    ($take:literal, $label:literal) => {
        concat!(
            "6", $label, ":\n ", $take, "\n it mi\n rsbmi r2, r2, #0\n",
            "orr r3, r12, r2, lsl #1\n orr r3, r3, r2, asr #31\n b 7", $label, "b\n",
        )
    };
}

/// The largest magnitude, or `peak` if that is larger.
///
/// # Safety
/// `q`, which LDR may find at an odd half of a word, points to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn peak4(q: *const [i16; 4], fours: usize, peak: u32) -> u32 {
    // r2: the peak, r3: twice the peak, both in the high half; r4: two elements; r5: scratch; r12: a full low half
    naked_asm!(
        "push {{r4, r5, lr}}",
        "movw r12, #0xffff",
        "lsls r2, r2, #16",
        "orr r3, r12, r2, lsl #1",
        "orr r3, r3, r2, asr #31",
        "2:",
        meet!("0", "1"),
        meet!("2", "3"),
        "subs r1, #1",
        "bne 2b",
        "lsrs r0, r2, #16",
        "pop {{r4, r5, pc}}",
        new_peak!("lsls r2, r4, #16", "0"),
        new_peak!("bics r2, r4, r12", "1"),
        new_peak!("lsls r2, r4, #16", "2"),
        new_peak!("bics r2, r4, r12", "3"),
    )
}

/// See [`passes::add`].
pub fn add(sums: &mut [i32], values: &[i32]) -> u32 {
    let len = sums.len().min(values.len());
    let (Some(sums), Some(values)) = (sums.get_mut(..len), values.get(..len)) else {
        return 0;
    };
    let ((fours, rest), (values, values_rest)) = (sums.as_chunks_mut::<4>(), values.as_chunks::<4>());
    let mut size = 0;
    if !fours.is_empty() {
        // SAFETY: both slices have so many groups of four, not none.
        size = unsafe { add4(fours.as_mut_ptr(), values.as_ptr(), fours.len()) };
    }
    for (sum, &value) in rest.iter_mut().zip(values_rest) {
        *sum = sum.saturating_add(value);
        size |= (*sum ^ (*sum >> 31)) as u32;
    }
    size
}

/// One sum. `$label` is one of the rare case.
#[rustfmt::skip]
macro_rules! sum {
    ($sum:literal, $value:literal, $label:literal) => {
        concat!(
            "adds ", $sum, ", ", $sum, ", ", $value, "\n bvs 6", $label, "f\n 7", $label, ":\n",
            "eor ", $value, ", ", $sum, ", ", $sum, ", asr #31\n orr r12, r12, ", $value, "\n",
        )
    };
}

/// The rare case: a sum beyond the range, whose sign has turned.
#[rustfmt::skip]
macro_rules! saturate {
    ($sum:literal, $label:literal) => {
        concat!(
            "6", $label, ":\n asrs ", $sum, ", ", $sum, ", #31\n eor ", $sum, ", ", $sum, ", #0x80000000\n",
            "b 7", $label, "b\n",
        )
    };
}

/// # Safety
/// `sums` and `values` point to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn add4(sums: *mut [i32; 4], values: *const [i32; 4], fours: usize) -> u32 {
    // r4 to r7: sums; r3, r8 to r10: values; r12: OR of the magnitudes
    naked_asm!(
        "push {{r4-r10, lr}}",
        "mov r12, #0",
        "2:",
        "ldmia r0, {{r4-r7}}",
        "ldmia r1!, {{r3, r8-r10}}",
        sum!("r4", "r3", "0"),
        sum!("r5", "r8", "1"),
        sum!("r6", "r9", "2"),
        sum!("r7", "r10", "3"),
        "stmia r0!, {{r4-r7}}",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r12",
        "pop {{r4-r10, pc}}",
        saturate!("r4", "0"),
        saturate!("r5", "1"),
        saturate!("r6", "2"),
        saturate!("r7", "3"),
    )
}

/// See [`passes::squares`].
pub fn squares(q: &[i16]) -> u64 {
    let (eights, rest) = q.as_chunks::<8>();
    let sum = passes::squares(rest);
    if eights.is_empty() {
        return sum;
    }
    // SAFETY: there are so many groups of eight, not none.
    sum + unsafe { squares8(eights.as_ptr(), eights.len()) }
}

/// Eight squares are at most 2^31: only their sum is added to the 64-bit one.
///
/// # Safety
/// `q` points to `eights` groups of eight elements of at most 14 bits, more than none.
#[unsafe(naked)]
unsafe extern "C" fn squares8(q: *const [i16; 8], eights: usize) -> u64 {
    naked_asm!(
        "push {{r4, lr}}",
        "mov r2, r0",
        "movs r0, #0",
        "mov r12, #0",
        "2:",
        "ldrsh r3, [r2], #2",
        "mul r4, r3, r3",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "ldrsh r3, [r2], #2",
        "mla r4, r3, r3, r4",
        "adds r0, r0, r4",
        "adc r12, r12, #0",
        "subs r1, #1",
        "bne 2b",
        "mov r1, r12",
        "pop {{r4, pc}}",
    )
}

/// See [`passes::scale`].
pub fn scale(q: &mut [i16], factor: i32) {
    let (pairs, rest) = q.as_chunks_mut::<2>();
    if !pairs.is_empty() {
        // SAFETY: there are so many pairs, not none.
        unsafe { scale2(pairs.as_mut_ptr(), pairs.len(), factor) };
    }
    passes::scale(rest, factor);
}

/// # Safety
/// `q`, which LDR and STR may find at an odd half of a word, points to `pairs` pairs, more than none.
#[unsafe(naked)]
unsafe extern "C" fn scale2(q: *mut [i16; 2], pairs: usize, factor: i32) {
    naked_asm!(
        "push {{r4, lr}}",
        "mov r12, #0x800000",
        "2:",
        "ldr r3, [r0]",
        "asrs r4, r3, #16",
        "sxth r3, r3",
        "mla r4, r4, r2, r12",
        "mla r3, r3, r2, r12",
        "asrs r4, r4, #24",
        "asrs r3, r3, #24",
        "bfi r3, r4, #16, #16",
        "str r3, [r0], #4",
        "subs r1, #1",
        "bne 2b",
        "pop {{r4, pc}}",
    )
}

/// See [`passes::rotate`].
pub fn rotate(x: &mut [i16], turns: &[i16]) {
    let ((x, _), (turns, _)) = (x.as_chunks_mut::<2>(), turns.as_chunks::<2>());
    let pairs = x.len().min(turns.len());
    if pairs > 0 {
        // SAFETY: both slices have so many pairs, not none.
        unsafe { rotate2(x.as_mut_ptr(), turns.as_ptr(), pairs) };
    }
}

/// # Safety
/// `x` and `turns`, which LDR and STR may find at an odd half of a word, point to `pairs` pairs, more than none.
#[unsafe(naked)]
unsafe extern "C" fn rotate2(x: *mut [i16; 2], turns: *const [i16; 2], pairs: usize) {
    // r3, r4: the pair; r5, r6: cosine and sine; r7, r8: the turned pair; r12: half
    naked_asm!(
        "push {{r4-r8, lr}}",
        "mov r12, #8192",
        "2:",
        "ldr r3, [r0]",
        "ldr r5, [r1], #4",
        "asrs r4, r3, #16",
        "sxth r3, r3",
        "asrs r6, r5, #16",
        "sxth r5, r5",
        "mla r7, r3, r5, r12",
        "mls r7, r4, r6, r7",
        "mla r8, r3, r6, r12",
        "mla r8, r4, r5, r8",
        "asrs r7, r7, #14",
        "asr r8, r8, #14",
        "bfi r7, r8, #16, #16",
        "str r7, [r0], #4",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r8, pc}}",
    )
}
