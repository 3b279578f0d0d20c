//! Products of matrices in tiles of 4 x 4, layout `Bytes`: every byte is weight + 128.
//!
//! A word w of four weights (u0, u1, u2, u3) is E + 2^8 O, with E = u0 + 2^16 u2 and O = u1 + 2^16 u3, so that for any A, B
//!
//! E A + O B = w A + O (B - 2^8 A) modulo 2^32
//!
//! and only the odd bytes have to be masked out.
//!
//! - [`InputWidth::A8`]: with A = x2 + 2^16 x0, B = x3 + 2^16 x1 and C = 2^15 - (128 + 2^16 128) (A + B), which takes the
//!   offsets away and rounds,
//!
//!   E A + O B + C = (w0 x2 + w1 x3 + 2^15) + 2^16 (w0 x0 + w1 x1 + w2 x2 + w3 x3) modulo 2^32
//!
//!   Where the magnitudes of the four inputs are 255 together at most, the sum of four products fits 16 bits, and the
//!   first term is within 0..2^16: the high half is that sum, exactly. Such a tile takes 20 instructions for 16 products.
//!   Another one takes its even and its odd bytes one after the other, two products each, in 30.
//! - [`InputWidth::A16`]: u0 x0 + u1 x1 + u2 x2 + u3 x3 is w x0 + u1 (x1 - 2^8 x0) + u2 (x2 - 2^16 x0) + u3 (x3 - 2^24 x0),
//!   modulo 2^32, and a start of -128 times the sum of the inputs takes the offsets away: 31 instructions for 16 products.
//!
//! An operand of width A8 is a program: each group of four columns ends with the address of the code for its tiles, which
//! LDM loads into pc along with what that code needs of the next group.

use crate::format::InputWidth;
use crate::kernel::offset_bytes::{Blocks, in_blocks};
use core::arch::naked_asm;

/// Words of an operand. A8: four for each group, and four that end it; A16: the start of the sums and four for each group.
pub const fn operand_len(columns: usize) -> usize {
    columns.div_ceil(4) * 4 + 4
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
                // SAFETY: there are so many groups of four elements and four words, not none.
                sum = unsafe { spread16(x.as_ptr(), words.as_mut_ptr(), x.len(), sum) };
            });
            *start = (sum as u32).wrapping_mul(128).wrapping_neg();
        }
    }
}

/// [`prepare`] of what `x * factor / 2^24`, rounded half up, makes of `x`: at most 127 in magnitude.
pub fn prepare_scaled(x: &[i16], factor: i32, operand: &mut [u32]) {
    let Some(operand) = operand.get_mut(..operand_len(x.len())) else {
        return;
    };
    let entries = Entries::new();
    let Some((end, groups)) = operand.as_chunks_mut().0.split_last_mut() else {
        return;
    };
    *end = [0, 0, 0, entries.end];
    in_fours(x, groups, |x, words| {
        // SAFETY: there are so many groups of four elements and four words, not none.
        unsafe { spread8(x.as_ptr(), words.as_mut_ptr(), x.len(), factor, &entries) };
    });
}

/// Calls `spread` for the whole groups of four elements, and for what is left, with zeros after it.
#[inline(always)]
fn in_fours(x: &[i16], words: &mut [[u32; 4]], mut spread: impl FnMut(&[[i16; 4]], &mut [[u32; 4]])) {
    let (fours, rest) = x.as_chunks();
    let (whole, last) = words.split_at_mut_checked(fours.len()).unwrap_or_default();
    if !fours.is_empty() && whole.len() == fours.len() {
        spread(fours, whole);
    }
    if !rest.is_empty() && !last.is_empty() {
        let mut four = [0; 4];
        for (to, &from) in four.iter_mut().zip(rest) {
            *to = from;
        }
        spread(&[four], last);
    }
}

/// See [`kernel::product`](crate::kernel::product()).
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    if operand.len() / 4 < operand_len(columns) / 4 {
        return 0;
    }
    in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
        let (tiles, y, blocks) = (tiles.as_ptr(), sums.as_mut_ptr(), sums.len());
        match width {
            InputWidth::A8 if !Entries::new().are_in(operand, groups) => {}
            // SAFETY: Blocks' lengths are what the two want, and the operand is a program of so many groups. This target
            // executes their instructions.
            InputWidth::A8 => unsafe { tiles8(tiles, operand.as_ptr(), y, blocks) },
            // SAFETY: as above.
            InputWidth::A16 => unsafe { tiles16(tiles, operand.as_ptr(), y, groups, blocks) },
        }
    });
    0
}

/// Where the code for a group's tiles begins, and for the end of a block, as branches want it: with the lowest bit set.
#[repr(C)]
struct Entries {
    /// Four products at once.
    whole: u32,
    /// Two at a time.
    halves: u32,
    end: u32,
}

impl Entries {
    fn new() -> Self {
        let [whole, halves, end] =
            [whole_tile, halved_tile, end].map(|code: unsafe extern "C" fn()| code as *const () as u32);
        Self { whole, halves, end }
    }

    /// Whether an operand is a program for so many groups, and no other code can be reached.
    fn are_in(&self, operand: &[u32], groups: usize) -> bool {
        let (records, _) = operand.as_chunks::<4>();
        let Some((records @ [_, ..], &[[.., end], ..])) = records.split_at_checked(groups) else {
            return false;
        };
        let range = records.as_ptr_range();
        // SAFETY: these are records, not none.
        end == self.end && unsafe { all_are(range.start, range.end, self.whole, self.halves) }
    }
}

/// Whether the last word of each record is `one` or `other`. What LLVM makes of this takes twice as many instructions.
///
/// # Safety
/// `records`, up to `end`, are some, more than none.
#[unsafe(naked)]
unsafe extern "C" fn all_are(records: *const [u32; 4], end: *const [u32; 4], one: u32, other: u32) -> bool {
    naked_asm!(
        "2:",
        "ldr r12, [r0, #12]",
        "adds r0, #16",
        "cmp r12, r2",
        "beq 3f",
        "cmp r12, r3",
        "bne 4f",
        "3:",
        "cmp r0, r1",
        "bne 2b",
        "movs r0, #1",
        "bx lr",
        "4:",
        "movs r0, #0",
        "bx lr",
    )
}

/// Groups of four elements of `x`, times `factor`, to words: A, B - 2^8 A, C for all four columns and the entry for whole
/// tiles; or A, B, C for the even columns and the entry for halves.
///
/// # Safety
/// `x` and `words` point to `groups` groups, more than none.
#[unsafe(naked)]
unsafe extern "C" fn spread8(
    x: *const [i16; 4],
    words: *mut [u32; 4],
    groups: usize,
    factor: i32,
    entries: *const Entries,
) {
    // r0: x, which LDR may find at an odd half of a word; r1: words; r2: their end; r3: factor; r4: half; r5: the offsets;
    // r6: 2^15; r7 to r10: elements; r11: entry; r12, lr: scratch. Each magnitude is one short where the element is
    // negative
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "add r2, r1, r2, lsl #4",
        "mov r4, #0x800000",
        "mov r5, #0x00800080",
        "mov r6, #0x8000",
        "ldr r11, [r12]",
        "2:",
        "ldr r7, [r0], #4",
        "ldr r9, [r0], #4",
        "asr r8, r7, #16",
        "sxth r7, r7",
        "asr r10, r9, #16",
        "sxth r9, r9",
        "mla r7, r7, r3, r4",
        "mla r8, r8, r3, r4",
        "mla r9, r9, r3, r4",
        "mla r10, r10, r3, r4",
        "asr r7, r7, #24",
        "asr r8, r8, #24",
        "asr r9, r9, #24",
        "asr r10, r10, #24",
        "eor r12, r7, r7, asr #31",
        "eor lr, r8, r8, asr #31",
        "add r12, r12, lr",
        "eor lr, r9, r9, asr #31",
        "add r12, r12, lr",
        "eor lr, r10, r10, asr #31",
        "add r12, r12, lr",
        "add r7, r9, r7, lsl #16",
        "add r8, r10, r8, lsl #16",
        "cmp r12, #251",
        "bhi 4f",
        "add r9, r7, r8",
        "mls r9, r9, r5, r6",
        "sub r8, r8, r7, lsl #8",
        "stmia r1!, {{r7, r8, r9, r11}}",
        "3:",
        "cmp r1, r2",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        "4:",
        "ldr r12, [sp, #36]",
        "mls r9, r7, r5, r6",
        "ldr r10, [r12, #4]",
        "stmia r1!, {{r7-r10}}",
        "b 3b",
    )
}

/// Groups of four elements of `x` to the numbers that meet w, u1, u2, u3; returns `sum` plus all elements.
///
/// # Safety
/// `x` and `words` point to `groups` groups, more than none.
#[unsafe(naked)]
unsafe extern "C" fn spread16(x: *const [i16; 4], words: *mut [u32; 4], groups: usize, sum: i32) -> i32 {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "2:",
        "ldr r4, [r0], #4",
        "ldr r6, [r0], #4",
        "asrs r5, r4, #16",
        "sxth r4, r4",
        "asrs r7, r6, #16",
        "sxth r6, r6",
        "add r3, r4",
        "add r3, r5",
        "add r3, r6",
        "add r3, r7",
        "sub r5, r5, r4, lsl #8",
        "sub r6, r6, r4, lsl #16",
        "sub r7, r7, r4, lsl #24",
        "stmia r1!, {{r4-r7}}",
        "subs r2, #1",
        "bne 2b",
        "mov r0, r3",
        "pop {{r4-r7, pc}}",
    )
}

/// Products at width A8: a block is the operand's program, which ends in [`end`].
///
/// # Safety
/// `operand` is a program of some groups, which [`Entries::are_in`] has seen; `tiles` points to blocks * groups tiles; `y`
/// has room for `blocks` times four sums. Blocks is not 0.
#[unsafe(naked)]
unsafe extern "C" fn tiles8(tiles: *const u32, operand: *const u32, y: *mut [i32; 4], blocks: usize) {
    // r0: tiles; r1: operand; r2: mask; r3 to r6: sums; r7, r8: words of two rows; r9, r10, r11: what they meet; r12, lr:
    // scratch. The frame: 0 operand, 4 to 16 zeros, 20 y, 24 blocks left
    naked_asm!(
        "push {{r4-r11, lr}}",
        "sub sp, #28",
        "strd r2, r3, [sp, #20]",
        "movs r3, #0",
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "stmia sp, {{r1, r3-r6}}",
        "mov r2, #0x00ff00ff",
        "ldmia r1!, {{r9-r11, pc}}",
    )
}

/// What follows the last tile of a block.
///
/// # Safety
/// A program comes here, nothing else does.
#[unsafe(naked)]
unsafe extern "C" fn end() {
    naked_asm!(
        "ldrd r7, r8, [sp, #20]",
        "stmia r7!, {{r3-r6}}",
        "subs r8, #1",
        "strd r7, r8, [sp, #20]",
        "beq 2f",
        "ldmia sp, {{r1, r3-r6}}",
        "ldmia r1!, {{r9-r11, pc}}",
        "2:",
        "add sp, #28",
        "pop {{r4-r11, pc}}",
    )
}

/// Two rows, their sums in `$first` and `$second`.
#[rustfmt::skip]
macro_rules! two_rows {
    ($row:ident, $first:literal, $second:literal) => {
        concat!("ldrd r7, r8, [r0], #8\n", $row!($first, "r7"), $row!($second, "r8"))
    };
}

/// Four columns of one row, its word in `$word`.
#[rustfmt::skip]
macro_rules! whole_row {
    ($sum:literal, $word:literal) => {
        concat!(
            "and lr, r2, ", $word, ", lsr #8\n",
            "mla ", $word, ", ", $word, ", r9, r11\n",
            "mla ", $word, ", lr, r10, ", $word, "\n",
            "add ", $sum, ", ", $sum, ", ", $word, ", asr #16\n",
        )
    };
}

/// The same, two columns at a time.
#[rustfmt::skip]
macro_rules! halved_row {
    ($sum:literal, $word:literal) => {
        concat!(
            "and lr, r2, ", $word, "\n mla lr, lr, r9, r11\n add ", $sum, ", ", $sum, ", lr, asr #16\n",
            "and lr, r2, ", $word, ", lsr #8\n mla lr, lr, r10, r12\n add ", $sum, ", ", $sum, ", lr, asr #16\n",
        )
    };
}

/// A tile whose four inputs are small enough for one sum.
///
/// # Safety
/// A program comes here, nothing else does.
#[unsafe(naked)]
unsafe extern "C" fn whole_tile() {
    naked_asm!(
        two_rows!(whole_row, "r3", "r4"),
        two_rows!(whole_row, "r5", "r6"),
        "ldmia r1!, {{r9-r11, pc}}",
    )
}

/// A tile of any inputs.
///
/// # Safety
/// A program comes here, nothing else does.
#[unsafe(naked)]
unsafe extern "C" fn halved_tile() {
    naked_asm!(
        "mov r12, #0x00800080",
        "mul r12, r10, r12",
        "rsb r12, r12, #0x8000",
        two_rows!(halved_row, "r3", "r4"),
        two_rows!(halved_row, "r5", "r6"),
        "ldmia r1!, {{r9-r11, pc}}",
    )
}

/// A column at width A16: `$byte` takes a byte out of a row's word, `$x` is what it meets.
#[rustfmt::skip]
macro_rules! bytes {
    ($byte:literal, $rotation:literal, $x:literal) => {
        concat!(
            $byte, " lr, r7", $rotation, "\n ", $byte, " r2, r8", $rotation, "\n",
            "mla r3, lr, ", $x, ", r3\n mla r4, r2, ", $x, ", r4\n",
            $byte, " lr, r9", $rotation, "\n ", $byte, " r2, r10", $rotation, "\n",
            "mla r5, lr, ", $x, ", r5\n mla r6, r2, ", $x, ", r6\n",
        )
    };
}

/// A tile at width A16, instructions of four bytes.
macro_rules! tile16 {
    () => {
        concat!(
            "ldmia r0!, {{r7-r10}}\n ldrd r11, r12, [r1], #8\n",
            "mla r3, r7, r11, r3\n mla r4, r8, r11, r4\n mla r5, r9, r11, r5\n mla r6, r10, r11, r6\n",
            bytes!("uxtb.w", ", ror #8", "r12"),
            "ldrd r11, r12, [r1], #8\n",
            bytes!("uxtb.w", ", ror #16", "r11"),
            bytes!("lsr.w", ", #24", "r12"),
        )
    };
}

/// Products at width A16: blocks of four rows, four tiles a step.
///
/// # Safety
/// `tiles` points to blocks * groups tiles, `operand` to 1 + 4 * groups words; `y` has room for `blocks` times four sums.
/// Groups and blocks are not 0.
#[unsafe(naked)]
unsafe extern "C" fn tiles16(
    tiles: *const u32,
    operand: *const u32,
    y: *mut [i32; 4],
    groups: usize,
    blocks: usize,
) {
    // r0: tiles; r1: operand; r3 to r6: sums; r7 to r10: four rows' words; r11, r12: operand; r2, lr: scratch.
    // The frame, whose first six words one LDM brings back at the start of a block: 0 operand, 4 to 16 start values, 20
    // where to enter the four tiles of a step, so that the last step ends with the last tile, 24 operand end, 28 y, 32
    // blocks left
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "sub sp, #36",
        "ldr r7, [r1], #4",
        "add r11, r1, r3, lsl #4",
        "adr.w r4, 3f",
        "negs r3, r3",
        "and r3, r3, #3",
        "movs r5, #124",
        "mla r4, r3, r5, r4",
        "orr lr, r4, #1",
        "mov r3, r7",
        "mov r4, r7",
        "mov r5, r7",
        "mov r6, r7",
        "stmia sp, {{r1, r3-r6, lr}}",
        "str r11, [sp, #24]",
        "strd r2, r12, [sp, #28]",
        "2:",
        "ldmia sp, {{r1, r3-r6, pc}}",
        ".balign 4",
        "3:",
        tile16!(),
        tile16!(),
        tile16!(),
        tile16!(),
        "ldr lr, [sp, #24]",
        "cmp r1, lr",
        "bne.w 3b",
        "ldrd r7, r8, [sp, #28]",
        "stmia r7!, {{r3-r6}}",
        "subs r8, #1",
        "strd r7, r8, [sp, #28]",
        "bne.w 2b",
        "add sp, #36",
        "pop {{r4-r11, pc}}",
    )
}
