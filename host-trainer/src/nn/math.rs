//! Scalar functions and reductions that the compiler can vectorise.

use super::real::Real;

/// Runs loops with the widest vector instructions that the processor has. What they compute does not change: nothing
/// here may be reordered, and a product and a sum are not fused. The closure must be `#[inline(always)]` to be compiled so.
#[inline(always)]
pub fn vectorized<T>(loops: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(loops)
}

/// Number of partial results that a reduction keeps, one per vector lane.
const LANES: usize = 8;

/// `e^x` to within 3e-7 relative, for x clamped to `[-87, 88]`.
///
/// Range reduction by powers of two and a polynomial of degree six (Cephes, `expf`). The magic
/// number rounds to the nearest integer and leaves it in the low bits of the sum.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// The normal distribution function of `x`, and its derivative. By Abramowitz and Stegun 7.1.26,
/// whose error is below 1.5e-7.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp(-z * z);
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let tail = 1.061_405_4;
    let tail = tail * t - 1.453_152;
    let tail = tail * t + 1.421_413_8;
    let tail = tail * t - 0.284_496_72;
    let tail = tail * t + 0.254_829_6;
    let upper = 0.5 * tail * t * bell;
    const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
    (if x < 0.0 { upper } else { 1.0 - upper }, DENSITY * bell)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<R: Real>(x: R) -> R {
    R::ONE / (R::ONE + (-x).exp())
}

/// The sum of `f(i)` for `i` in `0..len`, in a fixed order of several lanes.
#[inline(always)]
pub fn reduce<R: Real>(len: usize, f: impl Fn(usize) -> R) -> R {
    let mut lanes = [R::ZERO; LANES];
    let whole = len - len % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    lanes.iter().copied().sum::<R>() + (whole..len).map(f).sum::<R>()
}

/// The inner product of two rows of equal length.
#[inline(always)]
pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let b = &b[..a.len()];
    reduce(a.len(), |i| a[i] * b[i])
}

/// The sum of a row.
#[inline(always)]
pub fn sum<R: Real>(x: &[R]) -> R {
    reduce(x.len(), |i| x[i])
}

/// The largest value of a row.
#[inline(always)]
pub fn max<R: Real>(x: &[R]) -> R {
    let least = R::of(f64::NEG_INFINITY);
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [least; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(least, |m, &x| m.max(x))
}

/// Softmax in place after multiplying by `scale`, and the natural logarithm of the sum of
/// exponentials of the scaled row.
#[inline(always)]
pub fn softmax<R: Real>(row: &mut [R], scale: R) -> R {
    let peak = max(row) * scale;
    for x in row.iter_mut() {
        *x = (*x * scale - peak).exp();
    }
    let total = sum(row);
    let inverse = R::ONE / total;
    for x in row.iter_mut() {
        *x *= inverse;
    }
    total.ln() + peak
}

/// `x += y`, element by element.
#[inline(always)]
pub fn add<R: Real>(x: &mut [R], y: &[R]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_over_its_range() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
            x += 0.01;
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) > 0.0 && exp(1e30).is_finite());
    }

    #[test]
    fn reductions_cover_the_tail() {
        let x: Vec<f32> = (1..=19).map(|i| i as f32).collect();
        assert_eq!(sum(&x), 190.0f32);
        assert_eq!(dot(&x, &x), 2470.0);
        assert_eq!(max(&x), 19.0);
        assert_eq!(max(&[-3.0f32, -2.0]), -2.0);
    }

    #[test]
    fn softmax_sums_to_one_and_returns_the_log_sum() {
        let mut row = [1.0f32, 2.0, 3.0];
        let log_sum = softmax(&mut row, 2.0);
        let exact = (2f64.exp() + 4f64.exp() + 6f64.exp()).ln();
        assert!((f64::from(log_sum) - exact).abs() < 1e-6);
        assert!((sum(&row) - 1.0).abs() < 1e-6);
        assert!((f64::from(row[0]) - (2.0 - exact).exp()).abs() < 1e-6);
    }
}
