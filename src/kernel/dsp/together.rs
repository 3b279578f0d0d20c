//! Products of a matrix in tiles with three vectors at once, so that each weight is loaded and unpacked once for three
//! multiply-accumulates.
//!
//! Two rows by three vectors are what 14 registers hold: 17 instructions for 24 multiply-accumulates with 8-bit inputs,
//! where [`tiles`](super::tiles) takes 20, and 19 with 16-bit inputs, where it takes 27. One pointer has to do for all
//! vectors, therefore their operands are shuffled together first: for each group of four columns the first words of all
//! three, then the second ones.

use crate::chunks::{chunks, chunks_mut};
use crate::format::InputWidth;
use crate::kernel::operand_len;
use crate::shift::keep_rolled;
use core::arch::naked_asm;
use zerocopy::{FromBytes, IntoBytes};

/// How many vectors a kernel takes at once.
pub const TOGETHER: usize = 3;

/// Shuffles operands together, three and three, as far as there are three and there is a kernel; returns how many. Each
/// operand begins [`operand_len`] words after the one before. What is left of the vectors that they were made from gives
/// way: a group of four has as many bytes there as its two words here.
#[inline(never)]
pub fn gather(
    columns: usize,
    count: usize,
    width: InputWidth,
    operands: &[u32],
    vectors: &mut [i16],
) -> usize {
    // The sums of more columns are added up in parts.
    if columns == 0 || (width == InputWidth::A8 && columns > super::tiles::PART) {
        return 0;
    }
    let threes = count / TOGETHER;
    let Some(Ok(words)) = vectors
        .get_mut(..TOGETHER * threes * columns)
        .map(|vectors| <[[u32; 6]]>::mut_from_bytes(vectors.as_mut_bytes()))
    else {
        return 0;
    };
    let each = chunks(operands, TOGETHER * operand_len(columns));
    for (three, words) in each.zip(chunks_mut(words, columns / 4)) {
        let [a, b, c] = [0, 1, 2].map(|i| pairs(three, columns, i));
        for (((words, a), b), c) in words.iter_mut().zip(a).zip(b).zip(c) {
            *words = [a[0], b[0], c[0], a[1], b[1], c[1]];
            keep_rolled();
        }
    }
    TOGETHER * threes
}

/// The two words of each group of operand `i`.
fn pairs(operands: &[u32], columns: usize, i: usize) -> &[[u32; 2]] {
    let first = i * operand_len(columns) + 1;
    operands.get(first..).unwrap_or_default().as_chunks().0
}

/// The power of two by which the sums of [`gathered`] are too large.
pub fn done_together(width: InputWidth) -> u32 {
    match width {
        InputWidth::A8 => 8,
        InputWidth::A16 => 0,
    }
}

/// Multiplies a matrix by `count` vectors that [`gather`] has shuffled into `vectors`; the sums of vector i begin at
/// `rows * i` in `y`, times 2^[`done_together`].
#[inline(never)]
pub fn gathered(
    tiles: &[u32],
    columns: usize,
    (vectors, operands): (&[i16], &[u32]),
    width: InputWidth,
    count: usize,
    (rows, y): (usize, &mut [i32]),
) {
    let words = vectors.get(..count * columns).map(|vectors| <[u32]>::ref_from_bytes(vectors.as_bytes()));
    let (Some(Ok(words)), Some(y)) = (words, y.get_mut(..count * rows)) else {
        return;
    };
    let groups = columns / 4;
    if groups == 0 || rows == 0 {
        return;
    }
    let rows_there = rows.min(tiles.len() / (4 * groups) * 4);
    let three = chunks(words, TOGETHER * 2 * groups).zip(chunks_mut(y, TOGETHER * rows));
    for ((words, y), operands) in three.zip(chunks(operands, TOGETHER * operand_len(columns))) {
        let starts = [0, 1, 2].map(|i| operands.get(i * operand_len(columns)).copied().unwrap_or(0));
        let multiply = |tiles: &[u32], y: &mut [i32], pairs, rows: usize| {
            let rest = Rest { starts, pairs, row_bytes: 4 * rows };
            let (tiles, words, y) = (tiles.as_ptr(), words.as_ptr(), y.as_mut_ptr());
            // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `words` are 6 * groups;
            // as both calls below show, `tiles` has the tiles of `pairs` pairs of rows, and `y` room for the sums of
            // three vectors, `rows` apart and not fewer than 2 * pairs. groups and pairs are not 0.
            unsafe {
                match width {
                    InputWidth::A8 => a8(tiles, words, y, groups, &rest),
                    InputWidth::A16 => a16(tiles, words, y, groups, &rest),
                }
            }
        };
        let pairs = rows_there / 2;
        if pairs > 0 {
            multiply(tiles, y, pairs, rows);
        }
        // The tiles of a last row without another one: two rows from it on are there, since blocks are four rows.
        let place = (pairs / 2) * 4 * groups + (pairs % 2) * 2;
        if rows_there % 2 == 1
            && let Some(tiles) = tiles.get(place..)
        {
            let mut sums = [0; 2 * TOGETHER];
            multiply(tiles, &mut sums, 1, 2);
            for (y, sums) in y.chunks_exact_mut(rows).zip(sums.chunks_exact(2)) {
                if let (Some(y), Some(&sum)) = (y.get_mut(2 * pairs), sums.first()) {
                    *y = sum;
                }
                keep_rolled();
            }
        }
    }
}

/// What the kernels want beside what fits registers.
#[repr(C)]
struct Rest {
    /// What the sums of each vector start with.
    starts: [u32; TOGETHER],
    /// Pairs of rows.
    pairs: usize,
    /// From the sums of one vector to those of the next.
    row_bytes: usize,
}

/// Products of one row with one word of each vector, in r2 to r4.
#[rustfmt::skip]
macro_rules! row {
    ($row:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "smlad ", $a, ", ", $row, ", r2, ", $a, "\n",
            "smlad ", $b, ", ", $row, ", r3, ", $b, "\n",
            "smlad ", $c, ", ", $row, ", r4, ", $c, "\n",
        )
    };
}

/// Products of two rows.
macro_rules! products {
    ($first:literal, $second:literal) => {
        concat!(row!($first, "r7", "r8", "r9"), row!($second, "r10", "r11", "r12"))
    };
}

/// Two rows, four columns, three vectors, see [`tiles`](super::tiles) for the arithmetic: 17 instructions of four bytes.
macro_rules! tile_a8 {
    () => {
        concat!(
            "ldrd r5, r6, [r0], #16\n ldmia.w r1!, {{r2, r3, r4}}\n",
            products!("r5", "r6"),
            "uxtb16 r5, r5\n uxtb16 r6, r6\n ldmia.w r1!, {{r2, r3, r4}}\n",
            products!("r5", "r6"),
        )
    };
}

/// The same with 16-bit inputs: 19 instructions.
macro_rules! tile_a16 {
    () => {
        concat!(
            "ldrd r5, r6, [r0], #16\n ldmia.w r1!, {{r2, r3, r4}}\n",
            "uxtb16 lr, r5\n",
            row!("lr", "r7", "r8", "r9"),
            "uxtb16 lr, r6\n",
            row!("lr", "r10", "r11", "r12"),
            "sxtb16 r5, r5, ror #8\n sxtb16 r6, r6, ror #8\n ldmia.w r1!, {{r2, r3, r4}}\n",
            products!("r5", "r6"),
        )
    };
}

/// The loops around a tile of so many bytes.
macro_rules! kernel {
    ($name:ident, $tile:ident, $bytes:literal) => {
        /// The sums of `rest.pairs` pairs of rows with three vectors.
        ///
        /// # Safety
        /// `tiles` points to the first pair's first tile, behind which those of all pairs follow in their order in the
        /// matrix, `words` to 6 * groups words; `y` has room for as many sums as there are rows, three times, each
        /// `rest.row_bytes` after the one before; groups and `rest.pairs` are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            tiles: *const u32,
            words: *const u32,
            y: *mut i32,
            groups: usize,
            rest: &Rest,
        ) {
            // r0: tiles; r1: words; r2 to r4: one word of each vector; r5, r6: weights; r7 to r9 and r10 to r12: sums of
            // the two rows; lr: scratch. The frame: 0 words, 4 to 24 the sums' start, 28 where the first round begins,
            // 32 y, 36 from one vector's sums to the next, 40 pairs left, 44 from the end of this pair's tiles to the
            // next pair, 48 the sum of two of these ways, 52 the words' end
            naked_asm!(
                ".cpu cortex-m33",
                "push {{r4-r11, lr}}",
                "ldr r4, [sp, #36]",
                "sub sp, #56",
                "ldmia r4, {{r5, r6, r7, r8, r9}}",
                "stmia sp, {{r1, r5, r6, r7}}",
                "strd r5, r6, [sp, #16]",
                "str r7, [sp, #24]",
                // all but a multiple of eight tiles in the first round
                "rsb r4, r3, #0",
                "and r4, r4, #7",
                "adr r10, 3f",
                concat!("mov r11, #", $bytes),
                "mla r10, r4, r11, r10",
                "orr r10, r10, #1",
                "strd r10, r2, [sp, #28]",
                "strd r9, r8, [sp, #36]",
                // The second pair of a block begins 8 bytes after the first, the next block after all its tiles.
                "lsl r4, r3, #4",
                "rsb r4, r4, #0",
                "add r5, r4, #8",
                "strd r5, r4, [sp, #44]",
                "add r4, r3, r3, lsl #1",
                "add r4, r1, r4, lsl #3",
                "str r4, [sp, #52]",
                "2:",
                "ldmia sp, {{r1, r7, r8, r9, r10, r11, r12, pc}}",
                ".balign 4",
                "3:",
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                $tile!(),
                "ldr r5, [sp, #52]",
                "cmp r1, r5",
                "bne 3b",
                "ldrd r2, r3, [sp, #32]",
                "add r4, r2, r3",
                "strd r8, r11, [r4]",
                "add r4, r4, r3",
                "strd r9, r12, [r4]",
                "strd r7, r10, [r2], #8",
                "ldrd r4, r5, [sp, #40]",
                "ldr r6, [sp, #48]",
                "str r2, [sp, #32]",
                "add r0, r0, r5",
                "subs r6, r6, r5",
                "subs r4, r4, #1",
                "strd r4, r6, [sp, #40]",
                "bne 2b",
                "add sp, #56",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

kernel!(a8, tile_a8, "68");
kernel!(a16, tile_a16, "76");
