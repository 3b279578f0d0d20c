//! The products of attention, over a cache of elements + 128.
//!
//! A loaded byte, its product and its addition are three instructions. What the offset adds is 128 times the sum of the
//! queries or weights, and is taken off once.

use super::softmax::to_base_two;
use crate::kernel::{narrowing, rows};
use core::arch::naked_asm;

const OFFSET: i32 = super::CACHE_OFFSET as i32;

/// See [`attention::scores`](crate::kernel::attention::scores).
pub fn scores(keys: &[i8], z: &[u8], query: &[i16], base: u32, scores: &mut [i32]) -> i32 {
    let len = z.len().min(scores.len());
    let scores = scores.get_mut(..len).unwrap_or_default();
    dot_products(keys, query, scores);
    to_base_two(scores, z, narrowing(query.len()), base)
}

/// `y[j]` becomes the product of the query with row j of the keys, where there is one.
fn dot_products(keys: &[i8], query: &[i16], y: &mut [i32]) {
    let columns = query.len();
    let rows = rows::at_most(y.len(), keys.len(), columns, columns);
    if columns == 0 || !columns.is_multiple_of(4) || rows == 0 {
        for (keys, y) in rows::rows(keys, columns, columns).zip(y) {
            *y = keys
                .iter()
                .zip(query)
                .fold(0i32, |sum, (&k, &q)| sum.wrapping_add(element(k) * i32::from(q)));
        }
        return;
    }
    let (fours, _) = query.as_chunks::<4>();
    let sum =
        fours.iter().fold(0i32, |sum, four| four.iter().fold(sum, |sum, &q| sum.wrapping_add(i32::from(q))));
    let (skip, y) = (rows.wrapping_neg() & 3, y.as_mut_ptr());
    let pass = Keys {
        start: sum.wrapping_mul(OFFSET).wrapping_neg(),
        stride: columns,
        end: y.wrapping_add(rows),
        skip,
        times: columns / 4,
    };
    // SAFETY: there are so many rows of keys and sums, more than none; with `skip`, whole rounds of four. Each of the
    // query's groups of four has its columns.
    unsafe { products_of_keys(keys.as_ptr(), query.as_ptr(), y, &pass) }
}

/// What is stored as this byte.
fn element(stored: i8) -> i32 {
    i32::from(stored as u8) - OFFSET
}

/// What [`products_of_keys`] keeps in registers.
#[repr(C)]
struct Keys {
    /// What a sum starts with.
    start: i32,
    stride: usize,
    end: *mut i32,
    /// Rows that the first round leaves out.
    skip: usize,
    /// Groups of four columns.
    times: usize,
}

/// Four columns of a row of keys, whose sum is left in r6: 11 instructions.
macro_rules! columns {
    () => {
        "ldrb r6, [r0]\n muls r6, r2, r6\n ldrb r7, [r0, #1]\n muls r7, r3, r7\n adds r6, r6, r7\n \
         ldrb r7, [r0, #2]\n muls r7, r4, r7\n adds r6, r6, r7\n ldrb r7, [r0, #3]\n muls r7, r5, r7\n adds r6, r6, r7"
    };
}

/// A sum that is started: 28 bytes of code.
macro_rules! first {
    () => {
        concat!(columns!(), "\n add r6, r8\n stmia r1!, {{r6}}\n add r0, r9")
    };
}

/// A sum that goes on: 30 bytes of code.
macro_rules! next {
    () => {
        concat!(columns!(), "\n ldr r7, [r1]\n adds r6, r6, r7\n stmia r1!, {{r6}}\n add r0, r9")
    };
}

/// Loads the four elements of a query at lr, and the places where a pass begins. Goes on at the row that `skip` says, of
/// `$size` bytes of code each, the first of which follow.
macro_rules! enter {
    ($size:literal) => {
        concat!(
            "mov r7, lr\n movs r6, #0\n ldrsh r2, [r7, r6]\n movs r6, #2\n ldrsh r3, [r7, r6]\n",
            "movs r6, #4\n ldrsh r4, [r7, r6]\n movs r6, #6\n ldrsh r5, [r7, r6]\n adds r7, #8\n mov lr, r7\n",
            "mov r0, r12\n mov r1, r11\n ldr r7, [sp]\n movs r6, #",
            $size,
            "\n muls r7, r6, r7\n add pc, r7\n nop",
        )
    };
}

/// # Safety
/// `keys` points to rows, `pass.stride` apart, and `y` to a sum for each, up to `pass.end`; with `pass.skip` they are
/// whole groups of four, more than none. Rows and `query` have `pass.times` groups of four elements, more than none.
#[unsafe(naked)]
unsafe extern "C" fn products_of_keys(keys: *const i8, query: *const i16, y: *mut i32, pass: &Keys) {
    // r0: row; r1: y; r2 to r5: query; r6: sum; r7: scratch; r8: start; r9: stride; r10: y's end; r11: its start; r12:
    // keys; lr: query. The frame: 0 rows to skip, 4 passes left
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "sub sp, #8",
        "mov r11, r2",
        "mov r12, r0",
        "mov lr, r1",
        "ldmia r3!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "str r7, [sp]",
        "ldr r7, [r3]",
        "str r7, [sp, #4]",
        enter!("28"),
        "2:",
        first!(),
        first!(),
        first!(),
        first!(),
        "cmp r1, r10",
        "bne 2b",
        "b 5f",
        "3:",
        "str r7, [sp, #4]",
        "movs r7, #4",
        "add r12, r7",
        enter!("30"),
        "4:",
        next!(),
        next!(),
        next!(),
        next!(),
        "cmp r1, r10",
        "bne 4b",
        "5:",
        "ldr r7, [sp, #4]",
        "subs r7, #1",
        "bne 3b",
        "add sp, #8",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}

/// See [`attention::weighted_sum`](crate::kernel::attention::weighted_sum): values lie as rows, a position each.
pub fn weighted_sum(values: &[i8], _stride: usize, weights: &[i16], y: &mut [i32]) {
    let channels = y.len();
    // The weights that fill up their last group have no values. This core does not divide.
    let fits = |rows: usize| rows < 1 << 16 && channels < 1 << 16 && rows * channels <= values.len();
    let unpadded = (0..4).map(|padding| weights.len().saturating_sub(padding)).find(|&rows| fits(rows));
    let rows = unpadded.unwrap_or_else(|| rows::count(values.len(), channels, channels).min(weights.len()));
    let weights = weights.get(..rows).unwrap_or_default();
    if !channels.is_multiple_of(4) || rows == 0 {
        y.fill(0);
        for (values, &weight) in rows::rows(values, channels, channels).zip(weights) {
            for (y, &value) in y.iter_mut().zip(values) {
                *y = y.wrapping_add(element(value) * i32::from(weight));
            }
        }
        return;
    }
    let skip = rows.wrapping_neg() & 3;
    let pass = Values { stride: channels, end: weights.as_ptr_range().end, skip };
    let values = values.as_ptr();
    // Four weights in a round lie at fixed places behind this.
    let weights = weights.as_ptr().wrapping_sub(skip);
    let (eights, rest) = y.as_chunks_mut::<8>();
    let begun = eights.len() * 8;
    for (i, y) in eights.iter_mut().enumerate() {
        // SAFETY: rows of values and weights are so many, with `skip` whole rounds of four, more than none; a row has
        // eight channels from here on.
        unsafe { sum8(values.wrapping_add(8 * i), weights, y.as_mut_ptr(), &pass) }
    }
    if !rest.is_empty() {
        // SAFETY: as above, with the four channels that are left.
        unsafe { sum4(values.wrapping_add(begun), weights, rest.as_mut_ptr(), &pass) }
    }
}

/// What [`sum8`] and [`sum4`] keep in registers.
#[repr(C)]
struct Values {
    stride: usize,
    /// Where the weights end.
    end: *const i16,
    /// Rows that the first round leaves out.
    skip: usize,
}

/// A channel, whose sum is in `$sum`.
macro_rules! channel {
    ($add:literal, $sum:literal, $at:literal) => {
        concat!("ldrb r3, [r0, #", $at, "]\n muls r3, r2, r3\n ", $add, " ", $sum, ", r3\n")
    };
}

/// Four channels of a position whose weight is at `$at`: 30 bytes of code.
macro_rules! four_channels {
    ($at:literal) => {
        concat!(
            "ldrh r2, [r1, #",
            $at,
            "]\n add lr, r2\n",
            channel!("adds", "r4", "0"),
            channel!("adds", "r5", "1"),
            channel!("adds", "r6", "2"),
            channel!("adds", "r7", "3"),
            "add r0, r12",
        )
    };
}

/// Eight channels: 54 bytes of code.
macro_rules! eight_channels {
    ($at:literal) => {
        concat!(
            "ldrh r2, [r1, #",
            $at,
            "]\n add lr, r2\n",
            channel!("adds", "r4", "0"),
            channel!("adds", "r5", "1"),
            channel!("adds", "r6", "2"),
            channel!("adds", "r7", "3"),
            channel!("add", "r8", "4"),
            channel!("add", "r9", "5"),
            channel!("add", "r10", "6"),
            channel!("add", "r11", "7"),
            "add r0, r12",
        )
    };
}

/// Takes the offset, in r2, off four sums and stores them at r1.
macro_rules! store_sums {
    () => {
        "subs r4, r4, r2\n subs r5, r5, r2\n subs r6, r6, r2\n subs r7, r7, r2\n stmia r1!, {{r4-r7}}"
    };
}

/// Defines the sum of as many channels as `$channels` does, of `$size` bytes of code; `$rest` stores those in r8 to r11.
macro_rules! sum {
    ($name:ident, $channels:ident, $size:literal, $rest:expr) => {
        /// # Safety
        /// `values` points to rows, `pass.stride` apart, and `weights` to `pass.skip` before one for each, up to
        /// `pass.end`, in whole groups of four, more than none. `y` has room for a sum of each channel.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(values: *const i8, weights: *const i16, y: *mut i32, pass: &Values) {
            // r0: values; r1: weights; r2: weight; r3: scratch; r4 to r11: sums; r12: stride; lr: sum of weights. The
            // frame: 0 the weights' end, 4 y
            naked_asm!(
                "push {{r4-r7, lr}}",
                "mov r4, r8",
                "mov r5, r9",
                "mov r6, r10",
                "mov r7, r11",
                "push {{r4-r7}}",
                "ldmia r3!, {{r4-r6}}",
                "push {{r2}}",
                "push {{r5}}",
                "mov r12, r4",
                concat!("movs r3, #", $size),
                "muls r3, r6, r3",
                "movs r2, #0",
                "mov lr, r2",
                "movs r4, #0",
                "movs r5, #0",
                "movs r6, #0",
                "movs r7, #0",
                "mov r8, r2",
                "mov r9, r2",
                "mov r10, r2",
                "mov r11, r2",
                "add pc, r3",
                "nop",
                "2:",
                $channels!("0"),
                $channels!("2"),
                $channels!("4"),
                $channels!("6"),
                "adds r1, #8",
                "ldr r3, [sp]",
                "cmp r1, r3",
                "bne 2b",
                "mov r2, lr",
                "lsls r2, r2, #7",
                "ldr r1, [sp, #4]",
                store_sums!(),
                $rest,
                "add sp, #8",
                "pop {{r4-r7}}",
                "mov r8, r4",
                "mov r9, r5",
                "mov r10, r6",
                "mov r11, r7",
                "pop {{r4-r7, pc}}",
            )
        }
    };
}

sum!(sum4, four_channels, "30", "");
sum!(
    sum8,
    eight_channels,
    "54",
    concat!("mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n", store_sums!())
);
