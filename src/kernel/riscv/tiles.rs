//! Products of matrices in tiles of 4 x 4, layout `Bytes`: every byte is weight + 128.
//!
//! At width A8 a word w of four weights (u0, u1, u2, u3) is E + 2^8 O, with E = u0 + 2^16 u2 and O = u1 + 2^16 u3, so that for
//! any A, B
//!
//! E A + O B = w A + O (B - 2^8 A) modulo 2^32
//!
//! and only the odd bytes have to be taken out. With A = x2 + 2^16 x0, B = x3 + 2^16 x1 and
//! C = 2^15 - (128 + 2^16 128) (A + B), which takes the offsets away and rounds,
//!
//! E A + O B + C = (w0 x2 + w1 x3 + 2^15) + 2^16 (w0 x0 + w1 x1 + w2 x2 + w3 x3) modulo 2^32
//!
//! Where the magnitudes of the four inputs are 255 together at most, the sum of four products fits 16 bits, and the first
//! term is within 0..2^16: the high half is that sum, exactly, for 9 instructions. Other inputs take their even and their odd
//! bytes one after the other, two products each, in 12. Four columns whose inputs are all 0 are passed over.
//!
//! At width A16 bytes are multiplied one by one, and a start of -128 times the sum of the inputs takes the offsets away.
//!
//! A step is four tiles below each other: what their inputs cost, 16 rows share. The last blocks of four rows, if they are
//! fewer than four, are computed along with some before them.

use crate::chunks::chunks;
use crate::format::InputWidth;
use crate::kernel::offset_bytes::{self, Blocks, in_blocks};
use core::{arch::naked_asm, slice};

/// Words of an operand. A8: A, B - 2^8 A, C and B for each group of four columns and, where two products at a time are all
/// that fits, A, 0, the even columns' C, and B; zeros end it. A16: the start of the sums, then the inputs.
pub const fn operand_len(columns: usize) -> usize {
    columns.div_ceil(4) * 4 + 4
}

/// See [`kernel::prepare`](crate::kernel::prepare). Does nothing where `operand` has fewer than [`operand_len`] words.
pub fn prepare(x: &[i16], width: InputWidth, operand: &mut [u32]) {
    match width {
        InputWidth::A8 => prepare_scaled(x, 1 << 24, operand),
        InputWidth::A16 => offset_bytes::prepare(x, width, operand),
    }
}

/// [`prepare`] of what `x * factor / 2^24`, rounded half up, makes of `x`: at most 127 in magnitude.
pub fn prepare_scaled(x: &[i16], factor: i32, operand: &mut [u32]) {
    let Some(operand) = operand.get_mut(..operand_len(x.len())) else {
        return;
    };
    let Some((end, groups)) = operand.as_chunks_mut().0.split_last_mut() else {
        return;
    };
    *end = [0; 4];
    let (fours, rest) = x.as_chunks();
    let (whole, last) = groups.split_at_mut_checked(fours.len()).unwrap_or_default();
    spread(fours, whole, factor);
    let mut four = [0; 4];
    for (to, &from) in four.iter_mut().zip(rest) {
        *to = from;
    }
    spread(&[four], last, factor);
}

/// Writes as many groups' words as there are of both.
fn spread(x: &[[i16; 4]], words: &mut [[u32; 4]], factor: i32) {
    let groups = x.len().min(words.len());
    if groups > 0 {
        // SAFETY: there are so many groups of elements and of words, not none.
        unsafe { spread8(x.as_ptr(), words.as_mut_ptr(), groups, factor) }
    }
}

/// See [`kernel::product`](crate::kernel::product()).
pub fn tiles(tiles: &[u32], columns: usize, operand: &[u32], width: InputWidth, y: &mut [i32]) -> u32 {
    if operand.len() / 4 < operand_len(columns) / 4 {
        return 0;
    }
    in_blocks(tiles, columns, operand, y, |Blocks { tiles, operand, groups, sums }| {
        let Some(product) = Product::new(operand, width, groups) else {
            return;
        };
        let before = sums.len().saturating_sub(4) * groups * 4;
        let (whole, rest) = sums.as_chunks_mut();
        product.meet(tiles, whole);
        if rest.is_empty() {
            return;
        }
        match sums.last_chunk_mut() {
            Some(last) => product.meet(tiles.get(before..).unwrap_or_default(), slice::from_mut(last)),
            None => {
                for (sums, tiles) in sums.iter_mut().zip(chunks(tiles, groups * 4)) {
                    *sums = product.single(tiles);
                }
            }
        }
    });
    0
}

/// An operand that ends.
struct Product<'a> {
    operand: &'a [u32],
    width: InputWidth,
    groups: usize,
}

impl<'a> Product<'a> {
    /// None where it does not end after so many groups.
    fn new(operand: &'a [u32], width: InputWidth, groups: usize) -> Option<Self> {
        let end = operand.as_chunks::<4>().0.get(groups)?;
        let ends = matches!((width, end), (InputWidth::A16, _) | (InputWidth::A8, [_, 0, 0, _]));
        ends.then_some(Self { operand, width, groups })
    }

    /// Computes four blocks of four rows at a time, where `tiles` has as many.
    fn meet(&self, tiles: &[u32], sums: &mut [[[i32; 4]; 4]]) {
        let block = self.groups * 4;
        if !sums.is_empty() && sums.len() * 4 * block <= tiles.len() {
            // SAFETY: `tiles` has four blocks for each element of `sums`, one after the other.
            unsafe { self.call(tiles, sums, block * 4) }
        }
    }

    /// Computes one block of four rows, which is all four of them where they are 0 apart.
    fn single(&self, tiles: &[u32]) -> [i32; 4] {
        let mut sums = [[[0; 4]; 4]];
        if self.groups * 4 <= tiles.len() {
            // SAFETY: `tiles` has the one block.
            unsafe { self.call(tiles, &mut sums, 0) }
        }
        let [[first, ..]] = sums;
        first
    }

    /// # Safety
    /// `tiles` has four blocks of [`Self::groups`] tiles for each element of `sums`, not none, `distance` bytes from one to the
    /// next.
    unsafe fn call(&self, tiles: &[u32], sums: &mut [[[i32; 4]; 4]], distance: usize) {
        let (tiles, operand, y, fours) =
            (tiles.as_ptr(), self.operand.as_ptr(), sums.as_mut_ptr(), sums.len());
        // SAFETY: what `tiles` has, the caller knows; the operand is of so many groups, not none, and ends, see `new`.
        unsafe {
            match self.width {
                InputWidth::A8 => tiles8(tiles, operand, y, fours, distance, self.groups),
                InputWidth::A16 => tiles16(tiles, operand, y, fours, distance, self.groups),
            }
        }
    }
}

/// One instruction for each of four registers.
#[rustfmt::skip]
macro_rules! each {
    ($instruction:literal, $a:literal $b:literal $c:literal $d:literal, $rest:literal) => {
        concat!(
            $instruction, " ", $a, ", ", $a, $rest, "\n", $instruction, " ", $b, ", ", $b, $rest, "\n",
            $instruction, " ", $c, ", ", $c, $rest, "\n", $instruction, " ", $d, ", ", $d, $rest, "\n",
        )
    };
}

/// Groups of four elements of `x`, times `factor`, to the words of an operand.
///
/// # Safety
/// `x` and `words` point to `groups` groups, more than none.
#[unsafe(naked)]
unsafe extern "C" fn spread8(x: *const [i16; 4], words: *mut [u32; 4], groups: usize, factor: i32) {
    // a0: x; a1: words; a2: their end; a3: factor; a4: half; a5: the offsets; a6: 2^15; a7: the first magnitude that is too
    // large; t0 to t3: elements; t4: their magnitude, one short for each that is negative; t5: scratch
    naked_asm!(
        ".option push",
        arch!(),
        "slli a2, a2, 4",
        "add a2, a2, a1",
        "li a4, 1 << 23",
        "li a5, 0x00800080",
        "li a6, 1 << 15",
        "li a7, 252",
        "2:",
        "lh t0, 0(a0)",
        "lh t1, 2(a0)",
        "lh t2, 4(a0)",
        "lh t3, 6(a0)",
        each!("mul", "t0" "t1" "t2" "t3", ", a3"),
        each!("add", "t0" "t1" "t2" "t3", ", a4"),
        each!("srai", "t0" "t1" "t2" "t3", ", 24"),
        "srai t4, t0, 31",
        "xor t4, t4, t0",
        "srai t5, t1, 31",
        "xor t5, t5, t1",
        "add t4, t4, t5",
        "srai t5, t2, 31",
        "xor t5, t5, t2",
        "add t4, t4, t5",
        "srai t5, t3, 31",
        "xor t5, t5, t3",
        "add t4, t4, t5",
        "slli t0, t0, 16",
        "slli t1, t1, 16",
        "add t0, t0, t2",
        "add t1, t1, t3",
        "sw t0, 0(a1)",
        "sw t1, 12(a1)",
        "bgeu t4, a7, 4f",
        "add t2, t0, t1",
        "slli t3, t0, 8",
        "sub t1, t1, t3",
        "3:",
        "mul t2, t2, a5",
        "sub t2, a6, t2",
        "sw t1, 4(a1)",
        "sw t2, 8(a1)",
        "addi a0, a0, 8",
        "addi a1, a1, 16",
        "bne a1, a2, 2b",
        "ret",
        "4:",
        "mv t2, t0",
        "li t1, 0",
        "j 3b",
        ".option pop",
    )
}

/// `$rows` of all four blocks, with their sums.
#[rustfmt::skip]
macro_rules! blocks {
    ($rows:ident, $($argument:literal),+) => {
        concat!(
            $rows!("a0", $($argument),+, "s0" "s1" "s2" "s3"),
            $rows!("a1", $($argument),+, "s4" "s5" "s6" "s7"),
            $rows!("a2", $($argument),+, "s8" "s9" "s10" "s11"),
            $rows!("a3", $($argument),+, "a4" "a5" "a6" "a7"),
        )
    };
}

/// Four columns of four rows at width A8, the tile `$at` bytes on: 36 instructions for 16 products.
#[rustfmt::skip]
macro_rules! whole {
    ($tiles:literal, $at:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(whole!($tiles, $at, $a $b), whole!($tiles, concat!($at, "+8"), $c $d))
    };
    ($tiles:literal, $at:expr, $a:literal $b:literal) => {
        concat!(
            "lw t5, ", $at, "(", $tiles, ")\n lw t6, ", $at, "+4(", $tiles, ")\n",
            "srli ra, t5, 8\n and ra, ra, t4\n mul t5, t5, t1\n mul ra, ra, t2\n add t5, t5, ra\n",
            "srli ra, t6, 8\n and ra, ra, t4\n mul t6, t6, t1\n mul ra, ra, t2\n add t5, t5, t3\n add t6, t6, ra\n",
            "add t6, t6, t3\n srai t5, t5, 16\n srai t6, t6, 16\n",
            "add ", $a, ", ", $a, ", t5\n add ", $b, ", ", $b, ", t6\n",
        )
    };
}

/// The same, two columns at a time: 48 instructions.
#[rustfmt::skip]
macro_rules! halved {
    ($tiles:literal, $at:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            halved!($tiles, $at, $a), halved!($tiles, concat!($at, "+4"), $b),
            halved!($tiles, concat!($at, "+8"), $c), halved!($tiles, concat!($at, "+12"), $d),
        )
    };
    ($tiles:literal, $at:expr, $sum:literal) => {
        concat!(
            "lw t5, ", $at, "(", $tiles, ")\n and t6, t5, t4\n srli t5, t5, 8\n mul t6, t6, t1\n and t5, t5, t4\n",
            "mul t5, t5, t2\n add t6, t6, t3\n srai t6, t6, 16\n add t5, t5, ra\n srai t5, t5, 16\n",
            "add ", $sum, ", ", $sum, ", t6\n add ", $sum, ", ", $sum, ", t5\n",
        )
    };
}

/// A column of four rows at width A16, `$byte` of the tile `$at` bytes on.
#[rustfmt::skip]
macro_rules! byte {
    ($tiles:literal, $at:literal, $byte:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "lbu t2, ", $at, "+", $byte, "(", $tiles, ")\n lbu t3, ", $at, "+", $byte, "+4(", $tiles, ")\n",
            "lbu t5, ", $at, "+", $byte, "+8(", $tiles, ")\n lbu t6, ", $at, "+", $byte, "+12(", $tiles, ")\n",
            each!("mul", "t2" "t3" "t5" "t6", ", t1"),
            "add ", $a, ", ", $a, ", t2\n add ", $b, ", ", $b, ", t3\n",
            "add ", $c, ", ", $c, ", t5\n add ", $d, ", ", $d, ", t6\n",
        )
    };
}

/// Four columns at width A16, whose inputs are `$at` bytes on. Where the first is 0, the code at `$zero` looks at the others,
/// and comes back to `$on`.
#[rustfmt::skip]
macro_rules! columns {
    ($at:literal, $zero:literal, $on:literal) => {
        concat!(
            "lw t1, ", $at, "(t0)\n beqz t1, ", $zero, "f\n", $on, ":\n", blocks!(byte, $at, "0"),
            "lw t1, ", $at, "+4(t0)\n", blocks!(byte, $at, "1"),
            "lw t1, ", $at, "+8(t0)\n", blocks!(byte, $at, "2"),
            "lw t1, ", $at, "+12(t0)\n", blocks!(byte, $at, "3"),
        )
    };
}

/// Passes over four columns to `$next` if all inputs are 0.
#[rustfmt::skip]
macro_rules! zero {
    ($at:literal, $label:literal, $on:literal, $next:literal) => {
        concat!(
            $label, ":\n lw t2, ", $at, "+4(t0)\n lw t3, ", $at, "+8(t0)\n lw t5, ", $at, "+12(t0)\n",
            "or t2, t2, t3\n or t2, t2, t5\n bnez t2, ", $on, "b\n j ", $next, "b\n",
        )
    };
}

/// Tiles and inputs `$bytes` further.
macro_rules! advance {
    ($bytes:literal) => {
        concat!(each!("addi", "a0" "a1" "a2" "a3", $bytes), "addi t0, t0", $bytes)
    };
}

/// A function that computes four blocks of four rows at a time: `$begin` comes once, `$step` for each four blocks, with the
/// tiles in a0 to a3, the operand in t0, and the sums 0 or, at width A16, at their start.
macro_rules! product {
    ($name:ident, $begin:expr, $step:expr) => {
        /// # Safety
        /// `tiles` points to four blocks of `groups` tiles, `distance` bytes from one to the next, for each of `fours`, and `y`
        /// to their sums; `operand` is one of this width for so many groups. Groups and fours are not 0.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            tiles: *const u32,
            operand: *const u32,
            y: *mut [[i32; 4]; 4],
            fours: usize,
            distance: usize,
            groups: usize,
        ) {
            // a0 to a3: tiles of four blocks; t0: operand; s0 to s11, a4 to a7: sums. A8: t1: A; t2: B - 2^8 A or B; t3: C;
            // t4: mask; t5, t6, ra: scratch. A16: t1: input; t2, t3, t5, t6: weights; t4: operand end; ra: where to begin.
            // The frame: 0 y, 4 blocks left by fours, 8 operand, 12 distance, 16 bytes of tiles that the first step is entered
            // after, 20 start of the sums, 24 and more saved registers
            naked_asm!(
                ".option push",
                arch!(),
                "addi sp, sp, -80",
                "sw ra, 24(sp)",
                "sw s0, 28(sp)",
                "sw s1, 32(sp)",
                "sw s2, 36(sp)",
                "sw s3, 40(sp)",
                "sw s4, 44(sp)",
                "sw s5, 48(sp)",
                "sw s6, 52(sp)",
                "sw s7, 56(sp)",
                "sw s8, 60(sp)",
                "sw s9, 64(sp)",
                "sw s10, 68(sp)",
                "sw s11, 72(sp)",
                "sw a2, 0(sp)",
                "sw a3, 4(sp)",
                "sw a4, 12(sp)",
                $begin,
                "sw a1, 8(sp)",
                "sw t1, 16(sp)",
                "sw t2, 20(sp)",
                // the last block ends where the next one begins
                "mv a3, a0",
                "2:",
                "lw t0, 8(sp)",
                "lw t1, 12(sp)",
                "lw t2, 16(sp)",
                "lw s0, 20(sp)",
                "sub a0, a3, t2",
                "add a1, a0, t1",
                "add a2, a1, t1",
                "add a3, a2, t1",
                "mv s1, s0",
                "mv s2, s0",
                "mv s3, s0",
                "mv s4, s0",
                "mv s5, s0",
                "mv s6, s0",
                "mv s7, s0",
                "mv s8, s0",
                "mv s9, s0",
                "mv s10, s0",
                "mv s11, s0",
                "mv a4, s0",
                "mv a5, s0",
                "mv a6, s0",
                "mv a7, s0",
                $step,
                "lw t1, 0(sp)",
                "lw t2, 4(sp)",
                "sw s0, 0(t1)",
                "sw s1, 4(t1)",
                "sw s2, 8(t1)",
                "sw s3, 12(t1)",
                "sw s4, 16(t1)",
                "sw s5, 20(t1)",
                "sw s6, 24(t1)",
                "sw s7, 28(t1)",
                "sw s8, 32(t1)",
                "sw s9, 36(t1)",
                "sw s10, 40(t1)",
                "sw s11, 44(t1)",
                "sw a4, 48(t1)",
                "sw a5, 52(t1)",
                "sw a6, 56(t1)",
                "sw a7, 60(t1)",
                "addi t1, t1, 64",
                "sw t1, 0(sp)",
                "addi t2, t2, -1",
                "sw t2, 4(sp)",
                "bnez t2, 2b",
                "lw ra, 24(sp)",
                "lw s0, 28(sp)",
                "lw s1, 32(sp)",
                "lw s2, 36(sp)",
                "lw s3, 40(sp)",
                "lw s4, 44(sp)",
                "lw s5, 48(sp)",
                "lw s6, 52(sp)",
                "lw s7, 56(sp)",
                "lw s8, 60(sp)",
                "lw s9, 64(sp)",
                "lw s10, 68(sp)",
                "lw s11, 72(sp)",
                "addi sp, sp, 80",
                "ret",
                ".option pop",
            )
        }
    };
}

// The rarer way begins with what could be the end. It goes on at the second of two groups, whichever its own was.
product!(
    tiles8,
    "li t4, 0x00ff00ff\n li t1, 0\n li t2, 0",
    concat!(
        "3:\n lw t2, 4(t0)\n lw t1, 0(t0)\n lw t3, 8(t0)\n beqz t2, 6f\n",
        blocks!(whole, "0"),
        "4:\n lw t2, 20(t0)\n lw t1, 16(t0)\n lw t3, 24(t0)\n beqz t2, 5f\n",
        blocks!(whole, "16"),
        advance!(", 32"),
        "\n j 3b\n 5:\n",
        advance!(", 16"),
        "\n 6:\n beqz t3, 7f\n lw t2, 12(t0)\n or t5, t1, t2\n beqz t5, 4b\n",
        "li t5, 0x00800080\n mul ra, t2, t5\n lui t5, 8\n sub ra, t5, ra\n",
        blocks!(halved, "0"),
        "j 4b\n 7:"
    )
);

// Where groups are an odd number, the first step begins with its second group.
product!(
    tiles16,
    concat!(
        "lw t2, 0(a1)\n addi a1, a1, 4\n slli t4, a5, 4\n add t4, t4, a1\n",
        "andi t1, a5, 1\n slli t1, t1, 4\n sub a1, a1, t1\n",
        "lla ra, 3f\n beqz t1, 10f\n lla ra, 4f\n 10:",
    ),
    concat!(
        "jr ra\n 3:\n",
        columns!("0", "7", "5"),
        "4:\n",
        columns!("16", "8", "6"),
        "9:\n",
        advance!(", 32"),
        "\n bne t0, t4, 3b\n j 11f\n",
        zero!("0", "7", "5", "4"),
        zero!("16", "8", "6", "9"),
        "11:"
    )
);
