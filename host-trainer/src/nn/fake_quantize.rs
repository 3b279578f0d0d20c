//! Fake quantization (Jacob et al. 2018, section 3): numbers as they will be on the device, while gradients pass as if
//! nothing had been rounded.
//!
//! Weights are rounded by the exporter's functions, vectors by the runtime's kernels, so that training meets the scales
//! that the device will have. Weights are rounded outside of networks: a step rounds a copy of the parameters, runs
//! networks on it, and applies the gradient to the parameters themselves.

use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::matrix::Write;
use super::real::Real;
use crate::export::{grid, int4, quantize};
use thumbformer::format::InputWidth;
use thumbformer::kernel::{self, BlockShift};

/// Rounds a row-major matrix to int8, a scale for each row, and back.
pub fn int8_rows(values: &mut [f32], columns: usize) {
    let matrix = quantize::Matrix::round(values, columns);
    restore(&matrix, values, columns, |_, _| 1.0);
}

/// Rounds a row-major matrix to int4, a factor for each group of columns and a scale for each row, and back.
pub fn int4_groups(values: &mut [f32], columns: usize) {
    let (matrix, factors) = grid::round(values, columns);
    let groups = int4::groups(columns);
    let factor = |row: usize, column| f64::from(factors[row * groups + int4::group(columns, column)]);
    restore(&matrix, values, columns, factor);
}

fn restore(
    matrix: &quantize::Matrix,
    values: &mut [f32],
    columns: usize,
    factor: impl Fn(usize, usize) -> f64,
) {
    let unit = libm::exp2(f64::from(matrix.exponent));
    let rows = values.chunks_exact_mut(columns).zip(matrix.weights.chunks_exact(columns));
    for (row, ((values, weights), &scale)) in rows.zip(&matrix.scales).enumerate() {
        let step = f64::from(scale) * unit;
        for (column, (value, &weight)) in values.iter_mut().zip(weights).enumerate() {
            *value = (f64::from(weight) * factor(row, column) * step) as f32;
        }
    }
}

/// Each row of a value `[rows, columns]` as a vector that a matrix of the runtime reads.
#[derive(Debug, Clone)]
struct FakeQuantize {
    columns: usize,
    width: InputWidth,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// `x` `[rows, columns]` with each row rounded to 8 or 16 bits and one scale, as the runtime's matrices read it.
    pub fn fake_quantize(&mut self, width: InputWidth, x: Value) -> Value {
        self.record(FakeQuantize { columns: x.width(), width }, &[x], x.rows(), x.width())
    }
}

impl<R: Real> Operation<R> for FakeQuantize {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        pass.output.chunks_exact_mut(self.columns).for_each(|row| round(row, self.width));
    }

    fn backward(&self, pass: Backward<'_, R>) {
        // The gradient of the output is that of the input.
        debug_assert_eq!(pass.dinputs[0].write, Write::Set);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

/// Elements that are rounded together.
const CHUNK: usize = 64;

/// A vector of the runtime begins in fixed point; so many bits leave what it rounds away to the vector's own scale.
const FIXED_BITS: i32 = 24;

/// The nearest integer to a number far below 2^51, of two the even one. Without a call to a library, loops become vector instructions.
#[inline(always)]
fn nearest(x: f64) -> f64 {
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    (x + MAGIC) - MAGIC
}

/// `docs/numerics.md`, "Vectors": a shift to the bits of an a16 vector, then, for a8, the peak to 127.
fn round<R: Real>(row: &mut [R], width: InputWidth) {
    let peak = row.iter().fold(0f64, |peak, x| peak.max(x.wide().abs()));
    if peak < f64::from(f32::MIN_POSITIVE) || !peak.is_finite() {
        return;
    }
    let exponent = quantize::exponent_of(peak) + 1 - FIXED_BITS;
    let (unit, inverse) = (libm::exp2(f64::from(exponent)), libm::exp2(f64::from(-exponent)));
    let fixed = |x: R| nearest(x.wide() * inverse) as i32;
    let mut values = [0; CHUNK];
    let mut q = [0; CHUNK];

    let magnitude = row.iter().fold(0, |magnitude, &x| magnitude | kernel::magnitude(&[fixed(x)]));
    let bits = 14 - row.len().div_ceil(512).next_power_of_two().ilog2() as i32;
    let shift = (u32::BITS - magnitude.leading_zeros()) as i32 - bits;
    let mut peak = 0;
    for row in row.chunks_mut(CHUNK) {
        let (values, q) = (&mut values[..row.len()], &mut q[..row.len()]);
        values.iter_mut().zip(&*row).for_each(|(value, &x)| *value = fixed(x));
        kernel::round(values, BlockShift::new(shift), q);
        peak = peak.max(kernel::peak(q));
        row.iter_mut().zip(q).for_each(|(x, q)| *x = R::of(f64::from(*q)));
    }

    let mut step = unit * libm::exp2(f64::from(shift));
    let factor = (127i32 << 24).checked_div(peak as i32).filter(|_| width == InputWidth::A8);
    if let Some(factor) = factor {
        step *= f64::from(peak) / 127.0;
        for row in row.chunks_mut(CHUNK) {
            let q = &mut q[..row.len()];
            q.iter_mut().zip(&*row).for_each(|(q, x)| *q = x.wide() as i16);
            kernel::scale(q, factor);
            row.iter_mut().zip(q).for_each(|(x, q)| *x = R::of(f64::from(*q)));
        }
    }
    row.iter_mut().for_each(|x| *x = R::of(x.wide() * step));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{noise, output};
    use crate::nn::graph::{Given, Memory, Training};

    fn rounded(x: &[f64], width: InputWidth) -> Vec<f64> {
        let mut net = Recorder::<Training, f64>::new(1, 1);
        let value = net.variable("x", 1, x.len());
        let y = net.fake_quantize(width, value);
        output(&net.finish(y), x, &Given::default())
    }

    #[test]
    fn vectors_are_integers_of_the_width_times_a_step() {
        for (width, largest) in [(InputWidth::A8, 127.0), (InputWidth::A16, 16384.0)] {
            for scale in [1e-6, 1.0, 300.0] {
                let x: Vec<f64> = noise(1, 100).iter().map(|x| x * scale).collect();
                let y = rounded(&x, width);
                let peak = x.iter().fold(0f64, |peak, x| peak.max(x.abs()));
                let step = peak / largest;
                let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                // A16 has a power of two for a step: up to twice the finest.
                assert!(worst > step * 0.4 && worst < step * 1.02, "{width:?}: {worst}, a step is {step}");
            }
            assert_eq!(rounded(&[0.0; 5], width), [0.0; 5]);
        }
        let y = rounded(&[1.0, -0.3, 0.0039, 0.0041], InputWidth::A8);
        let expected = [127.0, -38.0, 0.0, 1.0].map(|q| q / 127.0);
        assert!(y.iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-3), "{y:?}");
    }

    #[test]
    fn gradients_pass_straight_through() {
        let mut net = Recorder::<Training, f64>::new(1, 3);
        let x = net.variable("x", 3, 4);
        let y = net.fake_quantize(InputWidth::A8, x);
        let dy = noise(5, 12);
        let end = net.weighted(dy.clone(), y);
        let network = net.finish(end);
        let (mut memory, mut grad) = (Memory::new(&network), vec![0.0; 12]);
        network.forward(&noise(1, 12), &Given::default(), &mut memory);
        network.backward(&noise(1, 12), &Given::default(), &mut memory, &mut grad);
        assert_eq!(grad, dy);
    }

    #[test]
    fn weights_come_back_near_and_stay_where_they_are() {
        let values: Vec<f32> = noise(1, 3 * 70).iter().map(|&x| x as f32).collect();
        for (round, tolerance) in [(int8_rows as fn(&mut [f32], usize), 0.015), (int4_groups, 0.25)] {
            let mut once = values.clone();
            round(&mut once, 70);
            let worst = once.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst > 0.0 && worst < tolerance, "{worst}");
        }
    }
}
