//! The passes over vectors between the matrices: four elements at a time, two of 16 bits in a word. What is left over, and
//! slices of 16-bit elements that do not start at a word, go through the safe loops.

use crate::kernel::passes::{self, BlockShift, Divisor, Gate};
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
    let Some(factor) = rounding(shift) else {
        return passes::round(values, shift, q);
    };
    if fours == 0 || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::round(values, shift, q);
    }
    // SAFETY: as above; both slices have so many groups of four, and `q` starts at a word.
    unsafe { round4(values.as_ptr(), q.as_mut_ptr(), fours, factor) };
    if len > fours * 4
        && let (Some(values), Some(q)) = (values.get(fours * 4..len), q.get_mut(fours * 4..))
    {
        passes::round(values, shift, q);
    }
}

/// What SMMULR multiplies by to shift and round: 2^32 / 2^s, for `s` of 2 and more.
fn rounding(shift: BlockShift) -> Option<u32> {
    if shift.left == 0 && shift.right > 0 { Some(1 << (31 - (shift.right & 31))) } else { None }
}

/// # Safety
/// `values` and `q`, which starts at a word, point to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn round4(values: *const i32, q: *mut i16, fours: usize, factor: u32) {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r7, lr}}",
        "2:",
        "ldmia r0!, {{r4-r7}}",
        "smmulr r4, r4, r3",
        "smmulr r5, r5, r3",
        "smmulr r6, r6, r3",
        "smmulr r7, r7, r3",
        "pkhbt r4, r4, r5, lsl #16",
        "pkhbt r6, r6, r7, lsl #16",
        "strd r4, r6, [r1], #8",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`passes::squares`].
pub fn squares(q: &[i16]) -> u64 {
    let (eights, rest) = q.as_chunks::<8>();
    if eights.is_empty() || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::squares(q);
    }
    // SAFETY: as above; `q` starts at a word and has so many groups of eight.
    let sum = unsafe { squares8(q.as_ptr(), eights.len()) };
    if rest.is_empty() { sum } else { sum + passes::squares(rest) }
}

/// # Safety
/// `q` starts at a word and points to `eights` groups of eight, more than none.
#[unsafe(naked)]
unsafe extern "C" fn squares8(q: *const i16, eights: usize) -> u64 {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r6, lr}}",
        "mov r2, r0",
        "mov r12, r1",
        "movs r0, #0",
        "movs r1, #0",
        "2:",
        "ldmia r2!, {{r3-r6}}",
        "smlald r0, r1, r3, r3",
        "smlald r0, r1, r4, r4",
        "smlald r0, r1, r5, r5",
        "smlald r0, r1, r6, r6",
        "subs r12, #1",
        "bne 2b",
        "pop {{r4-r6, pc}}",
    )
}

/// See [`passes::multiply`].
pub fn multiply(q: &mut [i16], gains: &[i16]) {
    let fours = q.len().min(gains.len()) / 4;
    if fours == 0 || !(q.as_ptr().addr() | gains.as_ptr().addr()).is_multiple_of(4) {
        return passes::multiply(q, gains);
    }
    // SAFETY: as above; both slices start at words and have so many groups of four.
    unsafe { multiply4(q.as_mut_ptr(), gains.as_ptr(), fours) };
    if q.len() > fours * 4
        && let (Some(q), Some(gains)) = (q.get_mut(fours * 4..), gains.get(fours * 4..))
    {
        passes::multiply(q, gains);
    }
}

/// # Safety
/// `q` and `gains` start at words and point to `fours` groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn multiply4(q: *mut i16, gains: *const i16, fours: usize) {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r7, lr}}",
        "mov r12, #16384",
        "2:",
        "ldrd r3, r4, [r0]",
        "ldrd r5, r6, [r1], #8",
        "smlabb r7, r3, r5, r12",
        "smlatt r3, r3, r5, r12",
        "lsrs r7, r7, #15",
        "pkhbt r3, r7, r3, lsl #1",
        "smlabb r7, r4, r6, r12",
        "smlatt r4, r4, r6, r12",
        "lsrs r7, r7, #15",
        "pkhbt r4, r7, r4, lsl #1",
        "strd r3, r4, [r0], #8",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`passes::store`].
pub fn store(values: &[i16], factor: i32, shift: u32, elements: &mut [i8], stride: usize) {
    let fours = values.len() / 4;
    let whole = (4 * fours).saturating_sub(1).saturating_mul(stride) < elements.len();
    let aligned = values.as_ptr().addr().is_multiple_of(4);
    if fours == 0 || stride == 0 || !whole || !aligned || !(2..32).contains(&shift) || factor > 1 << 15 {
        return passes::store(values, factor, shift, elements, stride);
    }
    // SMLAWB cuts one bit off a product and adds half of those that are left to be cut off.
    let how = Store { stride, factor: factor << 15, half: 1 << (shift - 2), shift: shift - 1 };
    // SAFETY: as above; `values` starts at a word and has so many groups of four, and the last of them has its place in
    // `elements`.
    unsafe { store4(values.as_ptr(), elements.as_mut_ptr(), fours, &how) };
    if values.len() > 4 * fours
        && let (Some(values), Some(elements)) =
            (values.get(4 * fours..), elements.get_mut(4 * fours * stride..))
    {
        passes::store(values, factor, shift, elements, stride);
    }
}

/// What [`store4`] keeps in registers.
#[repr(C)]
struct Store {
    stride: usize,
    factor: i32,
    half: i32,
    shift: u32,
}

/// # Safety
/// `values` starts at a word and points to `fours` groups of four, more than none; `elements` to room for as many,
/// `how.stride` apart.
#[unsafe(naked)]
unsafe extern "C" fn store4(values: *const i16, elements: *mut i8, fours: usize, how: *const Store) {
    // r3: stride; r4: factor; r5: half; r6: shift; r7, r8: values; r12: scratch
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r8, lr}}",
        "ldmia r3, {{r3-r6}}",
        "2:",
        "ldrd r7, r8, [r0], #8",
        "smlawb r12, r4, r7, r5",
        "smlawt r7, r4, r7, r5",
        "asr r12, r12, r6",
        "asrs r7, r6",
        "ssat r12, #8, r12",
        "ssat r7, #8, r7",
        "strb r12, [r1]",
        "strb r7, [r1, r3]",
        "add r1, r1, r3, lsl #1",
        "smlawb r12, r4, r8, r5",
        "smlawt r7, r4, r8, r5",
        "asr r12, r12, r6",
        "asrs r7, r6",
        "ssat r12, #8, r12",
        "ssat r7, #8, r7",
        "strb r12, [r1]",
        "strb r7, [r1, r3]",
        "add r1, r1, r3, lsl #1",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r8, pc}}",
    )
}

/// See [`passes::peak`].
pub fn peak(q: &[i16]) -> u32 {
    let (eights, rest) = q.as_chunks::<8>();
    if eights.is_empty() || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::peak(q);
    }
    // SAFETY: as above; `q` starts at a word and has so many groups of eight.
    let peaks = unsafe { peak8(q.as_ptr(), eights.len()) };
    let peak = (peaks & 0xffff).max(peaks >> 16);
    if rest.is_empty() { peak } else { peak.max(passes::peak(rest)) }
}

/// Two elements against the largest magnitudes: SSUB16 and USUB16 note which halves are not negative, and SEL takes these
/// from one word and the others from another.
macro_rules! peak {
    ($x:literal) => {
        concat!(
            "ssub16 lr, r12, ",
            $x,
            "\n",
            "sel ",
            $x,
            ", lr, ",
            $x,
            "\n",
            "usub16 lr, ",
            $x,
            ", r2\n",
            "sel r2, ",
            $x,
            ", r2\n",
        )
    };
}

/// The largest magnitudes of the even and of the odd elements, a half each.
///
/// # Safety
/// `q` starts at a word and points to `eights` groups of eight, more than none.
#[unsafe(naked)]
unsafe extern "C" fn peak8(q: *const i16, eights: usize) -> u32 {
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r6, lr}}",
        "movs r2, #0",
        "mov r12, #0",
        "2:",
        "ldmia r0!, {{r3-r6}}",
        peak!("r3"),
        peak!("r4"),
        peak!("r5"),
        peak!("r6"),
        "subs r1, #1",
        "bne 2b",
        "mov r0, r2",
        "pop {{r4-r6, pc}}",
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
    if x.len() > fours * 4
        && let (Some(x), Some(turns)) = (x.get_mut(fours * 4..), turns.get(fours * 4..))
    {
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
    let (Some(openings), Some(rounding), 0, 4..) =
        (gate.openings, rounding(gate.shift), gate.to_table.0, len)
    else {
        return passes::activate_gated(values, ups, gate);
    };
    let how = Activation { rounding, to_table: gate.to_table.1, up: gate.up, openings: openings.as_ptr() };
    let size = match (values.get_mut(len / 4 * 4..len), ups.get(len / 4 * 4..)) {
        (Some(values), Some(ups)) if !len.is_multiple_of(4) => passes::activate_gated(values, ups, gate),
        _ => 0,
    };
    // SAFETY: as above; both slices have `len / 4` groups of four, not none, and the table 513 entries: an index is below 512, and
    // the word there holds the entry behind it, too.
    size | unsafe { activate4(values.as_mut_ptr(), ups.as_ptr(), len / 4, &how) }
}

/// What [`activate4`] keeps in registers.
#[repr(C)]
struct Activation {
    rounding: u32,
    to_table: u32,
    up: u32,
    openings: *const u16,
}

/// One element: the gate in `$x`.
macro_rules! activate {
    ($x:literal) => {
        concat!(
            "smmulr ",
            $x,
            ", ",
            $x,
            ", r4\n",
            // its magnitude, and that one's place in the table
            "eor r11, ",
            $x,
            ", ",
            $x,
            ", asr #31\n",
            "sub r11, r11, ",
            $x,
            ", asr #31\n",
            "lsr r12, r11, r5\n",
            "usat r12, #14, r12\n",
            "lsr lr, r12, #5\n",
            "ldr lr, [r7, lr, lsl #1]\n",
            // between two entries: 32 - f of the first, in the lower half, and f of the second
            "and r12, r12, #31\n",
            "rsb r12, r12, r12, lsl #16\n",
            "add r12, r12, #32\n",
            "smlad lr, lr, r12, r8\n",
            "asr lr, lr, #5\n",
            // x / 2 + |x| * opening, times the up
            "smlabb lr, r11, lr, r9\n",
            "smlabb ",
            $x,
            ", ",
            $x,
            ", r9, lr\n",
            "ldr r12, [r1], #4\n",
            "asrs ",
            $x,
            ", ",
            $x,
            ", #15\n",
            "lsl r12, r12, r6\n",
            "smulwb ",
            $x,
            ", r12, ",
            $x,
            "\n",
            "eor r12, ",
            $x,
            ", ",
            $x,
            ", asr #31\n",
            "orr r10, r10, r12\n",
        )
    };
}

/// # Safety
/// `values` and `ups` point to `fours` groups of four, more than none, and `how.openings` to 513 entries.
#[unsafe(naked)]
unsafe extern "C" fn activate4(
    values: *mut i32,
    ups: *const i32,
    fours: usize,
    how: *const Activation,
) -> u32 {
    // r2, r3: elements; r4: what rounds; r5, r6: the shifts; r7: the table; r8: 16; r9: 2^14, a half and half of the last
    // bit; r10: magnitude; r11: |x|; r12, lr: scratch. The frame: values' end
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r3-r11, lr}}",
        "ldmia r3, {{r4-r7}}",
        "add r2, r0, r2, lsl #4",
        "str r2, [sp]",
        "mov r8, #16",
        "mov r9, #0x4000",
        "mov r10, #0",
        "2:",
        "ldrd r2, r3, [r0]",
        activate!("r2"),
        activate!("r3"),
        "strd r2, r3, [r0], #8",
        "ldrd r2, r3, [r0]",
        activate!("r2"),
        activate!("r3"),
        "strd r2, r3, [r0], #8",
        "ldr r12, [sp]",
        "cmp r0, r12",
        "bne 2b",
        "mov r0, r10",
        "pop {{r3-r11, pc}}",
    )
}

/// See [`passes::divide_pair`].
pub fn divide_pair(totals: &[i32], divisors: &[Divisor; 2], out: &mut [i32]) -> u32 {
    let (fours, whole) = (totals.len() / 8, totals.len().is_multiple_of(8) && totals.len() == out.len());
    let [a, b] = divisors;
    if fours == 0 || !whole || !(2..32).contains(&a.narrowing) || !(2..32).contains(&b.narrowing) {
        return passes::divide_pair(totals, divisors, out);
    }
    let (a, b) = (Divide::new(a), Divide::new(b));
    let (totals, out) = (totals.as_ptr(), out.as_mut_ptr());
    // SAFETY: as above; `totals` and `out` have so many groups of eight each, which are of four for each head.
    unsafe { divide4(totals, out, fours, &a) | divide4(totals.add(1), out.add(4 * fours), fours, &b) }
}

/// What [`divide4`] keeps in registers.
#[repr(C)]
struct Divide {
    narrowing: u32,
    reciprocal: i32,
    half: i32,
    place: u32,
}

impl Divide {
    #[inline(always)]
    fn new(divisor: &Divisor) -> Self {
        let Divisor { narrowing, reciprocal, place } = *divisor;
        // SMMULR multiplies by a power of two to shift and round.
        Self { narrowing: 1 << (32 - narrowing), reciprocal, half: 1 << (place & 31) >> 1, place }
    }
}

/// # Safety
/// `out` points to `fours` groups of four, more than none, and `totals` to as many of eight, of which the last element may
/// be missing.
#[unsafe(naked)]
unsafe extern "C" fn divide4(totals: *const i32, out: *mut i32, fours: usize, how: *const Divide) -> u32 {
    // r3: narrowing; r4: reciprocal; r5: half; r6: place; r7: size; r8 to r11: elements; r12: scratch
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldmia r3, {{r3-r6}}",
        "movs r7, #0",
        "2:",
        "ldr r8, [r0], #8",
        "ldr r9, [r0], #8",
        "ldr r10, [r0], #8",
        "ldr r11, [r0], #8",
        "smmulr r8, r8, r3",
        "smmulr r9, r9, r3",
        "smmulr r10, r10, r3",
        "smmulr r11, r11, r3",
        "mla r8, r8, r4, r5",
        "mla r9, r9, r4, r5",
        "mla r10, r10, r4, r5",
        "mla r11, r11, r4, r5",
        "asr r8, r8, r6",
        "asr r9, r9, r6",
        "asr r10, r10, r6",
        "asr r11, r11, r6",
        "eor r12, r8, r8, asr #31",
        "orr r7, r7, r12",
        "eor r12, r9, r9, asr #31",
        "orr r7, r7, r12",
        "eor r12, r10, r10, asr #31",
        "orr r7, r7, r12",
        "eor r12, r11, r11, asr #31",
        "orr r7, r7, r12",
        "stmia r1!, {{r8-r11}}",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r7",
        "pop {{r4-r11, pc}}",
    )
}
