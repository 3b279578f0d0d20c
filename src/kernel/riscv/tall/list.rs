//! The two lists of columns that a product reads.

use core::arch::naked_asm;

/// Scales `x` by `factor / 2^24`, rounded half up, to at most 127 in magnitude, and sorts its columns into two lists, as
/// [`Operand`](super::Operand) has them; returns their sum. Does nothing where `words` has fewer than three words more than
/// `x` elements.
pub fn list(x: &[i16], factor: i32, words: &mut [u32]) -> i32 {
    if words.len() < x.len() + 3 {
        return 0;
    }
    let (x, words) = (x.as_ptr_range(), words.as_mut_ptr_range());
    let fours = (x.end as usize - x.start as usize) & !7;
    // SAFETY: each element takes one word, of the first or of the last; if it is 0, none. The ends of both
    // lists take four words, or three where no element is 0.
    unsafe { sort(x.start, x.start.wrapping_byte_add(fours), words.start, words.end.sub(1), factor, x.end) }
}

/// An element at `$at`; `$labels` are those of the rarer ways, which `other` has.
#[rustfmt::skip]
macro_rules! element {
    ($at:literal, $labels:literal) => {
        concat!(
            "lh t0, ", $at, "(a0)\n mul t0, t0, a4\n add t0, t0, t5\n srai t0, t0, 24\n add t3, t3, t0\n",
            "blez t0, 1", $labels, "f\n add t0, t0, t2\n sw t0, 0(a2)\n addi a2, a2, 4\n 2", $labels, ":\n",
            "add t2, t2, t6\n",
        )
    };
}

/// An element that is negative, or 0.
#[rustfmt::skip]
macro_rules! other {
    ($labels:literal) => {
        concat!(
            "1", $labels, ":\n beqz t0, 2", $labels, "b\n sub t0, t2, t0\n sw t0, 0(a3)\n addi a3, a3, -4\n",
            "j 2", $labels, "b\n",
        )
    };
}

/// # Safety
/// `x` points to elements up to `end`, in groups of four up to `fours`; `first` and `last` to the first and the last of three
/// words more.
#[unsafe(naked)]
unsafe extern "C" fn sort(
    x: *const i16,
    fours: *const i16,
    first: *mut u32,
    last: *mut u32,
    factor: i32,
    end: *const i16,
) -> i32 {
    // a0: x; a1: end of groups; a2, a3: next words; a4: factor; a5: end; a6, a7: first words; t0: element; t1: odd; t2:
    // 16 times the column in the high half, t6 a step of it; t3: sum; t5: a half
    naked_asm!(
        ".option push",
        arch!(),
        "mv a6, a2",
        "mv a7, a3",
        "li t2, 0",
        "li t3, 0",
        "li t5, 1 << 23",
        "li t6, 1 << 20",
        "beq a0, a1, 4f",
        "3:",
        element!("0", "0"),
        element!("2", "1"),
        element!("4", "2"),
        element!("6", "3"),
        "addi a0, a0, 8",
        "bne a0, a1, 3b",
        "4:",
        "beq a0, a5, 6f",
        "5:",
        element!("0", "4"),
        "addi a0, a0, 2",
        "bne a0, a5, 5b",
        "6:",
        // a word of 0 where the list is odd, and one that ends it
        "sub t1, a2, a6",
        "andi t1, t1, 4",
        "sw zero, 0(a2)",
        "add a2, a2, t1",
        "sw zero, 0(a2)",
        "sub t1, a7, a3",
        "andi t1, t1, 4",
        "sw zero, 0(a3)",
        "sub a3, a3, t1",
        "sw zero, 0(a3)",
        "mv a0, t3",
        "ret",
        other!("0"),
        other!("1"),
        other!("2"),
        other!("3"),
        other!("4"),
        ".option pop",
    )
}
