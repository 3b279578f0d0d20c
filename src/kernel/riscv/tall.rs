//! Products with a matrix in tall tiles: 16 rows by one column, four rows to a word, whose bytes u are weight + 128.
//!
//! At width A8 one 32-bit multiplication does two products: with a mask that leaves the rows 0 and 2 of a word,
//!
//! (u0 + 2^16 u2) |x| = u0 |x| + 2^16 u2 |x|
//!
//! and without the shift that the rows 1 and 3 seem to need, as the high word of (2^8 u1 + 2^24 u3) * 2^24 |x|. Both
//! products are at most 255 * 127, so that those of two columns are added before they are taken apart: Q = L + 2^16 H
//! with L and H below 2^16. Two sums suffice, T of all Q modulo 2^32 and that of all H = floor(Q / 2^16): T - 2^16 * (sum of H)
//! is the sum of L. No part may be negative, so columns are taken in two lists: what those of negative inputs give is
//! subtracted. Inputs of 0 are in neither. What 128 adds to the weights, a start value of -128 sum(x) takes away.
//! 83 instructions for 32 products.
//!
//! At width A16 bytes are multiplied one by one.

use crate::format::{InputWidth, TALL, align};
use core::arch::naked_asm;

mod list;

/// Columns whose tiles' offset in bytes fits 16 bits.
const MOST: usize = 1 << 12;

/// A vector as [`product`] wants it; only [`prepare`] makes one, because addresses follow from its words.
///
/// What the sums start with comes first. Then, at width A16, an input a word, as many as padded columns. At width A8 three
/// words more, which tells the two apart: the list of positive inputs from the front and that of negative ones from the
/// back. A column's word has the magnitude in its lowest byte and 16 times the column in its high half. Where they are an
/// odd number, 0 makes it even; another 0 ends the list, and may be that of both.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a>(&'a [u32]);

/// See [`super::super::product::prepare`].
#[inline(never)]
pub fn prepare<'a>(
    x: &mut [i16],
    width: InputWidth,
    factor: Option<i32>,
    operand: &'a mut [u32],
) -> Option<Operand<'a>> {
    let lists = lists(width, x.len());
    let all = operand.get_mut(..len(width, x.len()))?;
    let (start, words) = all.split_first_mut()?;
    let sum = if lists {
        list::list(x, factor.unwrap_or(1 << 24), words)
    } else {
        if let Some(factor) = factor {
            super::scale(x, factor);
        }
        let mut sum = 0i32;
        for (word, &x) in words.iter_mut().zip(&*x) {
            *word = i32::from(x) as u32;
            sum = sum.wrapping_add(i32::from(x));
        }
        words.get_mut(x.len()..)?.fill(0);
        sum
    };
    *start = (sum as u32).wrapping_mul(128).wrapping_neg();
    Some(Operand(all))
}

/// Whether the operand of so many elements is lists.
fn lists(width: InputWidth, columns: usize) -> bool {
    matches!(width, InputWidth::A8) && columns <= MOST
}

/// The words of the operand of so many elements.
fn len(width: InputWidth, columns: usize) -> usize {
    align(columns) + if lists(width, columns) { 4 } else { 1 }
}

/// See [`super::super::product::product`].
pub fn product(tiles: &[u32], x: &Operand<'_>, y: &mut [i32]) {
    let words = x.columns() * (TALL / 4);
    if words == 0 {
        return y.fill(0);
    }
    let (whole, rest) = y.as_chunks_mut();
    let wanted = whole.len() + usize::from(!rest.is_empty());
    // Most often there is a tile for each row, and nothing to divide.
    let small = wanted < 1 << 16 && words < 1 << 16;
    let blocks = if small && wanted * words <= tiles.len() { wanted } else { tiles.len() / words };
    let last = tiles.get(whole.len().wrapping_mul(words)..);
    if let Some(sums) = whole.get_mut(..blocks.min(whole.len())) {
        x.meet(tiles, sums);
    }
    if let Some(tiles) = last.filter(|_| blocks > whole.len() && !rest.is_empty()) {
        let mut sums = [[0; TALL]];
        x.meet(tiles, &mut sums);
        for (y, sum) in rest.iter_mut().zip(sums.as_flattened()) {
            *y = *sum;
        }
    }
}

impl<'a> Operand<'a> {
    /// The operand at the beginning of `words`.
    ///
    /// # Safety
    /// [`prepare`] was given `words` for a vector of so many elements and this width, and returned an operand; they are as it
    /// left them.
    pub unsafe fn prepared(columns: usize, width: InputWidth, words: &'a [u32]) -> Self {
        Self(words.get(..len(width, columns)).unwrap_or_default())
    }

    /// Whether these are lists.
    const fn lists(&self) -> bool {
        self.0.len().is_multiple_of(4)
    }

    /// Padded columns.
    const fn columns(&self) -> usize {
        self.0.len().saturating_sub(if self.lists() { 4 } else { 1 })
    }

    /// Computes the sums of blocks of 16 rows, which `tiles` must have.
    fn meet(&self, tiles: &[u32], sums: &mut [[i32; TALL]]) {
        let columns = self.columns();
        if sums.is_empty() || sums.len() * columns * (TALL / 4) > tiles.len() {
            return;
        }
        let (y, blocks) = (sums.as_mut_ptr(), sums.len());
        let (tiles, operand) = (tiles.as_ptr(), self.0.as_ptr_range());
        // SAFETY: the blocks have all their tiles and their room in y. What the operand is, and that the columns in it are
        // those of this matrix, `prepare` saw to.
        unsafe {
            if self.lists() {
                listed(tiles, operand.start, operand.end.sub(1), y, blocks, columns * TALL);
            } else {
                dense(tiles, operand.start, y, blocks, columns / 4);
            }
        }
    }
}

/// Saves the registers that a caller expects back, from 24 bytes up in a frame of 80.
macro_rules! save {
    () => {
        "addi sp, sp, -80
         sw ra, 24(sp)
         sw s0, 28(sp)
         sw s1, 32(sp)
         sw s2, 36(sp)
         sw s3, 40(sp)
         sw s4, 44(sp)
         sw s5, 48(sp)
         sw s6, 52(sp)
         sw s7, 56(sp)
         sw s8, 60(sp)
         sw s9, 64(sp)
         sw s10, 68(sp)
         sw s11, 72(sp)"
    };
}

/// Gives them back and returns.
macro_rules! restore {
    () => {
        "lw ra, 24(sp)
         lw s0, 28(sp)
         lw s1, 32(sp)
         lw s2, 36(sp)
         lw s3, 40(sp)
         lw s4, 44(sp)
         lw s5, 48(sp)
         lw s6, 52(sp)
         lw s7, 56(sp)
         lw s8, 60(sp)
         lw s9, 64(sp)
         lw s10, 68(sp)
         lw s11, 72(sp)
         addi sp, sp, 80
         ret"
    };
}

/// T and the sums of H of four rows, to begin with.
#[rustfmt::skip]
macro_rules! start {
    ($t02:literal $t13:literal, $h02:literal $h13:literal) => {
        concat!("mv ", $t02, ", t1\n mv ", $t13, ", t1\n mv ", $h02, ", t0\n mv ", $h13, ", t0")
    };
}

/// Four rows and two columns: T and the sum of H of the rows 0 and 2 and of the rows 1 and 3, which `$add` or subtract.
#[rustfmt::skip]
macro_rules! word {
    ($add:literal, $at:literal, $t02:literal $t13:literal, $h02:literal $h13:literal) => {
        concat!(
            "lw t0, ", $at, "(a1)\n lw t2, ", $at, "(a2)\n",
            "and t1, t0, t6\n and t3, t2, t6\n xor t0, t0, t1\n xor t2, t2, t3\n",
            "mul t1, t1, a3\n mul t3, t3, t5\n mulhu t0, t0, ra\n mulhu t2, t2, t4\n",
            "add t1, t1, t3\n add t0, t0, t2\n",
            $add, " ", $t02, ", ", $t02, ", t1\n srli t1, t1, 16\n ", $add, " ", $h02, ", ", $h02, ", t1\n",
            $add, " ", $t13, ", ", $t13, ", t0\n srli t0, t0, 16\n ", $add, " ", $h13, ", ", $h13, ", t0\n",
        )
    };
}

/// A list from a0 on, two of its words at a time, `$step` bytes from one to the next; `$loop` and `$end` are labels.
#[rustfmt::skip]
macro_rules! list {
    ($add:literal, $step:literal, $loop:literal, $end:literal) => {
        concat!(
            "lbu a3, 0(a0)\n beqz a3, ", $end, "f\n", $loop, ":\n",
            "lhu a1, 2(a0)\n lbu t5, ", $step, "(a0)\n lhu a2, ", $step, "+2(a0)\n lw t0, 0(sp)\n addi a0, a0, 2*", $step, "\n",
            "slli ra, a3, 24\n slli t4, t5, 24\n add a1, a1, t0\n add a2, a2, t0\n",
            word!($add, "0", "s0" "s1", "s2" "s3"),
            word!($add, "4", "s4" "s5", "s6" "s7"),
            word!($add, "8", "s8" "s9", "s10" "s11"),
            word!($add, "12", "a4" "a5", "a6" "a7"),
            "lbu a3, 0(a0)\n bnez a3, ", $loop, "b\n", $end, ":",
        )
    };
}

/// Four rows' sums from T and H to y, which is in a0.
#[rustfmt::skip]
macro_rules! store {
    ($at:literal, $t02:literal $t13:literal, $h02:literal $h13:literal) => {
        concat!(
            "slli t0, ", $h02, ", 16\n slli t1, ", $h13, ", 16\n",
            "sub ", $t02, ", ", $t02, ", t0\n sub ", $t13, ", ", $t13, ", t1\n",
            "sw ", $t02, ", ", $at, "(a0)\n sw ", $t13, ", ", $at, "+4(a0)\n",
            "sw ", $h02, ", ", $at, "+8(a0)\n sw ", $h13, ", ", $at, "+12(a0)\n",
        )
    };
}

/// # Safety
/// `tiles` points to `blocks` blocks of `bytes` bytes, `y` to their sums; `operand` and `last` to the first and the last word
/// of an operand for columns that a block has. Blocks is not 0.
#[unsafe(naked)]
unsafe extern "C" fn listed(
    tiles: *const u32,
    operand: *const u32,
    last: *const u32,
    y: *mut [i32; TALL],
    blocks: usize,
    bytes: usize,
) {
    // a0: list, then y; a1, a2: tiles of two columns; a3, t5: their inputs; ra, t4: 2^24 times
    // the inputs; t0 to t3: two words; t6: mask; s0 to s11, a4 to a7: sums.
    // The frame: 0 tiles, 4 operand, 8 last, 12 y, 16 blocks left, 20 bytes, 24 and more saved registers
    naked_asm!(
        ".option push",
        arch!(),
        save!(),
        "sw a0, 0(sp)",
        "sw a1, 4(sp)",
        "sw a2, 8(sp)",
        "sw a3, 12(sp)",
        "sw a4, 16(sp)",
        "sw a5, 20(sp)",
        "li t6, 0x00ff00ff",
        "2:",
        // both L and H start with the start
        "lw a0, 4(sp)",
        "lw t0, 0(a0)",
        "addi a0, a0, 4",
        "slli t1, t0, 16",
        "add t1, t1, t0",
        start!("s0" "s1", "s2" "s3"),
        start!("s4" "s5", "s6" "s7"),
        start!("s8" "s9", "s10" "s11"),
        start!("a4" "a5", "a6" "a7"),
        list!("add", "4", "3", "4"),
        "lw a0, 8(sp)",
        list!("sub", "-4", "5", "6"),
        "lw a0, 12(sp)",
        store!("0", "s0" "s1", "s2" "s3"),
        store!("16", "s4" "s5", "s6" "s7"),
        store!("32", "s8" "s9", "s10" "s11"),
        store!("48", "a4" "a5", "a6" "a7"),
        "lw t0, 0(sp)",
        "lw t1, 20(sp)",
        "lw t2, 16(sp)",
        "addi a0, a0, 64",
        "sw a0, 12(sp)",
        "add t0, t0, t1",
        "sw t0, 0(sp)",
        "addi t2, t2, -1",
        "sw t2, 16(sp)",
        "bnez t2, 2b",
        restore!(),
        ".option pop",
    )
}

/// Four rows of the column whose input is in a3.
#[rustfmt::skip]
macro_rules! rows4 {
    ($at:literal, $more:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "lbu t0, ", $at, "+", $more, "(a1)\n lbu t1, ", $at, "+", $more, "+1(a1)\n",
            "lbu t2, ", $at, "+", $more, "+2(a1)\n lbu t3, ", $at, "+", $more, "+3(a1)\n",
            "mul t0, t0, a3\n mul t1, t1, a3\n mul t2, t2, a3\n mul t3, t3, a3\n",
            "add ", $a, ", ", $a, ", t0\n add ", $b, ", ", $b, ", t1\n",
            "add ", $c, ", ", $c, ", t2\n add ", $d, ", ", $d, ", t3\n",
        )
    };
}

/// A column, whose input is at `$x` and whose tile is at `$at`.
#[rustfmt::skip]
macro_rules! input {
    ($x:literal, $at:literal) => {
        concat!(
            "lw a3, ", $x, "(a0)\n",
            rows4!($at, "0", "s0" "s1" "s2" "s3"),
            rows4!($at, "4", "s4" "s5" "s6" "s7"),
            rows4!($at, "8", "s8" "s9" "s10" "s11"),
            rows4!($at, "12", "a4" "a5" "a6" "a7"),
        )
    };
}

/// # Safety
/// `tiles` points to `blocks` blocks of 4 * `groups` columns, `y` to their sums, `operand` to 1 + 4 * groups words. Blocks
/// and groups are not 0.
#[unsafe(naked)]
unsafe extern "C" fn dense(
    tiles: *const u32,
    operand: *const u32,
    y: *mut [i32; TALL],
    blocks: usize,
    groups: usize,
) {
    // a0: operand; a1: tiles; a2: operand end; a3: input; t0 to t3: weights; t4: y; t5: y end; t6: operand; s0 to s11, a4
    // to a7: sums
    naked_asm!(
        ".option push",
        arch!(),
        save!(),
        "mv t6, a1",
        "mv a1, a0",
        "mv t4, a2",
        "slli a3, a3, 6",
        "add t5, t4, a3",
        "slli a4, a4, 4",
        "addi a2, t6, 4",
        "add a2, a2, a4",
        "2:",
        "lw a3, 0(t6)",
        "addi a0, t6, 4",
        "mv s0, a3",
        "mv s1, a3",
        "mv s2, a3",
        "mv s3, a3",
        "mv s4, a3",
        "mv s5, a3",
        "mv s6, a3",
        "mv s7, a3",
        "mv s8, a3",
        "mv s9, a3",
        "mv s10, a3",
        "mv s11, a3",
        "mv a4, a3",
        "mv a5, a3",
        "mv a6, a3",
        "mv a7, a3",
        "3:",
        input!("0", "0"),
        input!("4", "16"),
        input!("8", "32"),
        input!("12", "48"),
        "addi a0, a0, 16",
        "addi a1, a1, 64",
        "bne a0, a2, 3b",
        "sw s0, 0(t4)",
        "sw s1, 4(t4)",
        "sw s2, 8(t4)",
        "sw s3, 12(t4)",
        "sw s4, 16(t4)",
        "sw s5, 20(t4)",
        "sw s6, 24(t4)",
        "sw s7, 28(t4)",
        "sw s8, 32(t4)",
        "sw s9, 36(t4)",
        "sw s10, 40(t4)",
        "sw s11, 44(t4)",
        "sw a4, 48(t4)",
        "sw a5, 52(t4)",
        "sw a6, 56(t4)",
        "sw a7, 60(t4)",
        "addi t4, t4, 64",
        "bne t4, t5, 2b",
        restore!(),
        ".option pop",
    )
}
