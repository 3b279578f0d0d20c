//! Vectors as matrices want them: small integers and one scale (block floating point).

use crate::format::InputWidth;
use crate::shift::{bits, ceil_log2, round_shift};

/// What the integers of a vector stand for: `value = q * mantissa * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// In `2^14..2^15`.
    pub mantissa: i16,
    /// The power of two.
    pub exponent: i32,
}

impl Scale {
    /// The scale `2^exponent`.
    pub const fn power(exponent: i32) -> Self {
        Self { mantissa: 1 << 14, exponent: exponent - 14 }
    }

    /// `mantissa * 2^exponent` for a mantissa below 2^32 that is not zero, cut to 15 bits.
    pub const fn new(mantissa: u32, exponent: i32) -> Self {
        let excess = bits(mantissa | 1) as i32 - 15;
        let mantissa = if excess >= 0 { mantissa >> excess } else { mantissa << -excess };
        Self { mantissa: mantissa as i16, exponent: exponent + excess }
    }
}

/// A number with as many bits as the largest magnitude: magnitudes (of negative numbers, one less) or'ed together.
#[inline(never)]
pub fn magnitude(values: &[i32]) -> u32 {
    values.iter().fold(0, |m, &v| m | (v ^ (v >> 31)) as u32)
}

/// The shift (to the right if positive) after which a vector of this [`magnitude`] is within `-2^width..=2^width`.
#[inline(always)]
pub const fn block_shift(magnitude: u32, width: u32) -> i32 {
    bits(magnitude) as i32 - width as i32
}

/// Bits of magnitude of the vectors inside of the runtime: queries, keys, values, norms, gates.
pub const BITS: u32 = 14;

/// The bits of magnitude of an a16 vector of `n` elements: 14 up to 512, one less for each doubling, so that
/// the product with a row of int8 weights fits i32 (`512 * 128 * 2^14 = 2^30`).
#[inline]
pub const fn a16_bits(n: usize) -> u32 {
    BITS - ceil_log2(n.div_ceil(512))
}

/// Rounds `values * 2^exponent` to integers of the width that a matrix wants, and says at which scale.
///
/// `q` is as long as `values`, but for padding at its end, which is set to zero.
pub fn quantize(values: &[i32], exponent: i32, width: InputWidth, q: &mut [i16]) -> Scale {
    let s = block_shift(magnitude(values), a16_bits(values.len()));
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

/// Takes a vector of at most 14 bits to the width that a matrix wants.
///
/// a16 is what it is already. a8 scales its peak to 127: `q8 = (q * r + 2^23) >> 24` with
/// `r = floor(127 * 2^24 / peak)`, and the scale grows by `peak / 127`.
#[inline(never)]
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
    // 33026 / 2^22 is 1 / 127 to 2^-21 of its value.
    let ratio = Scale::new(peak.get() * 33_026, -22);
    Scale::new(scale.mantissa as u32 * ratio.mantissa as u32, scale.exponent + ratio.exponent)
}
