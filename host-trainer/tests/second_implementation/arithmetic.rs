//! Sections 1 and 3 of docs/numerics.md: rounding, and the elementary functions.

use crate::tables::Tables;

/// Every number. Ranges are asserted where the document states them.
pub type Int = i128;

/// `2^n`.
pub fn pow2(n: Int) -> Int {
    assert!((0..126).contains(&n), "2^{n}");
    1 << n
}

/// A number that the document says is an i32.
pub fn i32_range(v: Int) -> Int {
    assert!(i32::try_from(v).is_ok(), "{v} is no i32");
    v
}

/// A number that the document says is a u32.
pub fn u32_range(v: Int) -> Int {
    assert!(u32::try_from(v).is_ok(), "{v} is no u32");
    v
}

/// A number that the document says is a u64.
pub fn u64_range(v: Int) -> Int {
    assert!(u64::try_from(v).is_ok(), "{v} is no u64");
    v
}

/// A number that the document says is at most `limit` in magnitude.
pub fn within(limit: Int, v: Int) -> Int {
    assert!(v.abs() <= limit, "{v} exceeds {limit}");
    v
}

pub fn floor_div(a: Int, b: Int) -> Int {
    a.div_euclid(b)
}

pub fn ceil_div(a: Int, b: Int) -> Int {
    -(-a).div_euclid(b)
}

pub fn bits(v: Int) -> Int {
    assert!(v >= 0);
    Int::from(128 - v.leading_zeros())
}

pub fn clog2(n: Int) -> Int {
    assert!(n >= 1);
    (0..).find(|&k| pow2(k) >= n).unwrap()
}

/// `R` of the document.
pub fn round_shift(v: Int, s: Int) -> Int {
    assert!(s >= 0, "a shift of {s}");
    match s {
        0 => v,
        1..100 => floor_div(v + pow2(s - 1), pow2(s)),
        _ => 0,
    }
}

pub fn sat(v: Int) -> Int {
    v.clamp(Int::from(i32::MIN), Int::from(i32::MAX))
}

/// `S` of the document, for i32.
pub fn shift(v: Int, s: Int) -> Int {
    i32_range(v);
    if s >= 0 { round_shift(v, s) } else { sat(v * pow2((-s).min(64))) }
}

pub fn peak(values: &[Int]) -> Int {
    values.iter().map(|v| v.abs()).max().unwrap()
}

/// The `bits(M)` of a vector of i32.
pub fn block_bits(values: &[Int]) -> Int {
    let largest = values.iter().map(|&v| if i32_range(v) < 0 { -1 - v } else { v }).max().unwrap();
    let or = values.iter().fold(0, |or, &v| or | if v < 0 { -1 - v } else { v });
    assert_eq!(bits(largest), bits(or));
    bits(largest)
}

/// `B` of the document, and the vector shifted by it.
pub fn block(values: &[Int], b: Int) -> (Int, Vec<Int>) {
    let s = block_bits(values) - b;
    assert!((-14..=22).contains(&s), "a block shift of {s}");
    let shifted = |&v: &Int| {
        if s < 0 {
            i32_range(v * pow2(-s)); // nothing saturates
        }
        within(pow2(b), shift(v, s))
    };
    (s, values.iter().map(shifted).collect())
}

/// `V` of the document.
pub fn multiply_high(a: Int, b: Int) -> Int {
    assert!(i16::try_from(b).is_ok(), "{b} is no int16");
    floor_div(within(pow2(47), i32_range(a) * b), pow2(16))
}

/// `A` of the document.
pub fn a16_bits(n: Int) -> Int {
    let b = 14 - clog2(ceil_div(n, 512));
    assert!((9..=14).contains(&b));
    b
}

pub fn isqrt(n: Int) -> Int {
    u32_range(n);
    let mut root = 0;
    for bit in (0..16).rev() {
        let next = root + pow2(bit);
        if next * next <= n {
            root = next;
        }
    }
    root
}

impl Tables {
    pub fn rsqrt(&self, x: Int) -> Int {
        assert!((pow2(14)..pow2(16)).contains(&x));
        let mut y = self.rsqrt[(x / 1024 - 16) as usize];
        for _ in 0..2 {
            let product = x * (u32_range(y * y) / pow2(16));
            within(pow2(25), product - pow2(30));
            let e = (3 * pow2(30) - product) / pow2(16);
            y = ((u32_range(y * e) / pow2(14) + 1) / 2).min(65535);
            assert!((pow2(15)..pow2(16)).contains(&y));
        }
        y
    }

    pub fn exp2(&self, d: Int) -> Int {
        u32_range(d);
        let (k, i, f) = (d / 65536, ((d / 2048) % 32) as usize, d % 2048);
        if k > 16 {
            return 0;
        }
        let (here, next) = (self.exp2_q16[i], self.exp2_q16[i + 1]);
        within(1404, here - next);
        (here - (here - next) * f / 2048) / pow2(k)
    }

    pub fn exp2_q30(&self, d: Int) -> Int {
        u32_range(d);
        let (k, i, f) = (d / 65536, ((d / 2048) % 32) as usize, d % 2048);
        if k > 30 {
            return 0;
        }
        let t = within(pow2(27), f * 2_977_044_472 / pow2(16));
        within(pow2(62), self.exp2_q30[i] * (pow2(32) - t + t * t / pow2(33))) / pow2(32) / pow2(k)
    }
}

/// `ln` of the document, Q16.
pub fn ln(x: Int) -> Int {
    let x = u64_range(x).max(1);
    let w = bits(x) - 1;
    let mut m = if w <= 31 { x * pow2(31 - w) } else { x / pow2(w - 31) };
    let mut l = w;
    for _ in 0..20 {
        m = u64_range(m * m) / pow2(31);
        let b = m / pow2(32);
        m /= pow2(b);
        l = 2 * l + b;
    }
    (u64_range(l * 2_977_044_472) + pow2(35)) / pow2(36)
}
