//! Fixed-point arithmetic: the few operations that everything else is made of.
//!
//! Nothing here needs a count of leading zeros in hardware or a signed division, and the one product of more than 32 bits
//! ([`mul_w`]) has a form without it, so that each compiles to a few instructions on every core.

/// `v / 2^s`, rounded half up: `floor(v / 2^s + 1/2)`. Shifts of 32 and more give 0.
#[inline(always)]
pub const fn shift_right(v: i32, s: u32) -> i32 {
    match s {
        0 => v,
        1..=31 => (v >> s) + ((v >> (s - 1)) & 1),
        _ => 0,
    }
}

/// [`shift_right`] without a branch, for the loops: for `s` below 32 and where `v + 2^(s-1)` fits.
#[inline(always)]
pub const fn round_shift(v: i32, s: u32) -> i32 {
    let half = ((1u32 << (s & 31)) >> 1) as i32;
    (v + half) >> (s & 31)
}

/// `floor(a * b / 2^16)`: the product that scales. One or two instructions where there are 64-bit products or SMULW,
/// else (Armv6-M) two products of 16 by 16 bits.
#[inline(always)]
pub const fn mul_w(a: i32, b: i16) -> i32 {
    if cfg!(thumbformer_kernel = "armv6m") {
        let low = (a & 0xffff) * b as i32;
        (a >> 16) * b as i32 + (low >> 16)
    } else {
        ((a as i64 * ((b as i32) << 16) as i64) >> 32) as i32
    }
}

/// Called in a loop, keeps the compiler from unrolling it.
///
/// On Thumb-2, LLVM unrolls by four what has too few registers for it: the loops that round, scale and look up
/// get slower and four times as long. Elsewhere, and with Helium, which vectorises them, this is nothing.
#[inline(always)]
pub fn keep_rolled() {
    #[cfg(all(target_arch = "arm", not(thumbformer_kernel = "mve")))]
    core::hint::black_box(());
}

/// `v * 2^-s` for a shift of either sign: rounded half up to the right, saturated to the left.
#[inline(always)]
pub const fn shift(v: i32, s: i32) -> i32 {
    if s >= 0 { shift_right(v, s as u32) } else { shift_left(v, s.unsigned_abs()) }
}

/// `v * 2^s`, saturated.
#[inline(always)]
pub const fn shift_left(v: i32, s: u32) -> i32 {
    if v == 0 {
        return 0;
    }
    let room = (if v < 0 { !v } else { v }).leading_zeros() - 1;
    if s <= room {
        v << s
    } else if v < 0 {
        i32::MIN
    } else {
        i32::MAX
    }
}

/// The number of bits of `v`: 0 for 0, otherwise `floor(log2(v)) + 1`. Armv6-M counts no zeros: there a table does.
#[inline]
pub const fn bits(v: u32) -> u32 {
    if cfg!(thumbformer_kernel = "armv6m") {
        let (upper, v) = if v >> 16 != 0 { (16, v >> 16) } else { (0, v) };
        let (above, v) = if v >> 8 != 0 { (8, v >> 8) } else { (0, v) };
        upper + above + BITS_OF_BYTE[(v & 255) as usize] as u32
    } else {
        32 - v.leading_zeros()
    }
}

/// The number of bits of every byte.
static BITS_OF_BYTE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 1;
    while byte < 256 {
        table[byte] = table[byte / 2] + 1;
        byte += 1;
    }
    table
};

/// `ceil(log2(n))` for `n >= 1`.
#[inline(always)]
pub const fn ceil_log2(n: usize) -> u32 {
    let last = n.saturating_sub(1);
    if cfg!(thumbformer_kernel = "armv6m") { bits(last as u32) } else { usize::BITS - last.leading_zeros() }
}

/// `floor(sqrt(n))`.
pub const fn isqrt(n: u32) -> u32 {
    n.isqrt()
}

const RSQRT: [u16; 48] = {
    // 2^23 / sqrt(x) in the middle of each of 48 intervals of x in [2^14, 2^16).
    let mut table = [0; 48];
    let mut i = 0;
    while i < 48 {
        let middle = ((16 + i) << 10) + 512;
        // floor(sqrt(2^46 / middle))
        table[i as usize] = ((1u64 << 46) / middle).isqrt() as u16;
        i += 1;
    }
    table
};

/// `2^23 / sqrt(x)` for `x` in `2^14..2^16`, relative error below 2^-14, in `2^15..2^16`.
///
/// A table of 48 entries (relative error 2^-7) and two Newton steps `y = y (3 - x y^2) / 2`.
#[inline]
pub fn rsqrt(x: u32) -> u32 {
    let index = (x >> 10).wrapping_sub(16) as usize;
    let mut y = u32::from(RSQRT.get(index).copied().unwrap_or(u16::MAX));
    for _ in 0..2 {
        // x y^2 / 2^46 is about 1; e = (3 - that) / 2 in Q30, then 15 bits of it.
        let e = (3u32 << 30).wrapping_sub(x.wrapping_mul((y * y) >> 16)) >> 16;
        y = ((y.wrapping_mul(e) >> 14) + 1) >> 1;
        y = if y > 0xffff { 0xffff } else { y };
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_shift_rounds_half_up() {
        for v in [-9, -8, -7, -3, -2, -1, 0, 1, 2, 3, 7, 8, 9, i32::MAX, i32::MIN] {
            for s in 0..=40 {
                let exact = (f64::from(v) / 2f64.powi(s) + 0.5).floor();
                assert_eq!(f64::from(shift_right(v, s as u32)), exact, "{v} >> {s}");
            }
        }
    }

    #[test]
    fn the_loops_shift_rounds_the_same() {
        for v in [-9, -8, -7, -3, -2, -1, 0, 1, 2, 3, 7, 8, 9, (1 << 30) - 1, -(1 << 30)] {
            for s in 0..32 {
                assert_eq!(round_shift(v, s), shift_right(v, s), "{v} >> {s}");
            }
        }
    }

    #[test]
    fn the_table_counts_bits() {
        for (byte, &bits) in BITS_OF_BYTE.iter().enumerate() {
            assert_eq!(u32::from(bits), usize::BITS - byte.leading_zeros(), "{byte}");
        }
    }

    #[test]
    fn left_shift_saturates() {
        for v in [-9, -1, 0, 1, 5, 1 << 20, i32::MAX, i32::MIN] {
            for s in 0..=40 {
                let exact = (i64::from(v) as i128) << s;
                let wanted = exact.clamp(i128::from(i32::MIN), i128::from(i32::MAX));
                assert_eq!(i128::from(shift(v, -s)), wanted, "{v} << {s}");
            }
        }
    }

    #[test]
    fn rsqrt_is_near() {
        let mut worst = 0f64;
        for x in 1 << 14..1 << 16 {
            let exact = f64::from(1 << 23) / f64::from(x).sqrt();
            let got = rsqrt(x);
            assert!((1 << 15..1 << 16).contains(&got), "{x}: {got}");
            worst = worst.max((f64::from(got) / exact - 1.0).abs());
        }
        assert!(worst < 1.0 / 16384.0, "{worst}");
    }
}
