//! Attention over an int8 cache: products of queries and keys to scores to base two. For one query head, and for two
//! that share keys, which share the work on the steps, too.
//!
//! A scale byte z is the step (16 + z % 16) * 2^(z / 16). Four of them are taken apart at once, into a word of mantissas
//! and one of shifts: a shift by a register takes its lowest byte. A product by a mantissa, shifted and rounded half up,
//! is one SMMULR: of 2^i * a and 2^(32 - i - s) * mantissa it leaves (a * mantissa + half) >> s.

use super::super::rows;
use super::{in_every_byte, matvec_strided, product_pair};
use core::arch::naked_asm;

/// Scores of one query: `scores[j]` becomes the product of `query` with row j of `keys`, rounded by
/// ceil(log2(head)) - 4 bits where a head is longer than 16, times the mantissa of `z[j]`, shifted by `base` less its
/// exponent (which is 0 to 24), rounded half up. Returns the largest.
///
/// - `keys`: rows of `query.len()` elements, `z`: their scale bytes
/// - `query`: in the order that [`crate::kernel::arrange`] makes
pub fn scores(keys: &[i8], z: &[u8], query: &[i16], base: u32, scores: &mut [i32]) -> i32 {
    let len = z.len().min(scores.len());
    let scores = scores.get_mut(..len).unwrap_or_default();
    matvec_strided(keys, query.len(), query, scores);
    // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `scores` and `z` have `len`
    // elements.
    unsafe {
        scale1(scores.as_mut_ptr(), z.as_ptr(), in_every_byte(base), narrowing(query.len()), len & !3, len)
    }
}

/// [`scores`] of two queries, one after the other for each position.
///
/// - `pair`: the queries, as [`crate::kernel::arrange_pair`] makes them
/// - the base, and the largest exponent of `z`
/// - `scores`: two for each of `z`
pub fn scores_pair(
    keys: &[i8],
    head_dim: usize,
    z: &[u8],
    pair: &[i16],
    (base, largest): (u32, u32),
    scores: &mut [i32],
) -> [i32; 2] {
    let len = rows::at_most(z.len().min(scores.len() / 2), keys.len(), head_dim, head_dim);
    let Some(scores) = scores.get_mut(..2 * len) else {
        return [i32::MIN; 2];
    };
    if len == 0 {
        return [i32::MIN; 2];
    }
    match pair.as_chunks::<16>() {
        ([queries], [])
            if head_dim == 8 && (keys.as_ptr().addr() | pair.as_ptr().addr()).is_multiple_of(4) =>
        {
            // SAFETY: this target executes the DSP instructions, since build.rs saw them assemble. `keys` holds `len`
            // rows of 8, `scores` two for each; len is not 0. LDM and LDRD find multiples of four bytes.
            unsafe { dots8(keys.as_ptr(), scores.as_mut_ptr(), queries, len) }
        }
        _ => product_pair(keys, head_dim, head_dim, pair, scores),
    }
    // SAFETY: as above; `z` holds `len` bytes.
    let tops = unsafe {
        if base >= largest + 6 && head_dim <= 16 {
            let shift = in_every_byte(32u32.wrapping_sub(base));
            scale_down(scores.as_mut_ptr(), z.as_ptr(), shift, len & !3, len)
        } else if head_dim <= 8 {
            let shift = in_every_byte(26u32.wrapping_sub(base));
            scale_short(scores.as_mut_ptr(), z.as_ptr(), shift, len & !3, len)
        } else {
            scale_long(
                scores.as_mut_ptr(),
                z.as_ptr(),
                in_every_byte(base),
                narrowing(head_dim),
                len & !3,
                len,
            )
        }
    };
    [tops as i32, (tops >> 32) as i32]
}

/// The bits that a product loses where a head is longer than 16: 5 bits of the key's mantissa must fit beside it.
const fn narrowing(head_dim: usize) -> u32 {
    (usize::BITS - head_dim.saturating_sub(1).leading_zeros()).saturating_sub(4)
}

/// One position: 14 instructions of four bytes.
macro_rules! dots8_position {
    () => {
        concat!(
            "ldrd r2, r3, [r0], #8\n",
            "sxtb16 r12, r2\n",
            "sxtb16 r2, r2, ror #8\n",
            "smuad lr, r12, r4\n",
            "smuad r12, r12, r5\n",
            "smlad lr, r2, r6, lr\n",
            "smlad r12, r2, r7, r12\n",
            "sxtb16 r2, r3\n",
            "sxtb16 r3, r3, ror #8\n",
            "smlad lr, r2, r8, lr\n",
            "smlad r12, r2, r9, r12\n",
            "smlad lr, r3, r10, lr\n",
            "smlad r12, r3, r11, r12\n",
            "strd lr, r12, [r1], #8\n",
        )
    };
}

/// Products of two queries with keys of 8 elements. The queries stay in registers.
///
/// # Safety
/// `keys` points to 8 * len elements, `dots` to room for 2 * len; len is not 0; `keys` and `pair` start at multiples of
/// four bytes.
#[unsafe(naked)]
unsafe extern "C" fn dots8(keys: *const i8, dots: *mut i32, pair: &[i16; 16], len: usize) {
    // r0: keys; r1: dots; r4 to r11: the queries' words; r2, r3: a key; r12: scratch, then the second sum; lr: the first.
    // The frame: keys' end
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r2, r4-r11, lr}}",
        "ldmia r2, {{r4-r11}}",
        "add r2, r0, r3, lsl #3",
        "str r2, [sp]",
        // all but a multiple of four positions in the first round
        "rsb r3, r3, #0",
        "and r3, r3, #3",
        "adr r2, 2f",
        "mov r12, #56",
        "mla r2, r3, r12, r2",
        "orr r2, r2, #1",
        "bx r2",
        ".balign 4",
        "2:",
        dots8_position!(),
        dots8_position!(),
        dots8_position!(),
        dots8_position!(),
        "ldr r2, [sp]",
        "cmp r0, r2",
        "bne 2b",
        "pop {{r2, r4-r11, pc}}",
    )
}

/// One score against the largest; `$out` and `$back` are labels of the rare case, which `new_top` has.
macro_rules! top {
    ($score:literal, $top:literal, $out:literal, $back:literal) => {
        concat!("cmp ", $score, ", ", $top, "\n", "bgt ", $out, "f\n", $back, ":\n")
    };
}

/// The rare case: a new largest score.
macro_rules! new_top {
    ($score:literal, $top:literal, $out:literal, $back:literal) => {
        concat!($out, ":\n", "mov ", $top, ", ", $score, "\n", "b ", $back, "b\n")
    };
}

/// Two scores of one position: the mantissa in byte `$byte` of r5, the shift in the lowest byte of r6.
macro_rules! scale_down {
    ($a:literal, $b:literal, $byte:literal) => {
        concat!(
            "uxtb r7, r5",
            $byte,
            "\n",
            "lsl r7, r7, r6\n",
            "smmulr ",
            $a,
            ", ",
            $a,
            ", r7\n",
            "smmulr ",
            $b,
            ", ",
            $b,
            ", r7\n",
        )
    };
}

/// As [`scale_down()`] for shifts of less than 6, of 64 times the products: |dot| is at most 8 * 128 * 32767 < 2^25, so that
/// 64 * dot fits; 31 * 2^26 fits, too.
macro_rules! scale_short {
    ($a:literal, $b:literal, $byte:literal) => {
        concat!(
            "uxtb r7, r5",
            $byte,
            "\n",
            "lsl ",
            $a,
            ", ",
            $a,
            ", #6\n",
            "lsl r7, r7, r6\n",
            "lsl ",
            $b,
            ", ",
            $b,
            ", #6\n",
            "smmulr ",
            $a,
            ", ",
            $a,
            ", r7\n",
            "smmulr ",
            $b,
            ", ",
            $b,
            ", r7\n",
        )
    };
}

/// Defines a loop of `$scale` over all positions.
macro_rules! scale_pairs {
    ($(#[$doc:meta])* $name:ident, $scale:ident) => {
$(#[$doc])*
///
/// # Safety
/// `dots` points to two products for each of the scale bytes at `z`, whose number is `len`; `fours` is `len` rounded down
/// to a multiple of four.
#[unsafe(naked)]
unsafe extern "C" fn $name(dots: *mut i32, z: *const u8, shift: u32, fours: usize, len: usize) -> u64 {
    // r0: dots; r1: z, which LDR may find at any byte; r2: shift; r3, r4: the largest; r5: mantissas; r6: shifts; r7:
    // a position's factor; r8 to r11: two positions; r12: end in groups of four; lr: end
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldr lr, [sp, #36]",
        "add r12, r0, r3, lsl #3",
        "add lr, r0, lr, lsl #3",
        "mov r3, #0x80000000",
        "mov r4, r3",
        "cmp r0, r12",
        "beq 3f",
        ".balign 4",
        "2:",
        "ldr r5, [r1], #4",
        "and r6, r5, #0xf0f0f0f0",
        "add r6, r2, r6, lsr #4",
        "and r5, r5, #0x0f0f0f0f",
        "orr r5, r5, #0x10101010",
        "ldmia r0, {{r8, r9, r10, r11}}",
        $scale!("r8", "r9", ""),
        top!("r8", "r3", "60", "70"),
        top!("r9", "r4", "61", "71"),
        "lsr r6, r6, #8",
        $scale!("r10", "r11", ", ror #8"),
        top!("r10", "r3", "62", "72"),
        top!("r11", "r4", "63", "73"),
        "stmia r0!, {{r8, r9, r10, r11}}",
        "lsr r6, r6, #8",
        "ldmia r0, {{r8, r9, r10, r11}}",
        $scale!("r8", "r9", ", ror #16"),
        top!("r8", "r3", "64", "74"),
        top!("r9", "r4", "65", "75"),
        "lsr r6, r6, #8",
        $scale!("r10", "r11", ", ror #24"),
        top!("r10", "r3", "66", "76"),
        top!("r11", "r4", "67", "77"),
        "stmia r0!, {{r8, r9, r10, r11}}",
        "cmp r0, r12",
        "bne 2b",
        "3:",
        "cmp r0, lr",
        "beq 5f",
        "4:",
        "ldrb r5, [r1], #1",
        "add r6, r2, r5, lsr #4",
        "and r5, r5, #15",
        "orr r5, r5, #16",
        "ldrd r8, r9, [r0]",
        $scale!("r8", "r9", ""),
        top!("r8", "r3", "68", "78"),
        top!("r9", "r4", "69", "79"),
        "strd r8, r9, [r0], #8",
        "cmp r0, lr",
        "bne 4b",
        "5:",
        "mov r0, r3",
        "mov r1, r4",
        "pop {{r4-r11, pc}}",
        new_top!("r8", "r3", "60", "70"),
        new_top!("r9", "r4", "61", "71"),
        new_top!("r10", "r3", "62", "72"),
        new_top!("r11", "r4", "63", "73"),
        new_top!("r8", "r3", "64", "74"),
        new_top!("r9", "r4", "65", "75"),
        new_top!("r10", "r3", "66", "76"),
        new_top!("r11", "r4", "67", "77"),
        new_top!("r8", "r3", "68", "78"),
        new_top!("r9", "r4", "69", "79"),
    )
}
    };
}

scale_pairs! {
    /// Products to scores for heads of at most 16 elements, where the largest exponent is at least 6 below the base, so that
    /// mantissas fit 31 bits; returns the largest ones, the first in the lower half. `shift` is 32 less the base, in every
    /// byte.
    scale_down, scale_down
}

scale_pairs! {
    /// As [`scale_down()`] for heads of at most 8 elements, wherever the base is; `shift` is 26 less the base.
    scale_short, scale_short
}

/// A position's mantissa, in byte `$byte` of r5, to r7, and half of the unit to which the lowest byte of r6 shifts to r10.
macro_rules! mantissa_and_half {
    ($byte:literal) => {
        concat!("uxtb r7, r5", $byte, "\n", "lsl r10, lr, r6\n", "lsr r10, r10, #1\n")
    };
}

/// A product to a score, with narrowing in r11 and r12.
macro_rules! scale_long {
    ($dot:literal) => {
        concat!(
            "add ",
            $dot,
            ", ",
            $dot,
            ", r11\n",
            "asr ",
            $dot,
            ", ",
            $dot,
            ", r12\n",
            "mla ",
            $dot,
            ", ",
            $dot,
            ", r7, r10\n",
            "asr ",
            $dot,
            ", ",
            $dot,
            ", r6\n",
        )
    };
}

/// Two scores of one position, before the comparison with the largest.
macro_rules! scale2_long {
    ($byte:literal) => {
        concat!(
            "ldrd r8, r9, [r0]\n",
            mantissa_and_half!($byte),
            scale_long!("r8"),
            scale_long!("r9"),
            "strd r8, r9, [r0], #8\n",
        )
    };
}

/// As [`scale_short()`] for longer heads, whose products are rounded by `narrowing` bits first. `base` is in every byte.
///
/// # Safety
/// As for [`scale_short()`].
#[unsafe(naked)]
unsafe extern "C" fn scale_long(
    dots: *mut i32,
    z: *const u8,
    base: u32,
    narrowing: u32,
    fours: usize,
    len: usize,
) -> u64 {
    // r0: dots; r1: z; r2: base; r3, r4: the largest; r5: mantissas; r6: shifts; r7: a position's mantissa; r8, r9: its
    // scores; r10: half of its unit; r11, r12: half and bits of narrowing; lr: 1. The frame becomes: 36 end in groups of
    // four, 40 end
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [sp, #36]",
        "add r4, r0, r4, lsl #3",
        "add r5, r0, r5, lsl #3",
        "strd r4, r5, [sp, #36]",
        "mov r12, r3",
        "mov lr, #1",
        "lsl r11, lr, r12",
        "lsr r11, r11, #1",
        "mov r3, #0x80000000",
        "cmp r0, r4",
        "mov r4, r3",
        "beq 3f",
        ".balign 4",
        "2:",
        "ldr r5, [r1], #4",
        "and r6, r5, #0xf0f0f0f0",
        "sub r6, r2, r6, lsr #4",
        "and r5, r5, #0x0f0f0f0f",
        "orr r5, r5, #0x10101010",
        scale2_long!(""),
        top!("r8", "r3", "60", "70"),
        top!("r9", "r4", "61", "71"),
        "lsr r6, r6, #8",
        scale2_long!(", ror #8"),
        top!("r8", "r3", "62", "72"),
        top!("r9", "r4", "63", "73"),
        "lsr r6, r6, #8",
        scale2_long!(", ror #16"),
        top!("r8", "r3", "64", "74"),
        top!("r9", "r4", "65", "75"),
        "lsr r6, r6, #8",
        scale2_long!(", ror #24"),
        top!("r8", "r3", "66", "76"),
        top!("r9", "r4", "67", "77"),
        "ldr r7, [sp, #36]",
        "cmp r0, r7",
        "bne 2b",
        "3:",
        "ldr r7, [sp, #40]",
        "cmp r0, r7",
        "beq 5f",
        "ldrb r5, [r1], #1",
        "sub r6, r2, r5, lsr #4",
        "and r5, r5, #15",
        "orr r5, r5, #16",
        scale2_long!(""),
        top!("r8", "r3", "68", "78"),
        top!("r9", "r4", "69", "79"),
        "b 3b",
        "5:",
        "mov r0, r3",
        "mov r1, r4",
        "pop {{r4-r11, pc}}",
        new_top!("r8", "r3", "60", "70"),
        new_top!("r9", "r4", "61", "71"),
        new_top!("r8", "r3", "62", "72"),
        new_top!("r9", "r4", "63", "73"),
        new_top!("r8", "r3", "64", "74"),
        new_top!("r9", "r4", "65", "75"),
        new_top!("r8", "r3", "66", "76"),
        new_top!("r9", "r4", "67", "77"),
        new_top!("r8", "r3", "68", "78"),
        new_top!("r9", "r4", "69", "79"),
    )
}

/// Products of one query to scores; returns the largest. As [`scale_long()`] otherwise.
///
/// # Safety
/// As for [`scale_short()`], with one product for each scale byte.
#[unsafe(naked)]
unsafe extern "C" fn scale1(
    dots: *mut i32,
    z: *const u8,
    base: u32,
    narrowing: u32,
    fours: usize,
    len: usize,
) -> i32 {
    // r0: dots; r1: z; r2: base; r3: the largest; r4: end in groups of four; r5: mantissas; r6: shifts; r7: a position's
    // mantissa; r8, r9: scores; r10: half of a unit; r11, r12: half and bits of narrowing; lr: 1. The frame: 40 len, then
    // end
    naked_asm!(
        ".cpu cortex-m33",
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [sp, #36]",
        "add r4, r0, r4, lsl #2",
        "add r5, r0, r5, lsl #2",
        "str r5, [sp, #40]",
        "mov r12, r3",
        "mov lr, #1",
        "lsl r11, lr, r12",
        "lsr r11, r11, #1",
        "mov r3, #0x80000000",
        "cmp r0, r4",
        "beq 3f",
        ".balign 4",
        "2:",
        "ldr r5, [r1], #4",
        "and r6, r5, #0xf0f0f0f0",
        "sub r6, r2, r6, lsr #4",
        "and r5, r5, #0x0f0f0f0f",
        "orr r5, r5, #0x10101010",
        "ldrd r8, r9, [r0]",
        mantissa_and_half!(""),
        scale_long!("r8"),
        top!("r8", "r3", "60", "70"),
        "lsr r6, r6, #8",
        mantissa_and_half!(", ror #8"),
        scale_long!("r9"),
        top!("r9", "r3", "61", "71"),
        "lsr r6, r6, #8",
        "strd r8, r9, [r0], #8",
        "ldrd r8, r9, [r0]",
        mantissa_and_half!(", ror #16"),
        scale_long!("r8"),
        top!("r8", "r3", "62", "72"),
        "lsr r6, r6, #8",
        mantissa_and_half!(", ror #24"),
        scale_long!("r9"),
        top!("r9", "r3", "63", "73"),
        "strd r8, r9, [r0], #8",
        "cmp r0, r4",
        "bne 2b",
        "3:",
        "ldr r4, [sp, #40]",
        "cmp r0, r4",
        "beq 5f",
        "4:",
        "ldrb r5, [r1], #1",
        "sub r6, r2, r5, lsr #4",
        "and r5, r5, #15",
        "orr r5, r5, #16",
        "ldr r8, [r0]",
        mantissa_and_half!(""),
        scale_long!("r8"),
        top!("r8", "r3", "64", "74"),
        "str r8, [r0], #4",
        "cmp r0, r4",
        "bne 4b",
        "5:",
        "mov r0, r3",
        "pop {{r4-r11, pc}}",
        new_top!("r8", "r3", "60", "70"),
        new_top!("r9", "r3", "61", "71"),
        new_top!("r8", "r3", "62", "72"),
        new_top!("r9", "r3", "63", "73"),
        new_top!("r8", "r3", "64", "74"),
    )
}
