//! Vectors as matrices want them: small integers and one scale (block floating point).

use crate::format::InputWidth;
use crate::kernel::{self, BlockShift};
use crate::shift::{bits, ceil_log2};

/// Row `i` of rows of `len` elements; empty where there are not so many.
#[inline(always)]
pub fn row<T>(rows: &mut [T], len: usize, i: usize) -> &mut [T] {
    rows.get_mut(i * len..).and_then(|rest| rest.get_mut(..len)).unwrap_or_default()
}

/// The next `len` elements of what is left; none where there are not so many.
#[inline(always)]
pub fn next<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (next, others) = core::mem::take(rest).split_at_mut_checked(len).unwrap_or_default();
    *rest = others;
    next
}

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

/// The shift (to the right if positive) after which a vector of this [`magnitude`](kernel::magnitude) is within `-2^width..=2^width`.
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

/// Rounds `values * 2^exponent` to integers of [`a16_bits`], and says at which scale.
///
/// `values` have this magnitude; `q` is as long as they are, but for padding at its end, which is set to zero.
pub fn quantize(values: &[i32], magnitude: u32, exponent: i32, q: &mut [i16]) -> Scale {
    let s = block_shift(magnitude, a16_bits(values.len()));
    round_all(values, s, q);
    Scale::power(exponent + s)
}

/// `q = values * 2^-s`, rounded, for an `s` from [`block_shift`]; what is left of `q` is padding and becomes 0.
pub fn round_all(values: &[i32], s: i32, q: &mut [i16]) {
    let (q, padding) = q.split_at_mut_checked(values.len()).unwrap_or_default();
    if !padding.is_empty() {
        padding.fill(0);
    }
    kernel::round(values, BlockShift::new(s), q);
}

/// What takes a vector of at most 14 bits to the width that a matrix wants: the factor for [`kernel::scale`], if any, and the
/// scale then.
///
/// a16 is what it is already. a8 scales its peak to 127: `q8 = (q * r + 2^23) >> 24` with
/// `r = floor(127 * 2^24 / peak)`, and the scale grows by `peak / 127`.
pub fn narrow(q: &[i16], scale: Scale, width: InputWidth) -> (Option<i32>, Scale) {
    if matches!(width, InputWidth::A16) {
        return (None, scale);
    }
    let Some(peak) = core::num::NonZero::new(kernel::peak(q)) else {
        return (None, scale);
    };
    // 33026 / 2^22 is 1 / 127 to 2^-21 of its value.
    let ratio = Scale::new(peak.get() * 33_026, -22);
    let grown = Scale::new(scale.mantissa as u32 * ratio.mantissa as u32, scale.exponent + ratio.exponent);
    (Some(((127 << 24) / peak) as i32), grown)
}
