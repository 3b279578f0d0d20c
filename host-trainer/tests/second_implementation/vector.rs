//! Section 4: what a matrix reads.

use crate::arithmetic::{Int, a16_bits, bits, block, peak, pow2, round_shift, u32_range, within};

/// Element `i` stands for `q[i] * mantissa * 2^exponent`.
pub struct Vector {
    pub q: Vec<Int>,
    pub mantissa: Int,
    pub exponent: Int,
}

pub fn normalised(m: Int, e: Int) -> (Int, Int) {
    assert!(u32_range(m) > 0);
    let k = bits(m) - 15;
    if k >= 0 { (m / pow2(k), e + k) } else { (m * pow2(-k), e + k) }
}

/// `values * 2^e` for a matrix with inputs of a width.
pub fn quantise(values: &[Int], e: Int, width: u8) -> Vector {
    let (s, q) = block(values, a16_bits(values.len() as Int));
    Vector { q, mantissa: pow2(14), exponent: e + s - 14 }.narrow(width)
}

impl Vector {
    pub fn narrow(self, width: u8) -> Self {
        let m = within(pow2(14), peak(&self.q));
        if width == 16 || m == 0 {
            return self;
        }
        let r = 127 * pow2(24) / m;
        let narrow = |q| within(127, round_shift(within(127 * pow2(24), q * r), 24));
        let q = self.q.iter().map(narrow).collect();
        let (a, b) = normalised(within(pow2(30) - 1, m * 33_026), -22);
        let product = within(pow2(30) - 1, self.mantissa * a);
        let (mantissa, exponent) = normalised(product, self.exponent + b);
        Self { q, mantissa, exponent }
    }
}
