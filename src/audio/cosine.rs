//! Cosines and logarithms for tables, by integers, so that every compiler makes the same.

/// Half of pi in Q60.
const HALF_PI: i128 = 1_811_004_864_519_280_711;
const ONE: i128 = 1 << 60;

/// `cos(2 pi n / d)` in Q31, rounded half up and cut to `i32`.
pub const fn cosine(n: usize, d: usize) -> i32 {
    let quarters = 4 * (n % d);
    let (quadrant, rest) = (quarters / d, quarters % d);
    let angle = HALF_PI * rest as i128 / d as i128;
    let value = match quadrant {
        0 => series(ONE, 1, angle),
        1 => -series(angle, 2, angle),
        2 => -series(ONE, 1, angle),
        _ => series(angle, 2, angle),
    };
    let rounded = (value + (1 << 28)) >> 29;
    if rounded > i32::MAX as i128 { i32::MAX } else { rounded as i32 }
}

/// Taylor's series from a first term, whose next one is divided by `k (k + 1)`: the cosine from 1 and `k = 1`, the sine
/// from the angle and `k = 2`.
const fn series(first: i128, mut k: i128, angle: i128) -> i128 {
    let square = (angle * angle) >> 60;
    let (mut term, mut sum) = (first, first);
    while term != 0 && k < 40 {
        term = -((term * square) >> 60) / (k * (k + 1));
        sum += term;
        k += 2;
    }
    sum
}

/// `log2(x)` in Q32 for `x` in 1 .. 2^63 - 1, truncated: binary digits by repeated squaring.
pub const fn log2(x: u64) -> i64 {
    let whole = 63 - x.leading_zeros();
    // 1.0 <= m < 2.0 in Q63
    let mut m = (x as u128) << (63 - whole);
    let mut log = whole as i64;
    let mut digit = 0;
    while digit < 32 {
        m = (m * m) >> 63;
        let bit = m >> 64;
        m >>= bit;
        log = log << 1 | bit as i64;
        digit += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::f64::consts::PI;

    #[test]
    fn cosines_are_rounded_right() {
        for d in [480, 512, 320, 7] {
            for n in 0..2 * d {
                let want = libm::cos(2.0 * PI * n as f64 / d as f64) * 2f64.powi(31);
                let error = libm::fabs(f64::from(cosine(n, d)) - want.min(2f64.powi(31) - 1.0));
                assert!(error < 0.5001, "{n} of {d}: {error}");
            }
        }
    }

    #[test]
    fn logarithms_are_right() {
        for x in [1, 2, 3, 700 * 512, 12_345_678_901, (1 << 63) - 1] {
            let want = libm::log2(x as f64) * 2f64.powi(32);
            assert!(libm::fabs(log2(x) as f64 - want) < 2.0, "{x}");
        }
    }
}
