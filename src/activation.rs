//! The non-linearities of the MLP, each as `x * gate(x)` with a gate between 0 and 1.
//!
//! SiLU gates with the logistic function, GELU with the Gaussian distribution function (or the logistic
//! function of a polynomial, its tanh form), ReLU with a step. For all of them `gate(x) - 1/2` is odd, so that
//! `x * gate(x) = x / 2 + |x| * opening(|x|)` with a table of `opening = gate - 1/2` for `0 <= x < 16`, 32 entries to
//! the unit and straight lines between them; beyond, the gate is 1 to within half of its last bit.
//!
//! The square of ReLU needs no gate. It has twice the bits of its argument, and all of them go on to the matrix.

use crate::format::Activation;
use crate::kernel::{self, BlockShift, Gate, Openings};
use crate::shift::{bits, keep_rolled, mul_w, round_shift};
use crate::vector::{BITS, block_shift};

static LOGISTIC: Openings = table(Activation::Silu);
static GAUSS: Openings = table(Activation::Gelu);
static GAUSS_TANH: Openings = table(Activation::GeluTanh);

/// `out = act(gate) * up` (or `act(gate)` where there is no `up`), written over `gate`.
///
/// Both inputs have `frac` fraction bits and come with their [`magnitude`](kernel::magnitude)s. The result is at most 2^29
/// in magnitude; its magnitude and the exponent of its unit are returned.
pub fn apply(
    activation: Activation,
    (gate, gate_size): (&mut [i32], u32),
    up: Option<(&[i32], u32)>,
    frac: i32,
) -> (u32, i32) {
    let s = block_shift(gate_size, BITS);
    let fraction = frac - s;
    match (activation, up) {
        (Activation::Relu, None) => return (rectify(gate, BlockShift::new(s)), -fraction),
        (Activation::ReluSquared, _) => return squares(gate, BlockShift::new(s), up, frac, fraction),
        _ => {}
    }
    let mut how = Gate {
        shift: BlockShift::new(s),
        // From 17 to the left on, everything but 0 is beyond the table.
        to_table: ((10 - fraction).clamp(0, 17) as u32, (fraction - 10).clamp(0, 31) as u32),
        openings: match activation {
            Activation::Silu => Some(&LOGISTIC),
            Activation::Gelu => Some(&GAUSS),
            Activation::GeluTanh => Some(&GAUSS_TANH),
            Activation::Relu | Activation::ReluSquared => None,
        },
        up: 0,
    };
    match up {
        None => (kernel::activate(gate, &how), -fraction),
        Some((up, up_size)) => {
            how.up = 31 - bits(up_size);
            (kernel::activate_gated(gate, up, &how), 16 - how.up as i32 - frac - fraction)
        }
    }
}

/// [`apply`] of ReLU without an `up`: the same as with its gate, sooner.
#[inline(never)]
fn rectify(values: &mut [i32], shift: BlockShift) -> u32 {
    let mut size = 0;
    for x in values {
        *x = shift.round(*x).max(0);
        size |= *x as u32;
        keep_rolled();
    }
    size
}

/// [`apply`] of ReLU squared: `fraction` are the fraction bits of a gate after its shift.
#[inline(never)]
fn squares(
    gate: &mut [i32],
    shift: BlockShift,
    up: Option<(&[i32], u32)>,
    frac: i32,
    fraction: i32,
) -> (u32, i32) {
    let square = |x: i32| {
        let x = shift.round(x).max(0);
        x * x
    };
    let mut size = 0;
    let Some((up, up_size)) = up else {
        for x in gate {
            *x = square(*x);
            size |= *x as u32;
            keep_rolled();
        }
        return (size, -2 * fraction);
    };
    let left = 31 - bits(up_size);
    for (x, &up) in gate.iter_mut().zip(up) {
        *x = mul_w(up << (left & 31), round_shift(square(*x), 14) as i16);
        size |= (*x ^ (*x >> 31)) as u32;
        keep_rolled();
    }
    (size, 30 - left as i32 - frac - 2 * fraction)
}

const fn table(activation: Activation) -> Openings {
    let mut table = [0; 513];
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
            Activation::Relu | Activation::ReluSquared => ONE,
        };
        table[i] = ((gate - ONE / 2 + (1 << (Q - 16))) >> (Q - 15)) as u16;
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
            Activation::ReluSquared => x.max(0.0) * x.max(0.0),
        }
    }

    /// The two ways to a plain ReLU.
    #[test]
    fn rectified_is_what_the_gate_makes() {
        let values: Vec<i32> = (-3000..3000).map(|i| i * 77_773).collect();
        for shift in [-3, 0, 1, 5, 14].map(BlockShift::new) {
            let (mut found, mut expected) = (values.clone(), values.clone());
            if shift.left > 0 {
                found.iter_mut().chain(&mut expected).for_each(|v| *v >>= 18);
            }
            let gate = Gate { shift, to_table: (0, 0), openings: None, up: 0 };
            expected
                .iter_mut()
                .for_each(|v| *v = (*v).clamp(-(1 << 14) << shift.right, 1 << 14 << shift.right));
            found.copy_from_slice(&expected);
            let sizes = (rectify(&mut found, shift), kernel::activate(&mut expected, &gate));
            assert_eq!((found, bits(sizes.0)), (expected, bits(sizes.1)));
        }
    }

    #[test]
    fn activations_are_near_the_real_ones() {
        use Activation::*;
        for activation in [Silu, Gelu, GeluTanh, Relu, ReluSquared] {
            // Squares are up to sixteen times as large as the others.
            let more = if activation == ReluSquared { 16.0 } else { 1.0 };
            for frac in [8, 15, 20] {
                let values: Vec<i32> = (-2000..2000).map(|i| i * ((1 << frac) / 128)).collect();
                let ups: Vec<i32> = values.iter().rev().copied().collect();
                let real = |v: i32| f64::from(v) / 2f64.powi(frac);
                let mut gate = values.clone();
                let size = kernel::magnitude(&gate);
                let unit = 2f64.powi(apply(activation, (&mut gate, size), None, frac).1);
                for (g, &v) in gate.iter().zip(&values) {
                    let (got, wanted) = (f64::from(*g) * unit, exact(activation, real(v)));
                    assert!(
                        (got - wanted).abs() < 1e-3 * more,
                        "{activation:?}({}) = {got}, wanted {wanted}",
                        real(v)
                    );
                }
                let mut gate = values.clone();
                let up = Some((&ups[..], kernel::magnitude(&ups)));
                let unit = 2f64.powi(apply(activation, (&mut gate, size), up, frac).1);
                for ((g, &v), &u) in gate.iter().zip(&values).zip(&ups) {
                    let (got, wanted) = (f64::from(*g) * unit, exact(activation, real(v)) * real(u));
                    assert!((got - wanted).abs() < 2e-2 * more, "{activation:?}: {got}, wanted {wanted}");
                }
            }
        }
    }
}
