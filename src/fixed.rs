//! Fixed-point mathematics: powers and logarithms of two in integers.
//!
//! The tables are built by integer `const fn`, so every machine and every compiler holds the same numbers.

/// `log2(e)` in Q30.
pub(crate) const LOG2_E_Q30: u64 = 1_549_082_005;

/// `ln(2)` in Q32.
const LN_2_Q32: u64 = 2_977_044_472;

/// `step^i` for `i` in `0..N`, all in Q62: repeated products, truncated.
const fn powers<const N: usize>(step: u128) -> [u64; N] {
    let mut table = [0; N];
    let mut value: u128 = 1 << 62;
    let mut i = 0;
    while i < N {
        table[i] = value as u64;
        value = (value * step) >> 62;
        i += 1;
    }
    table
}

/// `2^(-1/32)` in Q62.
const ROOT_32: u128 = 4_512_867_096_753_504_463;
/// `2^(-1/1024)` in Q62.
const ROOT_1024: u128 = 4_608_565_417_332_308_035;

/// For [`exp2_neg`]: low half `2^(-i/32) - 1` in Q16, high half the step down to the next entry.
static EXP2_Q16: [u32; 32] = {
    let powers: [u64; 33] = powers(ROOT_32);
    let mut table = [0; 32];
    let mut i = 0;
    while i < 32 {
        let value = ((powers[i] + (1 << 45)) >> 46) as u32;
        let next = ((powers[i + 1] + (1 << 45)) >> 46) as u32;
        table[i] = (value - 1) | ((value - next) << 16);
        i += 1;
    }
    table
};

/// `2^(-i/1024)` in Q16, the first entry one less: the powers of softmax, which need no straight lines between entries.
pub(crate) static EXP2_1024: [u16; 1024] = {
    let powers: [u64; 1024] = powers(ROOT_1024);
    let mut table = [u16::MAX; 1024];
    let mut i = 1;
    while i < 1024 {
        table[i] = ((powers[i] + (1 << 45)) >> 46) as u16;
        i += 1;
    }
    table
};

/// For [`exp2_neg_q30`]: `2^(-i/32)` in Q30.
static EXP2_Q30: [u32; 32] = {
    let powers: [u64; 33] = powers(ROOT_32);
    let mut table = [0; 32];
    let mut i = 0;
    while i < 32 {
        table[i] = ((powers[i] + (1 << 31)) >> 32) as u32;
        i += 1;
    }
    table
};

/// `2^-d` for `d` in Q16; the result is in Q16, `0..=65536`, and never grows with `d`.
///
/// The fraction is cut into 32 pieces with straight lines between them, the whole part is a truncating
/// shift. The result differs from the true value by less than 5/65536; `d = 0` gives exactly 65536, and
/// everything above 16 gives 0.
///
/// ```
/// use thumbformer::fixed::exp2_neg;
/// assert_eq!(exp2_neg(0), 65_536);
/// assert_eq!(exp2_neg(1 << 16), 32_768);
/// assert_eq!(exp2_neg(u32::MAX), 0);
/// ```
#[inline(always)]
pub fn exp2_neg(d: u32) -> u32 {
    let d = d.min((32 << 16) - 1);
    let entry = EXP2_Q16[(d >> 11 & 31) as usize];
    let down = ((entry >> 16) * (d & 0x7ff)) >> 11;
    ((entry & 0xffff) + 1 - down) >> (d >> 16 & 31)
}

/// `2^-d` for `d` in Q16, the result in Q30, to about 2^-19 of its value: slower than [`exp2_neg`], for
/// sums over a whole vocabulary, where the truncation of small terms would add up.
pub(crate) fn exp2_neg_q30(d: u32) -> u32 {
    let whole = d >> 16;
    if whole > 30 {
        return 0;
    }
    let entry = u64::from(EXP2_Q30[(d >> 11 & 31) as usize]);
    let t = (u64::from(d & 0x7ff) * LN_2_Q32) >> 16; // ln(2) times the rest, Q32, below 2^27
    let factor = (1 << 32) - t + ((t * t) >> 33); // e^-t to second order, Q32
    ((entry * factor) >> 32) as u32 >> whole
}

/// `ln(x)` in Q16 (to 0.6 of a step), for `x >= 1` (0 counts as 1): binary digits of `log2` by repeated squaring.
pub(crate) fn ln(x: u64) -> u32 {
    let x = x | u64::from(x == 0);
    let whole = 63 - x.leading_zeros();
    // x as a mantissa in 1.0..2.0, Q31
    let mut mantissa = if whole > 31 { x >> (whole - 31) } else { x << (31 - whole) };
    let mut log2 = u64::from(whole);
    for _ in 0..20 {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = mantissa >> 32;
        mantissa >>= bit;
        log2 = log2 << 1 | bit;
    }
    ((log2 * LN_2_Q32 + (1 << 35)) >> 36) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp2_neg_is_within_five_steps_and_monotone() {
        let mut worst = 0f64;
        let mut last = u32::MAX;
        for d in 0..(18 << 16) {
            let got = exp2_neg(d);
            assert!(got <= last, "grows at {d}");
            last = got;
            let want = libm::exp2(-f64::from(d) / 65536.0) * 65536.0;
            worst = worst.max(libm::fabs(f64::from(got) - want));
        }
        assert!(worst < 5.0, "worst error {worst}");
        assert_eq!(exp2_neg(u32::MAX), 0);
    }

    #[test]
    fn exp2_neg_q30_is_within_two_millionths() {
        for d in 0..(12 << 16) {
            let want = libm::exp2(-f64::from(d) / 65536.0) * f64::from(1 << 30);
            let error = libm::fabs(f64::from(exp2_neg_q30(d)) - want);
            assert!(error <= want * 2e-6 + 1.0, "d {d}: error {error}");
        }
        assert_eq!(exp2_neg_q30(0), 1 << 30);
        assert_eq!(exp2_neg_q30(u32::MAX), 0);
    }

    #[test]
    fn ln_is_within_a_step() {
        let edges = [0, 1, 2, 3, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX];
        let spread = (0..20_000u64).map(|i| i.wrapping_mul(i).wrapping_mul(i) * 977 + 1);
        for x in edges.into_iter().chain(spread) {
            let want = libm::log(x.max(1) as f64) * 65536.0;
            let error = libm::fabs(f64::from(ln(x)) - want);
            assert!(error < 0.6, "x {x}: {} is not {want}", ln(x));
        }
    }
}
