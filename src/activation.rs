//! The non-linearities of the MLP, each as `x * gate(x)` with a gate between 0 and 1.
//!
//! SiLU gates with the logistic function, GELU with the Gaussian distribution function (or the logistic
//! function of a polynomial, its tanh form), ReLU with a step. For all of them `gate(-x) = 1 - gate(x)`, so
//! that a table for `0 <= x < 12`, 32 entries to the unit and straight lines between them, serves.

use crate::format::Activation;
use crate::shift::{keep_rolled, round_shift};
use crate::vector::{BlockShift, block_shift_of};

/// Where the tables end: beyond, the gate is 1 to within half of its last bit.
const END: u32 = 12;
/// A gate at `0, 1/32, .. 12`, in Q15.
type Table = [u16; END as usize * 32 + 1];

static LOGISTIC: Table = table(Activation::Silu);
static GAUSS: Table = table(Activation::Gelu);
static GAUSS_TANH: Table = table(Activation::GeluTanh);

/// `out = act(gate) * up` (or `act(gate)` where `up` is empty), written over `gate`.
///
/// Both inputs have `frac` fraction bits; each is block-shifted to 15 bits first. The result is at most
/// 2^30 in magnitude; the exponent of its unit is returned.
#[inline(never)]
pub fn apply(activation: Activation, gate: &mut [i32], up: &[i32], frac: i32) -> i32 {
    let table = match activation {
        Activation::Silu => &LOGISTIC,
        Activation::Gelu => &GAUSS,
        Activation::GeluTanh => &GAUSS_TANH,
        Activation::Relu => return apply_with(|x| i32::from(x > 0) << 15, gate, up, frac),
    };
    // From `frac` fraction bits (4 to 24) to 15.
    let (left, right) = if frac < 15 { ((15 - frac as u32) & 31, 0) } else { (0, (frac as u32 - 15) & 31) };
    let range = ((END << frac) - 1, left, right);
    apply_with(|x| look_up(table, x, range), gate, up, frac)
}

#[inline(always)]
fn apply_with(open: impl Fn(i32) -> i32, gate: &mut [i32], up: &[i32], frac: i32) -> i32 {
    let s = block_shift_of(gate, 15);
    let gate_shift = BlockShift::new(s);
    let act = |x: i32| round_shift(gate_shift.round(x) * open(x), 15);
    if up.is_empty() {
        for x in gate.iter_mut() {
            *x = act(*x);
            keep_rolled();
        }
        return s - frac;
    }
    let t = block_shift_of(up, 15);
    let up_shift = BlockShift::new(t);
    for (x, &u) in gate.iter_mut().zip(up) {
        *x = act(*x) * up_shift.round(u);
        keep_rolled();
    }
    s + t - 2 * frac
}

/// The gate at `x` in Q15; `range` says where the table ends and how to get from there to Q15.
#[inline(always)]
fn look_up(table: &Table, x: i32, range: (u32, u32, u32)) -> i32 {
    let (end, left, right) = range;
    let q15 = x.unsigned_abs().min(end) << left >> right;
    let at = (q15 >> 10) as usize;
    let (Some(&low), Some(&high)) = (table.get(at), table.get(at + 1)) else {
        return 1 << 15;
    };
    let (low, high) = (i32::from(low), i32::from(high));
    let gate = low + round_shift((high - low) * (q15 & 1023) as i32, 10);
    if x < 0 { (1 << 15) - gate } else { gate }
}

const fn table(activation: Activation) -> Table {
    let mut table = [0; END as usize * 32 + 1];
    let mut i = 0;
    while i < table.len() {
        let x = (i as u128) << (Q - 5);
        let gate = match activation {
            Activation::Silu => logistic(x),
            Activation::Gelu => gauss(x),
            Activation::GeluTanh => {
                // sqrt(8 / pi) (x + 0.044715 x^3)
                let cube = mul(mul(x, x), x) * 44_715 / 1_000_000;
                logistic(mul(SQRT_8_PI, x + cube))
            }
            Activation::Relu => ONE,
        };
        table[i] = ((gate + (1 << (Q - 16))) >> (Q - 15)) as u16;
        i += 1;
    }
    table
}

/// Fraction bits of the arithmetic that makes the tables.
const Q: u32 = 56;
const ONE: u128 = 1 << Q;
/// `sqrt(8 / pi)`.
const SQRT_8_PI: u128 = 114_987_283_542_926_601;
/// `1 / sqrt(2 pi)`.
const INV_SQRT_2_PI: u128 = 28_746_820_885_731_650;

const fn mul(a: u128, b: u128) -> u128 {
    (a * b) >> Q
}

/// `exp(-x)` for `0 <= x`: Taylor for `x / 256`, then squared eight times; 0 above 40.
const fn exp_neg(x: u128) -> u128 {
    if x > 40 * ONE {
        return 0;
    }
    let x = x >> 8;
    let (mut sum, mut term, mut n) = (ONE, ONE, 1);
    while n < 24 {
        term = mul(term, x) / n;
        sum = if n % 2 == 1 { sum - term } else { sum + term };
        n += 1;
    }
    let mut i = 0;
    while i < 8 {
        sum = mul(sum, sum);
        i += 1;
    }
    sum
}

/// `1 / (1 + exp(-x))`.
const fn logistic(x: u128) -> u128 {
    (ONE << Q) / (ONE + exp_neg(x))
}

/// The Gaussian distribution function: `1/2 + phi(x) (x + x^3/3 + x^5/15 + ..)` (Marsaglia 2004); 1 above 6.
const fn gauss(x: u128) -> u128 {
    if x >= 6 * ONE {
        return ONE;
    }
    let density = mul(INV_SQRT_2_PI, exp_neg(mul(x, x) / 2));
    // The sum reaches 2^28; 40 fraction bits keep its products within 128 bits.
    let square = mul(x, x) >> (Q - 40);
    let (mut sum, mut term, mut n) = (x >> (Q - 40), x >> (Q - 40), 3);
    while n < 300 {
        term = ((term * square) >> 40) / n;
        sum += term;
        n += 2;
    }
    ONE / 2 + ((density * sum) >> 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
            }
            Activation::Relu => x.max(0.0),
        }
    }

    #[test]
    fn activations_are_near_the_real_ones() {
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            for frac in [8, 15, 20] {
                let values: Vec<i32> = (-2000..2000).map(|i| i * ((1 << frac) / 128)).collect();
                let ups: Vec<i32> = values.iter().rev().copied().collect();
                let real = |v: i32| f64::from(v) / 2f64.powi(frac);
                let mut gate = values.clone();
                let unit = 2f64.powi(apply(activation, &mut gate, &[], frac));
                for (g, &v) in gate.iter().zip(&values) {
                    let (got, wanted) = (f64::from(*g) * unit, exact(activation, real(v)));
                    assert!(
                        (got - wanted).abs() < 1e-3,
                        "{activation:?}({}) = {got}, wanted {wanted}",
                        real(v)
                    );
                }
                let mut gate = values.clone();
                let unit = 2f64.powi(apply(activation, &mut gate, &ups, frac));
                for ((g, &v), &u) in gate.iter().zip(&values).zip(&ups) {
                    let (got, wanted) = (f64::from(*g) * unit, exact(activation, real(v)) * real(u));
                    assert!((got - wanted).abs() < 2e-2, "{activation:?}: {got}, wanted {wanted}");
                }
            }
        }
    }
}
