//! Section 4: what a matrix reads.

use crate::arithmetic::{
    Int, a16_bits, bits, block_shift, i32_range, peak, pow2, round_shift, shift, u32_range,
};

/// Element `i` stands for `q[i] * mantissa * 2^exponent`.
pub struct Vector {
    pub q: Vec<Int>,
    pub mantissa: Int,
    pub exponent: Int,
}

pub fn normalised(m: Int, e: Int) -> (Int, Int) {
    assert!(u32_range(m) > 0);
    let k = bits(m) - 16;
    if k >= 0 { (m / pow2(k), e + k) } else { (m * pow2(-k), e + k) }
}

/// `values * 2^e` for a matrix with inputs of a width.
pub fn quantise(values: &[Int], e: Int, width: u8) -> Vector {
    let b = a16_bits(values.len() as Int);
    let s = block_shift(peak(values), b);
    let q: Vec<Int> = values.iter().map(|&v| shift(v, s)).collect();
    assert!(peak(&q) < pow2(b));
    Vector { q, mantissa: pow2(15), exponent: e + s - 15 }.narrow(width)
}

impl Vector {
    pub fn narrow(self, width: u8) -> Self {
        let m = peak(&self.q);
        if width == 16 || m == 0 {
            return self;
        }
        let r = 127 * pow2(24) / m;
        let q = self.q.iter().map(|q| round_shift(i32_range(q * r), 24)).collect();
        assert!(peak(&self.q) < pow2(15));
        let (a, b) = normalised(m * pow2(16) / 127, -16);
        let product = self.mantissa * (a / 2);
        assert!((pow2(29)..pow2(31)).contains(&product));
        let (mantissa, exponent) = normalised(product, self.exponent + b + 1);
        let narrow = Self { q, mantissa, exponent };
        assert!(peak(&narrow.q) <= 127);
        narrow
    }
}
