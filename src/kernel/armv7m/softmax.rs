//! Attention's softmax for two query heads that share values and the work on their steps: scores to powers of two, from a
//! table of one octave, and to weights, shifted and rounded as in [`scores`](mod@super::scores).

use super::super::in_every_byte;
use core::arch::naked_asm;

/// The table of powers has 2^10 entries to the octave.
const FRACTION: u32 = 10;

/// See [`attention::softmax_pair`](super::super::attention::softmax_pair). Does nothing where `scores` or `weights` are
/// too short.
pub fn softmax_pair(
    exp: &[u16; 1024],
    scores: &mut [i32],
    mut tops: [i32; 2],
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> [u32; 2] {
    let (whole, rest) = z.as_chunks::<4>();
    let len = 8 * (whole.len() + usize::from(!rest.is_empty()));
    let (Some(scores), Some(weights)) = (scores.get_mut(..len), weights.get_mut(..len)) else {
        return [0; 2];
    };
    let (real, padding) = scores.split_at_mut_checked(2 * z.len()).unwrap_or_default();
    if fraction < FRACTION {
        for scores in real.as_chunks_mut::<2>().0 {
            for (score, top) in scores.iter_mut().zip(tops) {
                let distance = (top.wrapping_sub(*score) as u32).min((32 << fraction) - 1);
                *score = -((distance << (FRACTION - fraction)) as i32);
            }
        }
        tops = [0; 2];
    }
    // The smallest score has the power 0.
    padding.fill(i32::MIN);
    let last = rest.iter().rev().fold(0, |last, &z| last << 8 | u32::from(z));
    let frame = Frame {
        tops,
        base: in_every_byte(base),
        end: scores.as_ptr().wrapping_add(8 * whole.len()),
        padded_end: scores.as_ptr_range().end,
        last,
    };
    // SAFETY: `scores` and `weights` have `len` elements, in whole groups of eight, and the frame says where those of whole
    // groups of `z` and where `scores` end.
    let sums = unsafe { softmax(scores.as_ptr(), z.as_ptr(), weights.as_mut_ptr(), exp, frame) };
    [sums as u32, (sums >> 32) as u32]
}

/// What [`softmax`] finds on the stack.
#[repr(C)]
struct Frame {
    tops: [i32; 2],
    /// The base of the shifts, in every byte.
    base: u32,
    /// Where the scores of whole groups of four scale bytes end.
    end: *const i32,
    /// Where the scores end.
    padded_end: *const i32,
    /// The scale bytes of the last group, if it is not whole.
    last: u32,
}

/// A score in `$score` to a power, which `$sum` takes up. The table is at r3; lr is scratch.
#[rustfmt::skip]
macro_rules! power {
    ($score:literal, $top:literal, $sum:literal) => {
        concat!(
            "sub ", $score, ", ", $top, ", ", $score, "\n",
            "ubfx lr, ", $score, ", #0, #10\n",
            "ldrh lr, [r3, lr, lsl #1]\n",
            "lsr ", $score, ", ", $score, ", #10\n",
            "usat ", $score, ", #5, ", $score, "\n",
            "lsr ", $score, ", lr, ", $score, "\n",
            "add ", $sum, ", ", $sum, ", ", $score, "\n",
        )
    };
}

/// Two weights of one position: the mantissa in byte `$byte` of r8, the shift, which is not 0, in the lowest byte of r9.
#[rustfmt::skip]
macro_rules! position {
    ($byte:literal, $a:literal, $b:literal) => {
        concat!(
            "ldrd r10, r11, [r0], #8\n",
            power!("r10", "r4", "r6"),
            power!("r11", "r5", "r7"),
            "uxtb r12, r8", $byte, "\n",
            "mul r10, r10, r12\n mul r11, r11, r12\n",
            "lsrs r10, r10, r9\n adc r10, r10, #0\n strh r10, ", $a, "\n",
            "lsrs r11, r11, r9\n adc r11, r11, #0\n strh r11, ", $b, "\n",
        )
    };
}

/// Weights of two queries; returns the sums of the powers, the first in the lower half.
///
/// # Safety
/// `scores` points to whole groups of eight scores up to `frame.padded_end`, `weights` to room for as many; those up to
/// `frame.end` have a byte for two of them at `z`.
#[unsafe(naked)]
unsafe extern "C" fn softmax(
    scores: *const i32,
    z: *const u8,
    weights: *mut i16,
    exp: &[u16; 1024],
    frame: Frame,
) -> u64 {
    // r0: scores; r1: z, which LDR may find at any byte; r2: weights; r3: the table; r4, r5: tops; r6, r7: sums; r8:
    // mantissas; r9: shifts; r10, r11: scores; r12: z or a position's mantissa; lr: scratch. The frame begins at 36
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [sp, #36]",
        "movs r6, #0",
        "movs r7, #0",
        "subs r2, #16",
        "b 4f",
        "2:",
        "ldr r12, [r1], #4",
        "3:",
        "ldr r10, [sp, #44]",
        "and r9, r12, #0xf0f0f0f0",
        "sub r9, r10, r9, lsr #4",
        "and r8, r12, #0x0f0f0f0f",
        "orr r8, r8, #0x10101010",
        position!("", "[r2, #16]!", "[r2, #4]"),
        "lsr r9, r9, #8",
        position!(", ror #8", "[r2, #8]", "[r2, #12]"),
        "lsr r9, r9, #8",
        position!(", ror #16", "[r2, #2]", "[r2, #6]"),
        "lsr r9, r9, #8",
        position!(", ror #24", "[r2, #10]", "[r2, #14]"),
        "4:",
        "ldr lr, [sp, #48]",
        "cmp r0, lr",
        "bne 2b",
        // the last group
        "ldr lr, [sp, #52]",
        "cmp r0, lr",
        "ittt ne",
        "strne lr, [sp, #48]",
        "ldrne r12, [sp, #56]",
        "bne 3b",
        "mov r0, r6",
        "mov r1, r7",
        "pop {{r4-r11, pc}}",
    )
}
