//! Operands of tiles: what the inputs of four columns become, see [`whole_words`](super::whole_words) and
//! [`tiles`](super::tiles).

use crate::format::InputWidth;
use core::{arch::naked_asm, ops::Range};

/// The third word of a group at width A8 has this where its even and odd columns are apart.
const HALVES: u32 = 1;
/// The third word behind the last group at width A8.
pub const END: u32 = 3;

/// Words of an operand. A8: three for each group of four columns, and three that end it; A16: the start of the sums and four
/// for each group.
pub const fn operand_len(columns: usize) -> usize {
    let groups = columns.div_ceil(4);
    4 * groups + if groups > 1 { 1 } else { 2 }
}

/// See [`kernel::prepare`](crate::kernel::prepare). Does nothing where `operand` has fewer than [`operand_len`] words.
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    match width {
        InputWidth::A8 => prepare_scaled(x, 1 << 24, operand),
        InputWidth::A16 => {
            let Some((start, words)) =
                operand.get_mut(..operand_len(x.len())).and_then(<[u32]>::split_first_mut)
            else {
                return;
            };
            let mut sum = 0;
            in_fours(x, words.as_chunks_mut().0, |x, words| {
                // SAFETY: this is what the function wants.
                sum = unsafe { spread16(x, words.start, words.end, sum) };
            });
            *start = (sum as u32).wrapping_mul(128).wrapping_neg();
        }
    }
}

/// [`prepare`] at width A8 of what `x * factor / 2^24`, rounded half up, makes of `x`: at most 127 in magnitude.
pub fn prepare_scaled(x: &[i16], factor: i32, operand: &mut [u32]) {
    let Some(operand) = operand.get_mut(..operand_len(x.len())) else {
        return;
    };
    let groups = operand.as_chunks_mut().0;
    if let Some(end) = groups.get_mut(x.len().div_ceil(4)) {
        *end = [0, 0, END];
    }
    in_fours(x, groups, |x, words| {
        // SAFETY: this is what the function wants.
        unsafe { spread8(x, words.start, words.end, factor) };
    });
}

/// Calls `spread` with elements that begin at a word, and the words of as many groups of four of them, more than none. A last
/// group of fewer has zeros after it.
#[inline(always)]
fn in_fours<const N: usize>(
    x: &[i16],
    words: &mut [[u32; N]],
    mut spread: impl FnMut(*const [i16; 4], Range<*mut [u32; N]>),
) {
    let (mut fours, rest) = x.as_chunks::<4>();
    let mut words = words;
    if fours.as_ptr().addr().is_multiple_of(4)
        && let Some((whole, others)) = core::mem::take(&mut words).split_at_mut_checked(fours.len())
    {
        if !whole.is_empty() {
            spread(fours.as_ptr(), whole.as_mut_ptr_range());
        }
        (fours, words) = (&[], others);
    }
    let last = if rest.is_empty() { None } else { Some(rest) };
    for (four, words) in fours.iter().map(|four| &four[..]).chain(last).zip(words.chunks_mut(1)) {
        let mut aligned = Four([0; 4]);
        for (to, &from) in aligned.0.iter_mut().zip(four) {
            *to = from;
        }
        spread(&aligned.0, words.as_mut_ptr_range());
    }
}

/// Four elements at a word.
#[repr(align(4))]
struct Four([i16; 4]);

/// Groups of four elements of `x`, times `factor`, to A, B - 2^8 A and the C of both; or to A, B and the C of A with
/// [`HALVES`].
///
/// # Safety
/// `x`, at a word, and `words`, up to `end`, are as many groups, more than none.
#[unsafe(naked)]
unsafe extern "C" fn spread8(x: *const [i16; 4], words: *mut [u32; 3], end: *mut [u32; 3], factor: i32) {
    // r0: x; r1: words; r4 to r7: elements; r2, r3: scratch; r8: factor; r9: the offsets; r10: 2^15; r12: half; lr: end.
    // Each magnitude is one short where the element is negative
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "push {{r4-r6}}",
        "mov lr, r2",
        "mov r8, r3",
        "movs r2, #128",
        "lsls r3, r2, #16",
        "mov r12, r3",
        "adds r3, r3, r2",
        "mov r9, r3",
        "lsls r2, r2, #8",
        "mov r10, r2",
        "2:",
        "ldmia r0!, {{r4, r6}}",
        "asrs r5, r4, #16\n sxth r4, r4\n asrs r7, r6, #16\n sxth r6, r6",
        "mov r3, r8",
        "muls r4, r3, r4\n muls r5, r3, r5\n muls r6, r3, r6\n muls r7, r3, r7",
        "add r4, r12\n add r5, r12\n add r6, r12\n add r7, r12",
        "asrs r4, r4, #24\n asrs r5, r5, #24\n asrs r6, r6, #24\n asrs r7, r7, #24",
        "asrs r2, r4, #31\n eors r2, r4",
        "asrs r3, r5, #31\n eors r3, r5\n adds r2, r2, r3",
        "asrs r3, r6, #31\n eors r3, r6\n adds r2, r2, r3",
        "asrs r3, r7, #31\n eors r3, r7\n adds r2, r2, r3",
        "lsls r4, r4, #16\n adds r4, r4, r6",
        "lsls r5, r5, #16\n adds r5, r5, r7",
        "mov r6, r9",
        "mov r7, r10",
        "cmp r2, #251",
        "bhi 4f",
        "adds r2, r4, r5\n muls r6, r2, r6\n subs r6, r7, r6",
        "lsls r2, r4, #8\n subs r5, r5, r2",
        "3:",
        "stmia r1!, {{r4-r6}}",
        "cmp r1, lr",
        "bne 2b",
        "pop {{r4-r6}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "pop {{r4-r7, pc}}",
        "4:",
        "muls r6, r4, r6\n subs r6, r7, r6\n adds r6, #{halves}",
        "b 3b",
        halves = const HALVES,
    )
}

/// Groups of four elements of `x` to the numbers that meet w, u1, u2, u3; returns `sum` plus all elements.
///
/// # Safety
/// As for [`spread8`].
#[unsafe(naked)]
unsafe extern "C" fn spread16(x: *const [i16; 4], words: *mut [u32; 4], end: *mut [u32; 4], sum: i32) -> i32 {
    // r0: x; r1: words; r2: scratch; r3: sum; r4 to r7: elements; lr: end
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov lr, r2",
        "2:",
        "ldmia r0!, {{r4, r6}}",
        "asrs r5, r4, #16\n sxth r4, r4\n asrs r7, r6, #16\n sxth r6, r6",
        "adds r3, r3, r4\n adds r3, r3, r5\n adds r3, r3, r6\n adds r3, r3, r7",
        "lsls r2, r4, #8\n subs r5, r5, r2",
        "lsls r2, r4, #16\n subs r6, r6, r2",
        "lsls r2, r4, #24\n subs r7, r7, r2",
        "stmia r1!, {{r4-r7}}",
        "cmp r1, lr",
        "bne 2b",
        "mov r0, r3",
        "pop {{r4-r7, pc}}",
    )
}
