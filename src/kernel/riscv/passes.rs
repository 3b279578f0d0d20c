//! Passes between the matrices that take fewer instructions here than as [`passes`] has them.

use crate::kernel::passes::{self, BlockShift};
use core::arch::naked_asm;

/// See [`passes::rescale`].
#[inline(never)]
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let len = y.len().min(scales.len()) & !1;
    if len == 0 || scale < 0 || !(0..=17).contains(&right) || !scales.as_ptr().addr().is_multiple_of(4) {
        return passes::rescale(y, scales, up, scale, right);
    }
    let range = y.as_mut_ptr_range();
    let (eights, end) = (range.start.wrapping_add(len & !7), range.start.wrapping_add(len));
    let doubling = (i32::from(scale) as u32) << ((17 - right) & 31);
    let one = i32::from(right > 0);
    // SAFETY: both slices have `len` elements, which is even and not 0, and the scales start at a word.
    let size = unsafe { rescale_pairs(range.start, scales.as_ptr(), eights, end, up & 31, doubling, one) };
    match (y.get_mut(len..), scales.get(len..)) {
        (Some(y @ [_, ..]), Some(scales @ [_, ..])) => size | passes::rescale(y, scales, up, scale, right),
        _ => size,
    }
}

/// Two elements, `$y` bytes from a0, whose scales are `$scales` bytes from a1.
///
/// The second product's high word keeps one bit more than the result v, so that rounding is adding 1 (or 0, where nothing is
/// cut off) and halving. That makes 2 v or 2 v + 1, and exclusive or with v a number with one bit more than the magnitude of
/// v.
#[rustfmt::skip]
macro_rules! two {
    ($y:literal, $scales:literal) => {
        concat!(
            "lw t0, ", $scales, "(a1)\n lw t1, ", $y, "(a0)\n lw t2, ", $y, "+4(a0)\n",
            "slli t3, t0, 16\n and t0, t0, t6\n sll t1, t1, a4\n sll t2, t2, a4\n",
            "mulh t1, t1, t3\n mulh t2, t2, t0\n mulhsu t1, t1, a5\n mulhsu t2, t2, a5\n",
            "add t1, t1, a6\n add t2, t2, a6\n srai t3, t1, 1\n srai t4, t2, 1\n",
            "sw t3, ", $y, "(a0)\n sw t4, ", $y, "+4(a0)\n",
            "xor t1, t1, t3\n xor t2, t2, t4\n or t5, t5, t1\n or t5, t5, t2\n",
        )
    };
}

/// # Safety
/// `y` points to elements up to `end`, in groups of eight up to `eights`, then of two; `scales` to as many, and to a word.
#[unsafe(naked)]
unsafe extern "C" fn rescale_pairs(
    y: *mut i32,
    scales: *const i16,
    eights: *mut i32,
    end: *mut i32,
    up: u32,
    doubling: u32,
    one: i32,
) -> u32 {
    // a0: y; a1: scales; a2: end of groups; a3: end; a4: places up; a5: scale; a6: what rounds; t0 to t4: two elements; t5:
    // magnitude; t6: mask
    naked_asm!(
        ".option push",
        arch!(),
        "li t5, 0",
        "li t6, 0xffff0000",
        "beq a0, a2, 3f",
        "2:",
        two!("0", "0"),
        two!("8", "4"),
        two!("16", "8"),
        two!("24", "12"),
        "addi a0, a0, 32",
        "addi a1, a1, 16",
        "bne a0, a2, 2b",
        "3:",
        "beq a0, a3, 5f",
        "4:",
        two!("0", "0"),
        "addi a0, a0, 8",
        "addi a1, a1, 4",
        "bne a0, a3, 4b",
        "5:",
        "srli a0, t5, 1",
        "ret",
        ".option pop",
    )
}

/// See [`passes::round`].
#[inline(never)]
pub fn round(values: &[i32], shift: BlockShift, q: &mut [i16]) {
    let fours = values.len().min(q.len()) / 4;
    // With results of at most 14 bits, a sum with a half of at most 2^15 fits.
    if shift.left > 0 || shift.right > 15 || fours == 0 {
        return passes::round(values, shift, q);
    }
    let start = values.as_ptr();
    // SAFETY: both slices have so many groups of four, not none.
    unsafe {
        round4(start, q.as_mut_ptr(), start.wrapping_add(fours * 4), shift.right + 1, 1 << shift.right);
    }
    if let (Some(values @ [_, ..]), Some(q)) = (values.get(fours * 4..), q.get_mut(fours * 4..)) {
        passes::round(values, shift, q);
    }
}

/// # Safety
/// `values`, up to `end`, and `q` are whole groups of four, more than none.
#[unsafe(naked)]
unsafe extern "C" fn round4(values: *const i32, q: *mut i16, end: *const i32, shift: u32, half: i32) {
    naked_asm!(
        ".option push",
        arch!(),
        "2:",
        "lw t0, 0(a0)",
        "lw t1, 4(a0)",
        "lw t2, 8(a0)",
        "lw t3, 12(a0)",
        "add t0, t0, a4",
        "add t1, t1, a4",
        "add t2, t2, a4",
        "add t3, t3, a4",
        "sra t0, t0, a3",
        "sra t1, t1, a3",
        "sra t2, t2, a3",
        "sra t3, t3, a3",
        "sh t0, 0(a1)",
        "sh t1, 2(a1)",
        "sh t2, 4(a1)",
        "sh t3, 6(a1)",
        "addi a0, a0, 16",
        "addi a1, a1, 8",
        "bne a0, a2, 2b",
        "ret",
        ".option pop",
    )
}

/// See [`passes::peak`].
#[inline(never)]
pub fn peak(q: &[i16]) -> u32 {
    let (fours, rest) = q.as_chunks::<4>();
    let peak = passes::peak(rest);
    if fours.is_empty() {
        return peak;
    }
    let fours = fours.as_ptr_range();
    // SAFETY: these are groups of four elements, not none.
    unsafe { peak4(fours.start, fours.end, peak) }
}

/// Meets an element: two comparisons in one, as in [`passes::peak`].
#[rustfmt::skip]
macro_rules! meet {
    ($at:literal, $beyond:literal, $back:literal) => {
        concat!("lh t0, ", $at, "(a0)\n add t1, t0, a2\n bgtu t1, a3, ", $beyond, "f\n ", $back, ":\n")
    };
}

/// The rare case: a new peak.
#[rustfmt::skip]
macro_rules! keep {
    ($beyond:literal, $back:literal) => {
        concat!(
            $beyond, ":\n srai t1, t0, 31\n xor a2, t0, t1\n sub a2, a2, t1\n slli a3, a2, 1\n j ", $back, "b\n",
        )
    };
}

/// # Safety
/// `q`, up to `end`, are groups of four elements, more than none.
#[unsafe(naked)]
unsafe extern "C" fn peak4(q: *const [i16; 4], end: *const [i16; 4], peak: u32) -> u32 {
    // a0: q; a1: end; a2: peak; a3: twice that; t0: element; t1: scratch
    naked_asm!(
        ".option push",
        arch!(),
        "slli a3, a2, 1",
        "2:",
        meet!("0", "62", "72"),
        meet!("2", "63", "73"),
        meet!("4", "64", "74"),
        meet!("6", "65", "75"),
        "addi a0, a0, 8",
        "bne a0, a1, 2b",
        "mv a0, a2",
        "ret",
        keep!("62", "72"),
        keep!("63", "73"),
        keep!("64", "74"),
        keep!("65", "75"),
        ".option pop",
    )
}
