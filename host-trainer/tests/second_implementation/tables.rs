//! The tables of docs/numerics.md, by their recipes.

use crate::arithmetic::{Int, pow2};

pub struct Tables {
    pub rsqrt: Vec<Int>,
    pub exp2_q16: Vec<Int>,
    pub exp2_1024: Vec<Int>,
    pub exp2_q30: Vec<Int>,
    pub reciprocal: Vec<Int>,
    pub logistic: Vec<Int>,
    pub gauss: Vec<Int>,
    pub gauss_tanh: Vec<Int>,
}

impl Tables {
    pub fn new() -> Self {
        let root = |n: Int| (0..).find(|r| (r + 1) * (r + 1) > n).unwrap();
        let powers = |step: Int, n: usize| -> Vec<Int> {
            std::iter::successors(Some(pow2(62)), |p| Some(p * step / pow2(62))).take(n).collect()
        };
        let coarse = powers(4_512_867_096_753_504_463, 33);
        let fine = powers(4_608_565_417_332_308_035, 1024);
        let open = |f: fn(u128) -> u128| -> Vec<Int> {
            (0..=512).map(|i| ((f(i << 51) - (1 << 55) + (1 << 40)) >> 41) as Int).collect()
        };
        Self {
            rsqrt: (0..48).map(|i| root(pow2(46) / (1024 * (16 + i) + 512))).collect(),
            exp2_q16: coarse.iter().map(|p| (p + pow2(45)) / pow2(46)).collect(),
            exp2_1024: fine.iter().map(|p| ((p + pow2(45)) / pow2(46)).min(65535)).collect(),
            exp2_q30: coarse.iter().map(|p| (p + pow2(31)) / pow2(32)).collect(),
            reciprocal: (0..16).map(|i| (pow2(20) / (16 + i) + 1) / 2).collect(),
            logistic: open(logistic),
            gauss: open(gauss),
            gauss_tanh: open(gauss_tanh),
        }
    }

    /// Names and elements, as bytes in little-endian order.
    pub fn bytes(&self) -> [(&'static str, Vec<u8>); 8] {
        let u16s = |t: &[Int]| t.iter().flat_map(|&v| u16::try_from(v).unwrap().to_le_bytes()).collect();
        let u32s = |t: &[Int]| t.iter().flat_map(|&v| u32::try_from(v).unwrap().to_le_bytes()).collect();
        [
            ("RSQRT", u16s(&self.rsqrt)),
            ("EXP2_Q16", u32s(&self.exp2_q16)),
            ("EXP2_1024", u16s(&self.exp2_1024)),
            ("EXP2_Q30", u32s(&self.exp2_q30)),
            ("RECIPROCAL", u16s(&self.reciprocal)),
            ("LOGISTIC", u16s(&self.logistic)),
            ("GAUSS", u16s(&self.gauss)),
            ("GAUSS_TANH", u16s(&self.gauss_tanh)),
        ]
    }
}

const ONE: u128 = 1 << 56;

fn mul(a: u128, b: u128) -> u128 {
    a * b / ONE
}

fn exp_neg(x: u128) -> u128 {
    if x > 40 * ONE {
        return 0;
    }
    let x = x / 256;
    let (mut sum, mut term) = (ONE, ONE);
    for n in 1..=23 {
        term = mul(term, x) / n;
        sum = if n % 2 == 1 { sum - term } else { sum + term };
    }
    for _ in 0..8 {
        sum = mul(sum, sum);
    }
    sum
}

fn logistic(x: u128) -> u128 {
    (1 << 112) / (ONE + exp_neg(x))
}

fn gauss(x: u128) -> u128 {
    if x >= 6 * ONE {
        return ONE;
    }
    let density = mul(28_746_820_885_731_650, exp_neg(mul(x, x) / 2));
    let square = mul(x, x) >> 16;
    let (mut term, mut sum) = (x >> 16, x >> 16);
    for n in (3..=299).step_by(2) {
        term = ((term * square) >> 40) / n;
        sum += term;
    }
    ONE / 2 + ((density * sum) >> 40)
}

fn gauss_tanh(x: u128) -> u128 {
    let c = mul(mul(x, x), x) * 44_715 / 1_000_000;
    logistic(mul(114_987_283_542_926_601, x + c))
}
