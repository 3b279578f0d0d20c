//! Products of matrices in tiles of 4 x 4, layout `Halves`: a word of the matrix holds four columns of one row, those of
//! the even columns as weight + 128.
//!
//! - [`InputWidth::A8`]: read as 16-bit numbers, the halves of a word are h = 256 * w_odd + u_even, and
//!   h * x_odd + u_even * (256 * x_even - x_odd) = 256 * (w_odd * x_odd + u_even * x_even). So the word itself serves as
//!   the odd weights, and only the even ones need an UXTB16: 27 instructions for 32 multiply-accumulates. 256 times the
//!   sum fits an `i32` for up to 512 columns; more are added up in parts.
//! - [`InputWidth::A16`]: UXTB16 for the even weights, SXTB16 for the odd ones; 18 instructions for 16.
//!
//! What the 128 in the even weights adds comes off at the start: the first word of an operand is -128 times the sum of
//! its even elements.

use crate::format::InputWidth;
use crate::shift::keep_rolled;
use core::arch::naked_asm;

/// Columns whose sums fit an `i32` 256-fold: 512 * 128 * 127 * 256 < 2^31.
pub const PART: usize = 512;

/// Words of an operand for `columns` columns.
pub const fn operand_len(columns: usize) -> usize {
    2 * columns.div_ceil(4) + columns.div_ceil(PART)
}

/// Puts an input vector, in its natural order, into the form that [`tiles`] wants.
///
/// Does nothing where `operand` has fewer than [`operand_len`] words. The fast path needs `x` at a multiple of four
/// bytes.
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    let Some(operand) = operand.get_mut(..operand_len(x.len())) else {
        return;
    };
    match width {
        InputWidth::A8 if x.len() <= PART => prepare_part(x, operand, spread_a8),
        InputWidth::A8 => {
            for (x, part) in x.chunks(PART).zip(operand.chunks_mut(part_len(PART))) {
                prepare_part(x, part, spread_a8);
            }
        }
        InputWidth::A16 => {
            if let Some((part, unused)) = operand.split_at_mut_checked(part_len(x.len())) {
                prepare_part(x, part, spread_a16);
                unused.fill(0);
            }
        }
    }
}

/// [`prepare`] of 8-bit elements that `x * factor / 2^24`, rounded half up, makes of 14-bit ones; whether it could: for whole
/// groups of four in one part, at a multiple of four bytes, and no factor above 2^23.
pub fn prepare_scaled(x: &[i16], factor: i32, operand: &mut [u32]) -> bool {
    let (fours, rest) = x.as_chunks::<4>();
    let fits =
        (1..=PART / 4).contains(&fours.len()) && rest.is_empty() && operand.len() >= operand_len(x.len());
    if !fits || !x.as_ptr().addr().is_multiple_of(4) || !(0..1 << 23).contains(&factor) {
        return false;
    }
    // SAFETY: this target executes the DSP instructions. `x` has so many groups of four elements, not none, and starts at
    // a multiple of four bytes, `operand` has a word and two for each.
    unsafe { spread_scaled(x.as_ptr(), operand.as_mut_ptr(), fours.len(), factor << 8) };
    true
}

/// Multiplies a matrix in tiles by a vector: `y[row]` becomes 2^k times the sum over `column` of weight times input.
/// Returns k, which is 8 for up to 512 columns of [`InputWidth::A8`] and 0 otherwise.
///
/// - `tiles`: blocks of four rows, each `columns / 4` tiles, rounded up
/// - `operand`: what [`prepare`] makes of `columns` elements with the same width
/// - `y`: one sum for each row
///
/// Where there are fewer tiles than `y` has rows, the other elements stay as they are; where `operand` is too short, all
/// of them.
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    if columns == 0 {
        y.fill(0);
        return 0;
    }
    if operand.len() < operand_len(columns) {
        return 0;
    }
    match width {
        InputWidth::A8 if columns <= PART => {
            product(tiles, columns, operand, width, y);
            8
        }
        InputWidth::A8 => {
            add_parts(tiles, columns, operand, y);
            0
        }
        InputWidth::A16 => {
            product(tiles, columns, operand, width, y);
            0
        }
    }
}

/// Words of one part of an operand: the sums' start, then two for each group of four columns.
const fn part_len(columns: usize) -> usize {
    1 + 2 * columns.div_ceil(4)
}

/// `groups` groups of four elements at `x` to two words each at `words`; returns `start` plus what the sums start with.
type Spread = unsafe extern "C" fn(x: *const i16, words: *mut u32, groups: usize, start: i32) -> i32;

/// Fills a part of an operand.
fn prepare_part(x: &[i16], part: &mut [u32], spread: Spread) {
    let Some((start, words)) = part.split_first_mut() else {
        return;
    };
    // LDM wants multiples of four bytes; another vector goes the way of the last group, which may lack elements.
    let whole = if x.as_ptr().addr().is_multiple_of(4) { (x.len() / 4).min(words.len() / 2) } else { 0 };
    let mut sum = 0;
    if whole > 0 {
        // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `x` has whole groups of
        // four elements and starts at a multiple of four bytes, `words` has room for two words for each.
        sum = unsafe { spread(x.as_ptr(), words.as_mut_ptr(), whole, sum) };
    }
    if 4 * whole < x.len() {
        let rest = x.get(4 * whole..).unwrap_or_default();
        sum = spread_singly(rest, words.get_mut(2 * whole..).unwrap_or_default(), spread, sum);
    }
    *start = sum as u32;
}

/// Fills words from what is no whole group of four or starts where LDM cannot read.
#[inline(never)]
fn spread_singly(x: &[i16], words: &mut [u32], spread: Spread, mut sum: i32) -> i32 {
    for (x, words) in x.chunks(4).zip(words.as_chunks_mut::<2>().0) {
        let mut group = Group([0; 4]);
        for (to, &from) in group.0.iter_mut().zip(x) {
            *to = from;
            keep_rolled();
        }
        // SAFETY: as above, for one group.
        sum = unsafe { spread(group.0.as_ptr(), words.as_mut_ptr(), 1, sum) };
    }
    sum
}

/// Four elements where LDM can read them.
#[repr(align(4))]
struct Group([i16; 4]);

/// [`a8`] or [`a16`].
type Multiply = unsafe extern "C" fn(*const u32, *const u32, *mut i32, usize, usize, usize);

/// All rows of a matrix whose operand is one part.
#[inline(never)]
fn product(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) {
    let groups = columns.div_ceil(4);
    let multiply: Multiply = match width {
        InputWidth::A8 => a8,
        InputWidth::A16 => a16,
    };
    let (fours, rest) = y.as_chunks_mut::<4>();
    let blocks = tiles.len().checked_div(4 * groups).unwrap_or_default();
    let whole = blocks.min(fours.len());
    if whole > 0 {
        // SAFETY: this target executes the DSP instructions. `tiles` holds `whole` blocks of `groups` tiles of 4 words,
        // `operand` 1 + 2 * groups words, `fours` 4 sums for each block; groups and blocks are not 0.
        unsafe { multiply(tiles.as_ptr(), operand.as_ptr(), fours.as_mut_ptr().cast(), groups, whole, 0) };
    }
    if !rest.is_empty() && blocks > whole {
        let block = tiles.get(4 * groups * whole..).unwrap_or_default();
        last_rows(multiply, block, groups, operand, rest);
    }
}

/// The rows of a block that is not whole.
#[inline(never)]
fn last_rows(multiply: Multiply, block: &[u32], groups: usize, operand: &[u32], y: &mut [i32]) {
    let mut sums = [0; 4];
    if block.len() >= 4 * groups {
        // SAFETY: as above, for one block.
        unsafe { multiply(block.as_ptr(), operand.as_ptr(), sums.as_mut_ptr(), groups, 1, 0) };
    }
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = sum;
    }
}

/// Blocks whose sums of a part are kept before they are divided by 256.
const BATCH: usize = 16;

/// All rows of a matrix with more columns than fit one part: sums of the parts, each divided by 256.
#[inline(never)]
fn add_parts(tiles: &[u32], columns: usize, operand: &[u32], y: &mut [i32]) {
    let block = 4 * columns.div_ceil(4);
    if block == 0 {
        return;
    }
    for (tiles, y) in tiles.chunks(block.saturating_mul(BATCH).max(1)).zip(y.chunks_mut(4 * BATCH)) {
        let blocks = (tiles.len() / block).min(y.len().div_ceil(4));
        if blocks == 0 {
            return;
        }
        let rows = y.len().min(4 * blocks);
        let y = y.get_mut(..rows).unwrap_or_default();
        y.fill(0);
        let mut sums = [0; 4 * BATCH];
        for (start, operand) in (0..block).step_by(PART).zip(operand.chunks(part_len(PART))) {
            // A tile is as many words as columns.
            let columns = PART.min(block - start);
            let part = tiles.get(start..).unwrap_or_default();
            // SAFETY: this target executes the DSP instructions. Each of `blocks` blocks in `tiles` has `columns` words
            // from `start` on, and is `block` words long; `operand` has 1 + 2 * groups words, `sums` 4 * blocks. groups
            // and blocks are not 0.
            unsafe {
                let (part, operand, sums) = (part.as_ptr(), operand.as_ptr(), sums.as_mut_ptr());
                a8(part, operand, sums, columns / 4, blocks, 4 * (block - columns));
            }
            for (y, sum) in y.iter_mut().zip(&sums) {
                *y = y.wrapping_add(sum >> 8);
                keep_rolled();
            }
        }
    }
}

/// A group (x0, x1) in `$low`, (x2, x3) in `$high` becomes (x1, x3) in `$low`, (256 * x0 - x1, 256 * x2 - x3) in `$high`.
macro_rules! spread_group_a8 {
    ($scratch:literal, $low:literal, $high:literal) => {
        concat!(
            "lsl ",
            $scratch,
            ", ",
            $low,
            ", #8\n",
            "pkhbt ",
            $scratch,
            ", ",
            $scratch,
            ", ",
            $high,
            ", lsl #24\n",
            "pkhtb ",
            $low,
            ", ",
            $high,
            ", ",
            $low,
            ", asr #16\n",
            "ssub16 ",
            $high,
            ", ",
            $scratch,
            ", ",
            $low,
            "\n",
            "smlad r3, ",
            $scratch,
            ", r12, r3\n",
        )
    };
}

/// As above: (x0, x2) in `$even`, (x1, x3) in `$high`.
macro_rules! spread_group_a16 {
    ($even:literal, $low:literal, $high:literal) => {
        concat!(
            "pkhbt ",
            $even,
            ", ",
            $low,
            ", ",
            $high,
            ", lsl #16\n",
            "pkhtb ",
            $high,
            ", ",
            $high,
            ", ",
            $low,
            ", asr #16\n",
            "smlad r3, ",
            $even,
            ", r12, r3\n",
        )
    };
}

/// The loop around a group: two groups a step, after a single one where their number is odd. `$first` and `$second` are
/// where a group leaves its two words.
macro_rules! spread {
    ($name:ident, $group:ident, $first:literal, $second:literal) => {
        /// # Safety
        /// `x` points to 4 * groups elements, at a multiple of four bytes, `words` to room for 2 * groups words; groups
        /// is not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(x: *const i16, words: *mut u32, groups: usize, start: i32) -> i32 {
            // r0: x; r1: words; r2: x's end; r3: the start of the sums; r5, r6 and r8, r9: groups; r4, r7: scratch or
            // the even elements; r12: -128 twice
            naked_asm!(
                ".cpu cortex-m33",
                "push {{r4-r9, lr}}",
                "mvn r12, #0x007f007f",
                "lsls r4, r2, #31",
                "add r2, r0, r2, lsl #3",
                "beq 2f",
                "ldrd r5, r6, [r0], #8",
                $group!("r4", "r5", "r6"),
                concat!("stmia r1!, {{", $first, "}}"),
                "cmp r0, r2",
                "beq 3f",
                ".balign 4",
                "2:",
                "ldmia r0!, {{r5, r6, r8, r9}}",
                $group!("r4", "r5", "r6"),
                $group!("r7", "r8", "r9"),
                concat!("stmia r1!, {{", $first, ", ", $second, "}}"),
                "cmp r0, r2",
                "bne 2b",
                "3:",
                "mov r0, r3",
                "pop {{r4-r9, pc}}",
            )
        }
    };
}

spread!(spread_a8, spread_group_a8, "r5, r6", "r8, r9");
spread!(spread_a16, spread_group_a16, "r4, r6", "r7, r9");

/// A group as in [`spread_group_a8`], of elements that are scaled first: 2^16 times an element, with half of that added.
macro_rules! spread_group_scaled {
    ($low:literal, $high:literal) => {
        concat!(
            "smlawb r4, r10, ",
            $low,
            ", lr\n",
            "smlawt ",
            $low,
            ", r10, ",
            $low,
            ", lr\n",
            "smlawb r7, r10, ",
            $high,
            ", lr\n",
            "smlawt ",
            $high,
            ", r10, ",
            $high,
            ", lr\n",
            "pkhtb ",
            $low,
            ", ",
            $high,
            ", ",
            $low,
            ", asr #16\n",
            "pkhtb r4, r7, r4, asr #16\n",
            "lsl r4, r4, #8\n",
            "bic r4, r4, #0x00ff0000\n",
            "ssub16 ",
            $high,
            ", r4, ",
            $low,
            "\n",
            "smlad r3, r4, r12, r3\n",
        )
    };
}

/// A part of an operand, its first word included.
///
/// # Safety
/// `x` starts at a multiple of four bytes and points to `groups` groups of four elements, not none; `operand` has room for
/// 1 + 2 * groups words.
#[unsafe(naked)]
unsafe extern "C" fn spread_scaled(x: *const i16, operand: *mut u32, groups: usize, factor: i32) {
    // r0: x; r1: words; r2: x's end; r3: sum; r4, r7: scratch; r5, r6, r8, r9: elements, then words; r10: factor; r12: -128
    // twice; lr: half. The frame: operand
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r1, r4-r10, lr}}",
        "adds r1, #4",
        "mov r10, r3",
        "movs r3, #0",
        "mov lr, #0x8000",
        "mvn r12, #0x007f007f",
        "lsls r4, r2, #31",
        "add r2, r0, r2, lsl #3",
        "beq 2f",
        "ldrd r5, r6, [r0], #8",
        spread_group_scaled!("r5", "r6"),
        "strd r5, r6, [r1], #8",
        "cmp r0, r2",
        "beq 3f",
        ".balign 4",
        "2:",
        "ldmia r0!, {{r5, r6, r8, r9}}",
        spread_group_scaled!("r5", "r6"),
        spread_group_scaled!("r8", "r9"),
        "stmia r1!, {{r5, r6, r8, r9}}",
        "cmp r0, r2",
        "bne 2b",
        "3:",
        "pop {{r1, r4-r10, lr}}",
        "str r3, [r1]",
        "bx lr",
    )
}

/// Four rows and four columns: weights in r7 to r10, the operand's words in `$odd` and `$even`.
macro_rules! tile_a8 {
    ($odd:literal, $even:literal) => {
        concat!(
            "ldmia r0!, {{r7, r8, r9, r10}}\n",
            "smlad r3, r7, ",
            $odd,
            ", r3\n",
            "uxtb16 r7, r7\n",
            "smlad r4, r8, ",
            $odd,
            ", r4\n",
            "uxtb16 r8, r8\n",
            "smlad r5, r9, ",
            $odd,
            ", r5\n",
            "uxtb16 r9, r9\n",
            "smlad r6, r10, ",
            $odd,
            ", r6\n",
            "uxtb16 r10, r10\n",
            "smlad r3, r7, ",
            $even,
            ", r3\n",
            "smlad r4, r8, ",
            $even,
            ", r4\n",
            "smlad r5, r9, ",
            $even,
            ", r5\n",
            "smlad r6, r10, ",
            $even,
            ", r6\n",
        )
    };
}

/// Two tiles: 27 instructions of four bytes.
macro_rules! tiles2_a8 {
    () => {
        concat!("ldmia r1!, {{r2, r11, r12, lr}}\n", tile_a8!("r2", "r11"), tile_a8!("r12", "lr"))
    };
}

/// 256 times the sums of `blocks` blocks, of which each begins `skip` bytes after the end of the one before.
///
/// # Safety
/// `tiles` points to blocks * groups tiles, with the gaps between the blocks, `operand` to 1 + 2 * groups words, `y` to
/// room for 4 * blocks sums; groups and blocks are not 0.
#[unsafe(naked)]
unsafe extern "C" fn a8(
    tiles: *const u32,
    operand: *const u32,
    y: *mut i32,
    groups: usize,
    blocks: usize,
    skip: usize,
) {
    // r0: tiles; r1: operand; r3 to r6: sums; r7 to r10: weights; r2, r11, r12, lr: the operand's words.
    // The frame: 0 operand, 4 8 12 16 the sums' start, 20 where a block begins, 24 the operand where the last round begins,
    // 28 y, 32 blocks left, 36 where a block begins after a single tile, 40 skip, 44 where it does after a gap, 48 where
    // pairs of tiles begin. The carry says that a round is the last one: no instruction of a round changes it
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r8, r9, [sp, #36]",
        "sub sp, #52",
        "ldr r4, [r1], #4",
        "strd r1, r4, [sp]",
        "strd r4, r4, [sp, #8]",
        "add r5, r1, r3, lsl #3",
        "subs r5, #128",
        "strd r5, r2, [sp, #24]",
        // groups / 2 pairs of tiles; all but a multiple of eight of them in the first round
        "lsrs r6, r3, #1",
        "ite ne",
        "adrne r7, 3f",
        "adreq r7, 4f",
        "rsb r6, r6, #0",
        "and r6, r6, #7",
        "mov r10, #108",
        "mla r7, r6, r10, r7",
        "orr r7, r7, #1",
        "str r7, [sp, #48]",
        "cmp r3, #18",
        "it hs",
        "adrhs r7, 7f",
        "orr r7, r7, #1",
        "strd r8, r7, [sp, #32]",
        "lsls r6, r3, #31",
        "it ne",
        "adrne r7, 5f",
        "orr r7, r7, #1",
        "strd r9, r7, [sp, #40]",
        "subs r0, r0, r9",
        "cmp r9, #0",
        "it ne",
        "adrne r7, 6f",
        "orr r7, r7, #1",
        "strd r4, r7, [sp, #16]",
        // a block
        "2:",
        "ldmia sp, {{r1, r3, r4, r5, r6, pc}}",
        ".balign 4",
        // a round that is not the first
        "8:",
        "ldr r7, [sp, #24]",
        "cmp r1, r7",
        ".balign 4",
        "3:",
        tiles2_a8!(),
        tiles2_a8!(),
        tiles2_a8!(),
        tiles2_a8!(),
        tiles2_a8!(),
        tiles2_a8!(),
        tiles2_a8!(),
        tiles2_a8!(),
        "bcc 8b",
        ".balign 4",
        "4:",
        "ldrd r7, r8, [sp, #28]",
        "stmia r7!, {{r3, r4, r5, r6}}",
        "subs r8, #1",
        "strd r7, r8, [sp, #28]",
        "bne 2b",
        "add sp, #52",
        "pop {{r4-r11, pc}}",
        // a single tile comes before the pairs
        ".balign 4",
        "5:",
        "ldrd r2, r11, [r1], #8",
        tile_a8!("r2", "r11"),
        "ldr pc, [sp, #36]",
        // a gap comes before a block
        ".balign 4",
        "6:",
        "ldr r7, [sp, #40]",
        "add r0, r0, r7",
        "ldr pc, [sp, #44]",
        // more rounds than one: no carry
        ".balign 4",
        "7:",
        "adds r7, r1, #0",
        "ldr pc, [sp, #48]",
    )
}

/// One row of a tile: its weights in `$weights`, the sum in `$sum`.
macro_rules! row_a16 {
    ($weights:literal, $sum:literal) => {
        concat!(
            "uxtb16 lr, ",
            $weights,
            "\n",
            "smlad ",
            $sum,
            ", lr, r11, ",
            $sum,
            "\n",
            "sxtb16 ",
            $weights,
            ", ",
            $weights,
            ", ror #8\n",
            "smlad ",
            $sum,
            ", ",
            $weights,
            ", r12, ",
            $sum,
            "\n",
        )
    };
}

/// A tile: 18 instructions of four bytes.
macro_rules! tile_a16 {
    () => {
        concat!(
            "ldmia r0!, {{r7, r8, r9, r10}}\n",
            "ldrd r11, r12, [r1], #8\n",
            row_a16!("r7", "r3"),
            row_a16!("r8", "r4"),
            row_a16!("r9", "r5"),
            row_a16!("r10", "r6"),
        )
    };
}

/// The sums of `blocks` blocks.
///
/// # Safety
/// As for [`a8`], without gaps.
#[unsafe(naked)]
unsafe extern "C" fn a16(
    tiles: *const u32,
    operand: *const u32,
    y: *mut i32,
    groups: usize,
    blocks: usize,
    _skip: usize,
) {
    // r0: tiles; r1: operand; r2: its end; r3 to r6: sums; r7 to r10: weights; r11, r12: the operand's words; lr:
    // scratch. The frame: 0 operand, 4 its end, 8 12 16 20 the sums' start, 24 where a block begins, 28 y, 32 blocks left
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldr r8, [sp, #36]",
        "sub sp, #36",
        "ldr r4, [r1], #4",
        "add r5, r1, r3, lsl #3",
        "strd r1, r5, [sp]",
        "strd r4, r4, [sp, #8]",
        "strd r4, r4, [sp, #16]",
        // all but a multiple of eight tiles in the first round
        "rsb r6, r3, #0",
        "and r6, r6, #7",
        "adr r7, 3f",
        "mov r9, #72",
        "mla r7, r6, r9, r7",
        "orr r7, r7, #1",
        "strd r7, r2, [sp, #24]",
        "str r8, [sp, #32]",
        "2:",
        "ldmia sp, {{r1, r2, r3, r4, r5, r6, pc}}",
        ".balign 4",
        "3:",
        tile_a16!(),
        tile_a16!(),
        tile_a16!(),
        tile_a16!(),
        tile_a16!(),
        tile_a16!(),
        tile_a16!(),
        tile_a16!(),
        "cmp r1, r2",
        "bne 3b",
        "ldrd r7, r8, [sp, #28]",
        "stmia r7!, {{r3, r4, r5, r6}}",
        "subs r8, #1",
        "strd r7, r8, [sp, #28]",
        "bne 2b",
        "add sp, #36",
        "pop {{r4-r11, pc}}",
    )
}
