//! Constants of every front end: logarithms, and their scale.

use super::cosine;

/// `log2(1 + i / 128)` in Q16, rounded half up.
pub static LOG2: [u32; 129] = {
    let mut table = [0; 129];
    let mut i = 0;
    while i < 129 {
        let log = cosine::log2(128 + i) - (7 << 32);
        table[i as usize] = ((log + (1 << 15)) >> 16) as u32;
        i += 1;
    }
    table
};

/// `ln(2)` in Q31.
pub const LN_2: i64 = 1_488_522_236;

/// `log2(x)` in Q16 for `x >= 1` (0 counts as 1): a table with straight lines between its entries.
#[inline]
pub fn log2(x: u64) -> i32 {
    let x = x | u64::from(x == 0);
    let shift = x.leading_zeros();
    let top = ((x << shift) >> 32) as u32;
    let (i, rest) = ((top >> 24 & 127) as usize, top >> 8 & 0xffff);
    let low = LOG2.get(i).copied().unwrap_or_default();
    let high = LOG2.get(i + 1).copied().unwrap_or_default();
    let fraction = low + (((high - low) * rest) >> 16);
    ((63 - shift) << 16 | fraction.min(0xffff)) as i32
}

/// `ln(2) sqrt(2 / bands)` in Q31: makes natural logarithms and an orthonormal DCT of logarithms to base two.
pub const fn dct_scale(bands: usize) -> i64 {
    let root = ((1u128 << 63) / bands as u128).isqrt() as i64;
    (root * LN_2) >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_within_some_steps() {
        for i in 0..200_000u64 {
            let x = i.wrapping_mul(i).wrapping_mul(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i % 60) | 1;
            let error = libm::fabs(f64::from(log2(x)) - libm::log2(x as f64) * 65536.0);
            assert!(error < 2.5, "{x}: {error}");
        }
        assert_eq!((log2(0), log2(1), log2(2), log2(1 << 63)), (0, 0, 1 << 16, 63 << 16));
    }

    #[test]
    fn the_scale_of_the_dct_is_right() {
        let want = core::f64::consts::LN_2 * libm::sqrt(2.0 / 80.0) * 2f64.powi(31);
        assert!(libm::fabs(dct_scale(80) as f64 - want) < 2.0);
    }
}
