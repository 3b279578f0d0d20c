//! The short passes: rounding, peaks, elements of the cache.

use crate::kernel::passes::{self, BlockShift};
use core::arch::naked_asm;

/// Defines a function of which naked code does whole groups of four elements.
macro_rules! naked {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?, $($line:expr),+ $(,)?) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            naked_asm!($($line),+)
        }
    };
}

/// See [`passes::round`].
pub fn round(values: &[i32], shift: BlockShift, q: &mut [i16]) {
    let len = values.len().min(q.len());
    let fours = if shift.left == 0 { len / 4 } else { 0 };
    let (whole, rest) = (values.get(fours * 4..len).unwrap_or_default(), q.get_mut(fours * 4..len));
    passes::round(whole, shift, rest.unwrap_or_default());
    if fours > 0 {
        let (values, q) = (values.as_ptr(), q.as_mut_ptr());
        // SAFETY: both slices have so many groups of four.
        unsafe { round_right(values, q, (shift.right & 31) + 1, values.wrapping_add(fours * 4)) }
    }
}

naked! {
    /// # Safety
    /// `values`, up to `end`, and `q` are whole groups of four, more than none.
    round_right(values: *const i32, q: *mut i16, shift: u32, end: *const i32),
    // r0: values; r1: q; r2: shift with the place that is rounded away; r3: 0; r12: end
    "push {{r4-r7, lr}}",
    "mov r12, r3",
    "movs r3, #0",
    "2:",
    "ldmia r0!, {{r4-r7}}",
    "asrs r4, r2\n adcs r4, r3\n strh r4, [r1]",
    "asrs r5, r2\n adcs r5, r3\n strh r5, [r1, #2]",
    "asrs r6, r2\n adcs r6, r3\n strh r6, [r1, #4]",
    "asrs r7, r2\n adcs r7, r3\n strh r7, [r1, #6]",
    "adds r1, #8",
    "cmp r0, r12",
    "bne 2b",
    "pop {{r4-r7, pc}}",
}

/// See [`passes::peak`].
pub fn peak(q: &[i16]) -> u32 {
    let (fours, rest) = q.as_chunks::<4>();
    if fours.is_empty() || !q.as_ptr().addr().is_multiple_of(4) {
        return passes::peak(q);
    }
    let (peak, fours) = (passes::peak(rest), fours.as_ptr_range());
    // SAFETY: these are groups of four elements, not none, which begin at a word.
    unsafe { peak_of_words(fours.start, fours.end, peak) }
}

/// Meets the element in `$x`: two comparisons in one, as in [`passes::peak`].
macro_rules! meet {
    ($x:literal, $beyond:literal, $back:literal) => {
        concat!("adds r6, ", $x, ", r2\n cmp r6, r3\n bhi ", $beyond, "f\n ", $back, ":\n")
    };
}

/// Keeps the new peak in `$x`.
macro_rules! keep {
    ($x:literal, $beyond:literal, $back:literal) => {
        concat!(
            $beyond,
            ": asrs r6, ",
            $x,
            ", #31\n adds r2, ",
            $x,
            ", r6\n eors r2, r6\n lsls r3, r2, #1\n b ",
            $back,
            "b\n"
        )
    };
}

naked! {
    /// # Safety
    /// `q`, up to `end`, are groups of four elements, more than none, at words.
    peak_of_words(q: *const [i16; 4], end: *const [i16; 4], peak: u32) -> u32,
    // r0: q; r1: end; r2: peak; r3: twice that; r4, r5, r7: elements
    "push {{r4-r7, lr}}",
    "lsls r3, r2, #1",
    "2:",
    "ldmia r0!, {{r4, r5}}",
    "asrs r7, r4, #16\n sxth r4, r4",
    meet!("r7", "62", "72"),
    meet!("r4", "63", "73"),
    "asrs r7, r5, #16\n sxth r5, r5",
    meet!("r7", "64", "74"),
    meet!("r5", "65", "75"),
    "cmp r0, r1",
    "bne 2b",
    "mov r0, r2",
    "pop {{r4-r7, pc}}",
    keep!("r7", "62", "72"),
    keep!("r4", "63", "73"),
    keep!("r7", "64", "74"),
    keep!("r5", "65", "75"),
}

/// See [`passes::scale`].
pub fn scale(q: &mut [i16], factor: i32) {
    let (fours, rest) = q.as_chunks_mut::<4>();
    passes::scale(rest, factor);
    if !fours.is_empty() {
        let fours = fours.as_mut_ptr_range();
        // SAFETY: these are groups of four elements, not none.
        unsafe { scale_fours(fours.start, fours.end, factor) }
    }
}

/// An element at `$at`, times the factor.
macro_rules! scaled {
    ($at:literal) => {
        concat!(
            "ldrh r4, [r0, #",
            $at,
            "]\n sxth r4, r4\n muls r4, r2, r4\n asrs r4, r4, #24\n adcs r4, r3\n strh r4, [r0, #",
            $at,
            "]\n"
        )
    };
}

naked! {
    /// # Safety
    /// `q`, up to `end`, are groups of four elements, more than none.
    scale_fours(q: *mut [i16; 4], end: *mut [i16; 4], factor: i32),
    "push {{r4, lr}}",
    "movs r3, #0",
    "2:",
    scaled!("0"),
    scaled!("2"),
    scaled!("4"),
    scaled!("6"),
    "adds r0, #8",
    "cmp r0, r1",
    "bne 2b",
    "pop {{r4, pc}}",
}

/// See [`passes::multiply`].
pub fn multiply(q: &mut [i16], gains: &[i16]) {
    let len = q.len().min(gains.len());
    let fours = len / 4;
    let (rest, rest_gains) = (q.get_mut(fours * 4..len), gains.get(fours * 4..len));
    passes::multiply(rest.unwrap_or_default(), rest_gains.unwrap_or_default());
    if fours > 0 {
        let q = q.as_mut_ptr();
        // SAFETY: both slices have so many groups of four.
        unsafe { multiply_fours(q, gains.as_ptr(), q.wrapping_add(fours * 4)) }
    }
}

/// An element at `$at`, times its gain.
macro_rules! multiplied {
    ($at:literal) => {
        concat!(
            "ldrh r4, [r0, #",
            $at,
            "]\n sxth r4, r4\n ldrh r5, [r1, #",
            $at,
            "]\n sxth r5, r5\n muls r4, r5, r4\n ",
            "asrs r4, r4, #15\n adcs r4, r3\n strh r4, [r0, #",
            $at,
            "]\n"
        )
    };
}

naked! {
    /// # Safety
    /// `q`, up to `end`, and `gains` are whole groups of four elements, more than none.
    multiply_fours(q: *mut i16, gains: *const i16, end: *mut i16),
    "push {{r4, r5, lr}}",
    "movs r3, #0",
    "2:",
    multiplied!("0"),
    multiplied!("2"),
    multiplied!("4"),
    multiplied!("6"),
    "adds r0, #8",
    "adds r1, #8",
    "cmp r0, r2",
    "bne 2b",
    "pop {{r4, r5, pc}}",
}

/// See [`passes::store`]; the elements get their offset.
pub fn store(values: &[i16], factor: i32, shift: u32, elements: &mut [i8], stride: usize) {
    if stride == 1 && (1..32).contains(&shift) && !values.is_empty() && elements.len() >= values.len() {
        let (values, elements) = (values.as_ptr_range(), elements.as_mut_ptr());
        // SAFETY: there are elements for all values, of which there are some; the shift is not 0.
        return unsafe { store_row(values.start, values.end, elements, factor, shift) };
    }
    passes::store(values, factor, shift, elements, stride);
    for element in elements.iter_mut().step_by(stride.max(1)).take(values.len()) {
        *element = (*element as u8 ^ super::CACHE_OFFSET) as i8;
    }
}

naked! {
    /// # Safety
    /// `values` are some, up to `end`, and `elements` as many; `shift` is within 1..32.
    store_row(values: *const i16, end: *const i16, elements: *mut i8, factor: i32, shift: u32),
    // r0: values; r1: end; r2: elements; r3: factor; r4: shift; r5: 0; r6: element; r7: scratch
    "push {{r4-r7, lr}}",
    "ldr r4, [sp, #20]",
    "movs r5, #0",
    "2:",
    "ldrsh r6, [r0, r5]",
    "adds r0, #2",
    "muls r6, r3, r6",
    "asrs r6, r4",
    "adcs r6, r5",
    "adds r6, #128",
    "lsrs r7, r6, #8",
    "bne 4f",
    "3:",
    "strb r6, [r2]",
    "adds r2, #1",
    "cmp r0, r1",
    "bne 2b",
    "pop {{r4-r7, pc}}",
    // Beyond 0..256: 0 or 255.
    "4:",
    "asrs r6, r6, #31",
    "mvns r6, r6",
    "b 3b",
}

/// See [`passes::rotate`].
pub fn rotate(x: &mut [i16], turns: &[i16]) {
    let pairs = (x.len() / 2).min(turns.len() / 2);
    if pairs > 0 {
        let turns = turns.as_ptr();
        // SAFETY: both have so many pairs, more than none.
        unsafe { rotate_pairs(x.as_mut_ptr(), turns, turns.wrapping_add(2 * pairs)) }
    }
}

naked! {
    /// # Safety
    /// `turns`, up to `end`, and `x` are as many pairs, more than none.
    rotate_pairs(x: *mut i16, turns: *const i16, end: *const i16),
    // r0: x; r1: turns; r2: 0; r3, r4: a pair; r5, r6: cosine and sine; r7: product; r12: end
    "push {{r4-r7, lr}}",
    "mov r12, r2",
    "movs r2, #0",
    "2:",
    "ldrh r4, [r0, #2]\n sxth r4, r4\n ldrsh r3, [r0, r2]",
    "ldrh r6, [r1, #2]\n sxth r6, r6\n ldrsh r5, [r1, r2]",
    "mov r7, r4\n muls r7, r5, r7\n muls r5, r3, r5\n muls r4, r6, r4\n muls r3, r6, r3",
    "subs r5, r5, r4\n adds r3, r3, r7",
    "asrs r5, r5, #14\n adcs r5, r2\n strh r5, [r0]",
    "asrs r3, r3, #14\n adcs r3, r2\n strh r3, [r0, #2]",
    "adds r0, #4",
    "adds r1, #4",
    "cmp r1, r12",
    "bne 2b",
    "pop {{r4-r7, pc}}",
}

/// See [`passes::add`].
pub fn add(sums: &mut [i32], values: &[i32]) -> u32 {
    let len = sums.len().min(values.len());
    if len == 0 {
        return 0;
    }
    let sums = sums.as_mut_ptr();
    // SAFETY: both have so many elements, more than none.
    unsafe { add_saturated(sums, values.as_ptr(), sums.wrapping_add(len)) }
}

naked! {
    /// # Safety
    /// `sums`, up to `end`, and `values` are as many elements, more than none.
    add_saturated(sums: *mut i32, values: *const i32, end: *mut i32) -> u32,
    // r0: sums; r1: values; r2: end; r3: OR of the magnitudes; r4, r5: elements
    "push {{r4, r5, lr}}",
    "movs r3, #0",
    "2:",
    "ldr r4, [r0]",
    "ldmia r1!, {{r5}}",
    "adds r4, r4, r5",
    "bvs 4f",
    "3:",
    "stmia r0!, {{r4}}",
    "asrs r5, r4, #31",
    "eors r4, r5",
    "orrs r3, r4",
    "cmp r0, r2",
    "bne 2b",
    "mov r0, r3",
    "pop {{r4, r5, pc}}",
    // The largest of the sign that the sum should have, which is not the one it has.
    "4:",
    "asrs r4, r4, #31",
    "movs r5, #1",
    "lsls r5, r5, #31",
    "eors r4, r5",
    "b 3b",
}
