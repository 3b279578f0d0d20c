//! Attention's softmax for two query heads that share values and the work on their steps.
//!
//! A power e times a mantissa m, shifted by s, which is at least 6, and rounded half up, is the high word of
//! e * (m * 2^(33 - s)), plus one, halved.

use super::super::attention::{FRACTION, widen};
use core::arch::naked_asm;

/// See [`attention::softmax_pair`](super::super::attention::softmax_pair).
pub fn softmax_pair(
    exp: &[u16; 1024],
    scores: &mut [i32],
    mut tops: [i32; 2],
    fraction: u32,
    z: &[u8],
    base: u32,
    weights: &mut [i16],
) -> [u32; 2] {
    let len = scores.len().min(2 * z.len());
    let (scores, _) = scores.split_at_mut(len);
    if fraction < FRACTION {
        widen(scores, &mut tops, fraction);
    }
    let mut state = State { sums: [0; 2], tops, base: 33u32.wrapping_sub(base) };
    let (eights, rest) = scores.as_chunks::<8>();
    let (weights, _) = weights.as_chunks_mut::<8>();
    let groups = eights.len().min(weights.len());
    if groups > 0 {
        // SAFETY: there are so many groups of scores and weights, and a scale byte for each two of these scores.
        unsafe { softmax(eights.as_ptr(), z.as_ptr(), weights.as_mut_ptr(), exp, groups, &mut state) }
    }
    if let Some(weights) = weights.get_mut(eights.len()).filter(|_| !rest.is_empty()) {
        // The smallest score has the power 0.
        let (mut last, mut last_z) = ([i32::MIN; 8], [0; 4]);
        for (last, &score) in last.iter_mut().zip(rest) {
            *last = score;
        }
        for (last, &z) in last_z.iter_mut().zip(z.get(eights.len() * 4..).unwrap_or_default()) {
            *last = z;
        }
        // SAFETY: one group of each.
        unsafe { softmax(&last, last_z.as_ptr(), weights, exp, 1, &mut state) }
    }
    state.sums
}

/// What [`softmax`] goes on with.
#[repr(C)]
struct State {
    sums: [u32; 2],
    tops: [i32; 2],
    /// 33 less the base of the shifts.
    base: u32,
}

/// A score at `$score`: its power to `$sum`, its weight to `$weight`; the position's factor is in t0, `$nothing` and `$back`
/// are labels of the common case that the power is 0, which `nothing` has.
#[rustfmt::skip]
macro_rules! weight {
    ($score:literal, $top:literal, $sum:literal, $weight:literal, $labels:literal) => {
        concat!(
            "lw t1, ", $score, "(a0)\n sub t1, ", $top, ", t1\n bgeu t1, t4, 1", $labels, "f\n",
            "andi t2, t1, 1023\n slli t2, t2, 1\n add t2, t2, a3\n lhu t2, 0(t2)\n",
            "srli t1, t1, 10\n srl t2, t2, t1\n add ", $sum, ", ", $sum, ", t2\n",
            "mulhu t2, t2, t0\n addi t2, t2, 1\n srli t2, t2, 1\n sh t2, ", $weight, "(a2)\n 2", $labels, ":\n",
        )
    };
}

/// See `weight`.
#[rustfmt::skip]
macro_rules! nothing {
    ($weight:literal, $labels:literal) => {
        concat!("1", $labels, ":\n sh zero, ", $weight, "(a2)\n j 2", $labels, "b\n")
    };
}

/// The scale byte at `$z` and the position's two scores.
#[rustfmt::skip]
macro_rules! position {
    ($z:literal, $a:literal $b:literal, $to_a:literal $to_b:literal, $label_a:literal $label_b:literal) => {
        concat!(
            "lbu t0, ", $z, "(a1)\n andi t1, t0, 15\n addi t1, t1, 16\n",
            "srli t0, t0, 4\n add t0, t0, a7\n sll t0, t1, t0\n",
            weight!($a, "a4", "t5", $to_a, $label_a),
            weight!($b, "a6", "t6", $to_b, $label_b),
        )
    };
}

/// # Safety
/// `scores` and `weights` point to `groups` groups, `z` to four bytes for each. Groups is not 0.
#[unsafe(naked)]
unsafe extern "C" fn softmax(
    scores: *const [i32; 8],
    z: *const u8,
    weights: *mut [i16; 8],
    exp: &[u16; 1024],
    groups: usize,
    state: &mut State,
) {
    // a0: scores; a1: z; a2: weights; a3: table; a4, a6: tops; a5: state; a7: base; t0: factor; t1, t2: scratch; t3: end;
    // t4: distance from which on powers are 0; t5, t6: sums
    naked_asm!(
        ".option push",
        arch!(),
        "slli t3, a4, 5",
        "add t3, t3, a0",
        "lw t5, 0(a5)",
        "lw t6, 4(a5)",
        "lw a4, 8(a5)",
        "lw a6, 12(a5)",
        "lw a7, 16(a5)",
        "li t4, 16 << 10",
        "3:",
        position!("0", "0" "4", "0" "4", "0" "1"),
        position!("1", "8" "12", "8" "12", "2" "3"),
        position!("2", "16" "20", "2" "6", "4" "5"),
        position!("3", "24" "28", "10" "14", "6" "7"),
        "addi a0, a0, 32",
        "addi a1, a1, 4",
        "addi a2, a2, 16",
        "bne a0, t3, 3b",
        "sw t5, 0(a5)",
        "sw t6, 4(a5)",
        "ret",
        nothing!("0", "0"),
        nothing!("4", "1"),
        nothing!("8", "2"),
        nothing!("12", "3"),
        nothing!("2", "4"),
        nothing!("6", "5"),
        nothing!("10", "6"),
        nothing!("14", "7"),
        ".option pop",
    )
}
