//! The non-linearity between the two matrices of an MLP, plain or gated (Shazeer 2020).

use super::graph::{Backward, Forward, Freeze, Keeps, Mode, Operation, Recorder, Value};
use super::math::{sigmoid, vectorized};
use super::matrix::Write;
use super::real::Real;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `x sigmoid(x)` (Hendrycks and Gimpel 2016, section 2; Ramachandran et al. 2017).
    Silu,
    /// `x` times the normal distribution function (Hendrycks and Gimpel 2016).
    Gelu,
    /// The tanh approximation of the same paper.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2` (So et al. 2021).
    ReluSquared,
}

impl From<thumbformer::Activation> for Function {
    fn from(activation: thumbformer::Activation) -> Self {
        use thumbformer::Activation;
        match activation {
            Activation::Silu => Self::Silu,
            Activation::Gelu => Self::Gelu,
            Activation::GeluTanh => Self::GeluTanh,
            Activation::Relu => Self::Relu,
            Activation::ReluSquared => Self::ReluSquared,
        }
    }
}

/// Gated, a row of `up` `[rows, 2 width]` is `[a | b]` and gives `f(a) * b`; plain, it is `[a]` and gives `f(a)`.
#[derive(Debug, Clone)]
struct Activation {
    function: Function,
    gated: bool,
    width: usize,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// `f(x)` of each value of `x` `[rows, width]`.
    pub fn activation(&mut self, function: Function, x: Value) -> Value {
        let width = x.width();
        self.record(Activation { function, gated: false, width }, &[x], x.rows(), width)
    }

    /// `f(a) * b` of the halves `[a | b]` of each row of `x` `[rows, 2 width]`; with SiLU that is SwiGLU.
    pub fn gated_activation(&mut self, function: Function, x: Value) -> Value {
        assert!(x.width().is_multiple_of(2), "found {} columns, wanted two halves", x.width());
        let width = x.width() / 2;
        self.record(Activation { function, gated: true, width }, &[x], x.rows(), width)
    }
}

impl<R: Real> Operation<R> for Activation {
    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let ([up, _], hidden) = (pass.inputs, pass.output);
        vectorized(
            #[inline(always)]
            || match self.function {
                Function::Silu => self.apply(silu, up, hidden),
                Function::Gelu => self.apply(gelu, up, hidden),
                Function::GeluTanh => self.apply(gelu_tanh, up, hidden),
                Function::Relu => self.apply(relu, up, hidden),
                Function::ReluSquared => self.apply(relu_squared, up, hidden),
            },
        );
    }

    fn backward(&self, pass: Backward<'_, R>) {
        let ([up, _], dhidden, [dup, _]) = (pass.inputs, pass.doutput, pass.dinputs);
        // `unapply` adds only where it must.
        let (dup, write) = (dup.values, dup.write);
        vectorized(
            #[inline(always)]
            || match self.function {
                Function::Silu => self.unapply(silu, up, dhidden, dup, write),
                Function::Gelu => self.unapply(gelu, up, dhidden, dup, write),
                Function::GeluTanh => self.unapply(gelu_tanh, up, dhidden, dup, write),
                Function::Relu => self.unapply(relu, up, dhidden, dup, write),
                Function::ReluSquared => self.unapply(relu_squared, up, dhidden, dup, write),
            },
        );
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

impl Activation {
    /// `f` gives a value and its derivative; what is not used is not computed.
    #[inline(always)]
    fn apply<R: Real>(&self, f: impl Fn(R) -> (R, R), up: &[R], hidden: &mut [R]) {
        let n = self.width;
        if !self.gated {
            for (hidden, a) in hidden.iter_mut().zip(up) {
                *hidden = f(*a).0;
            }
            return;
        }
        for (up, hidden) in up.chunks_exact(2 * n).zip(hidden.chunks_exact_mut(n)) {
            let (a, b) = up.split_at(n);
            for i in 0..n {
                hidden[i] = f(a[i]).0 * b[i];
            }
        }
    }

    #[inline(always)]
    fn unapply<R: Real>(
        &self,
        f: impl Fn(R) -> (R, R),
        up: &[R],
        dhidden: &[R],
        dup: &mut [R],
        write: Write,
    ) {
        if write == Write::Add {
            self.each_slope(f, up, dhidden, dup, |d, value| *d += value);
        } else {
            self.each_slope(f, up, dhidden, dup, |d, value| *d = value);
        }
    }

    #[inline(always)]
    fn each_slope<R: Real>(
        &self,
        f: impl Fn(R) -> (R, R),
        up: &[R],
        dhidden: &[R],
        dup: &mut [R],
        put: impl Fn(&mut R, R),
    ) {
        let n = self.width;
        if !self.gated {
            for ((dup, &a), &dhidden) in dup.iter_mut().zip(up).zip(dhidden) {
                put(dup, dhidden * f(a).1);
            }
            return;
        }
        let rows = up.chunks_exact(2 * n).zip(dhidden.chunks_exact(n));
        for ((up, dhidden), dup) in rows.zip(dup.chunks_exact_mut(2 * n)) {
            let (a, b) = up.split_at(n);
            let (da, db) = dup.split_at_mut(n);
            for i in 0..n {
                let (value, slope) = f(a[i]);
                put(&mut da[i], dhidden[i] * b[i] * slope);
                put(&mut db[i], dhidden[i] * value);
            }
        }
    }
}

#[inline(always)]
fn silu<R: Real>(x: R) -> (R, R) {
    let s = sigmoid(x);
    (x * s, s * (R::ONE + x * (R::ONE - s)))
}

#[inline(always)]
fn gelu<R: Real>(x: R) -> (R, R) {
    let (below, density) = x.normal();
    (x * below, below + x * density)
}

/// `0.5 (1 + tanh u)` is `sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh<R: Real>(x: R) -> (R, R) {
    let twice_root = R::of(1.595_769_121_605_730_8); // 2 sqrt(2 / pi)
    let cubic = R::of(0.044_715);
    let s = sigmoid(twice_root * (x + cubic * x * x * x));
    let slope = twice_root * (R::ONE + R::of(3.0) * cubic * x * x);
    (x * s, s + x * s * (R::ONE - s) * slope)
}

#[inline(always)]
fn relu<R: Real>(x: R) -> (R, R) {
    (x.max(R::ZERO), if x > R::ZERO { R::ONE } else { R::ZERO })
}

#[inline(always)]
fn relu_squared<R: Real>(x: R) -> (R, R) {
    let x = x.max(R::ZERO);
    (x * x, x + x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{check, output};
    use crate::nn::graph::{Given, Training};

    const ALL: [Function; 5] =
        [Function::Silu, Function::Gelu, Function::GeluTanh, Function::Relu, Function::ReluSquared];

    #[test]
    fn gradients() {
        for function in ALL {
            check(1, 3, |net| {
                let x = net.variable("x", 3, 5);
                net.activation(function, x)
            });
            check(1, 3, |net| {
                let x = net.variable("x", 3, 10);
                net.gated_activation(function, x)
            });
            // Read twice, the input has the sum of two gradients.
            check(1, 3, |net| {
                let x = net.variable("x", 3, 5);
                let first = net.activation(function, x);
                let second = net.activation(Function::Silu, x);
                net.residual(first, second)
            });
        }
    }

    #[test]
    fn values_equal_their_definitions() {
        let x: Vec<f32> = (-600..=600).map(|i| i as f32 * 0.01).collect();
        for (i, function) in ALL.into_iter().enumerate() {
            let mut net = Recorder::<Training, f32>::new(1, 1);
            let values = net.variable("x", 1, x.len());
            let y = net.activation(function, values);
            let y = output(&net.finish(y), &x, &Given::default());
            for (&x, y) in x.iter().zip(y) {
                let wide = f64::from(x);
                let cubic = wide + 0.044715 * wide * wide * wide;
                let exact = [
                    wide / (1.0 + (-wide).exp()),
                    0.5 * wide * (1.0 + libm::erf(wide / 2f64.sqrt())),
                    0.5 * wide * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * cubic).tanh()),
                    wide.max(0.0),
                    wide.max(0.0) * wide.max(0.0),
                ];
                let error = (f64::from(y) - exact[i]).abs();
                assert!(error < 4e-6, "{function:?}({x}) is off by {error}");
            }
        }
    }
}
