//! Vectors as matrices want them: small integers and one scale (block floating point).

use crate::format::InputWidth;
use crate::shift::{bits, ceil_log2, round_shift};

/// What the integers of a vector stand for: `value = q * mantissa * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// In `2^15..2^16`.
    pub mantissa: u32,
    /// The power of two.
    pub exponent: i32,
}

impl Scale {
    /// The scale `2^exponent`.
    pub const fn power(exponent: i32) -> Self {
        Self { mantissa: 1 << 15, exponent: exponent - 15 }
    }

    /// `mantissa * 2^exponent` for a mantissa below 2^32 that is not zero, cut to 16 bits.
    pub const fn new(mantissa: u32, exponent: i32) -> Self {
        let excess = bits(mantissa | 1) as i32 - 16;
        let mantissa = if excess >= 0 { mantissa >> excess } else { mantissa << -excess };
        Self { mantissa, exponent: exponent + excess }
    }
}

/// The magnitude of the largest element; -2^31 counts as 2^31.
#[inline(never)]
pub fn peak(values: &[i32]) -> u32 {
    values.iter().fold(0, |m, v| m.max(v.unsigned_abs()))
}

/// The shift (to the right if positive) after which a vector with this peak has `width` bits of magnitude:
/// the smallest one for which the rounded peak is below `2^width`. A zero vector is not shifted.
pub fn block_shift(peak: u32, width: u32) -> i32 {
    if peak == 0 {
        return 0;
    }
    let s = bits(peak) as i32 - width as i32;
    // Rounding up may carry into one more bit.
    let carries = s > 0 && ((peak >> (s - 1)) + 1) >> 1 == 1 << width;
    s + i32::from(carries)
}

/// [`block_shift`] for the peak of these values.
#[inline(never)]
pub fn block_shift_of(values: &[i32], width: u32) -> i32 {
    // The complement of a negative number is a cheap magnitude, and less by one: only where that might make
    // a difference the exact peak is looked for.
    let near = values.iter().fold(0, |m, &v| m.max((v ^ (v >> 31)) as u32));
    let s = block_shift(near, width);
    if s == block_shift(near + 1, width) { s } else { block_shift(peak(values), width) }
}

/// The bits of magnitude of an a16 vector of `n` elements: 15 up to 512, one less for each doubling, so that
/// the product with a row of int8 weights fits i32 (`512 * 128 * (2^15 - 1) < 2^31`).
#[inline]
pub const fn a16_bits(n: usize) -> u32 {
    15 - ceil_log2(n.div_ceil(512))
}

/// Rounds `values * 2^exponent` to integers of the width that a matrix wants, and says at which scale.
///
/// `q` is as long as `values`, but for padding at its end, which is set to zero.
pub fn quantize(values: &[i32], exponent: i32, width: InputWidth, q: &mut [i16]) -> Scale {
    let s = block_shift_of(values, a16_bits(values.len()));
    round_all(values, s, q);
    narrow(q, Scale::power(exponent + s), width)
}

/// `v * 2^-s`, rounded, for an `s` from [`block_shift`], without a branch on its sign.
#[derive(Debug, Clone, Copy)]
pub struct BlockShift {
    left: u32,
    right: u32,
}

impl BlockShift {
    /// The last place to the right is left to [`BlockShift::round`], which rounds it away.
    pub const fn new(s: i32) -> Self {
        let s = s - 1;
        if s < 0 {
            Self { left: s.unsigned_abs() & 31, right: 0 }
        } else {
            Self { left: 0, right: s as u32 & 31 }
        }
    }

    /// `v * 2^-s`: at most as many bits of magnitude as the block shift was asked for.
    #[inline(always)]
    pub const fn round(self, v: i32) -> i32 {
        ((v << (self.left & 31) >> (self.right & 31)) + 1) >> 1
    }
}

/// `q = values * 2^-s`, rounded; the caller knows that it fits 15 bits.
#[inline(never)]
pub fn round_all(values: &[i32], s: i32, q: &mut [i16]) {
    let (q, padding) = q.split_at_mut_checked(values.len()).unwrap_or_default();
    padding.fill(0);
    let shift = BlockShift::new(s);
    for (q, &v) in q.iter_mut().zip(values) {
        *q = shift.round(v) as i16;
    }
}

/// Takes a vector of at most 15 bits to the width that a matrix wants.
///
/// a16 is what it is already. a8 scales its peak to 127: `q8 = (q * r + 2^23) >> 24` with
/// `r = floor(127 * 2^24 / peak)`, and the scale grows by `peak / 127`.
pub fn narrow(q: &mut [i16], scale: Scale, width: InputWidth) -> Scale {
    if matches!(width, InputWidth::A16) {
        return scale;
    }
    let peak = q.iter().fold(0, |m, q| m.max(u32::from(q.unsigned_abs())));
    let Some(peak) = core::num::NonZero::new(peak) else {
        return scale;
    };
    let r = ((127 << 24) / peak) as i32;
    for q in q.iter_mut() {
        *q = round_shift(i32::from(*q) * r, 24) as i16;
    }
    let ratio = Scale::new((peak.get() << 16) / 127, -16);
    Scale::new(scale.mantissa * (ratio.mantissa >> 1), scale.exponent + ratio.exponent + 1)
}
