//! Attention's inputs as the device has them: queries, keys and values of 14 bits, keys and values of 8 in the cache
//! (`docs/numerics.md`, "Attention"). Gradients pass as if nothing had been rounded.

use super::attention::Heads;
use super::graph::{Backward, Forward, Freeze, Mode, Operation, Recorder, Value};
use super::matrix::Write;
use super::real::Real;
use crate::export::quantize::exponent_of;

/// Queries, keys and values of each row `[dim + 2 kv_dim]`, rounded apart.
#[derive(Debug, Clone)]
struct FakeCache {
    heads: Heads,
    stage: Stage,
}

/// Before or after the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Queries, keys and values to 14 bits, all heads of each together.
    Fixed,
    /// Each head of the keys and of the values to 8 bits.
    Stored,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// `qkv` `[rows, dim + 2 kv_dim]` with the 14 bits that queries, keys and values have before the rotation.
    pub fn fake_fixed_heads(&mut self, heads: Heads, qkv: Value) -> Value {
        self.fake_cache_stage(heads, Stage::Fixed, qkv)
    }

    /// `qkv` `[rows, dim + 2 kv_dim]`, rotated, with keys and values as the KV cache stores them: int8, and a step of five
    /// leading bits for each head.
    pub fn fake_cache(&mut self, heads: Heads, qkv: Value) -> Value {
        self.fake_cache_stage(heads, Stage::Stored, qkv)
    }

    fn fake_cache_stage(&mut self, heads: Heads, stage: Stage, qkv: Value) -> Value {
        assert_eq!(qkv.width(), heads.dim() + 2 * heads.kv_dim(), "the width of queries, keys and values");
        self.record(FakeCache { heads, stage }, &[qkv], qkv.rows(), qkv.width())
    }
}

impl<R: Real> Operation<R> for FakeCache {
    fn in_place(&self) -> bool {
        true
    }

    fn forward(&self, pass: Forward<'_, R>) {
        let (dim, kv_dim) = (self.heads.dim(), self.heads.kv_dim());
        for row in pass.output.chunks_exact_mut(dim + 2 * kv_dim) {
            let (queries, rest) = row.split_at_mut(dim);
            match self.stage {
                Stage::Fixed => {
                    let (keys, values) = rest.split_at_mut(kv_dim);
                    [queries, keys, values].into_iter().for_each(to_14_bits);
                }
                Stage::Stored => rest.chunks_exact_mut(self.heads.head_dim).for_each(store),
            }
        }
    }

    fn backward(&self, pass: Backward<'_, R>) {
        // The gradient of the output is that of the input.
        debug_assert_eq!(pass.dinputs[0].write, Write::Set);
    }

    fn freeze(&self) -> Freeze<R> {
        Freeze::same(self)
    }
}

fn peak<R: Real>(values: &[R]) -> Option<f64> {
    let peak = values.iter().fold(0f64, |peak, x| peak.max(x.wide().abs()));
    (peak >= f64::from(f32::MIN_POSITIVE) && peak.is_finite()).then_some(peak)
}

/// Multiples of `step`, from `-limit` to `limit - 1` of them, rounded half up.
fn round<R: Real>(values: &mut [R], step: f64, limit: f64) {
    let inverse = step.recip();
    for x in values {
        *x = R::of((x.wide() * inverse + 0.5).floor().clamp(-limit, limit - 1.0) * step);
    }
}

/// A step that is a power of two, of which the peak has 14 bits.
fn to_14_bits<R: Real>(values: &mut [R]) {
    if let Some(peak) = peak(values) {
        round(values, libm::exp2(f64::from(exponent_of(peak) + 1 - 14)), f64::from(1 << 15));
    }
}

/// The smallest step of the form `(16 to 31) * 2^e` that is at least 1/127 of the peak.
fn store<R: Real>(head: &mut [R]) {
    if let Some(peak) = peak(head) {
        let step = peak / 127.0;
        let unit = libm::exp2(f64::from(exponent_of(step) - 4));
        round(head, (step / unit).ceil() * unit, 128.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{noise, output};
    use crate::nn::graph::{Given, Memory, Training};

    const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 6 };
    const WIDTH: usize = 24 + 2 * 12;

    fn rounded(x: &[f64], stage: Stage) -> Vec<f64> {
        let mut net = Recorder::<Training, f64>::new(1, x.len() / WIDTH);
        let value = net.variable("x", x.len() / WIDTH, WIDTH);
        let y = net.fake_cache_stage(HEADS, stage, value);
        output(&net.finish(y), x, &Given::default())
    }

    #[test]
    fn heads_are_integers_times_steps_of_five_bits() {
        let x: Vec<f64> =
            noise(1, 3 * WIDTH).iter().enumerate().map(|(i, x)| x * (1 + i % 7) as f64).collect();
        let y = rounded(&x, Stage::Stored);
        for (x, y) in x.chunks(WIDTH).zip(y.chunks(WIDTH)) {
            assert_eq!(x[..24], y[..24], "queries are not stored");
            for (x, y) in x[24..].chunks(6).zip(y[24..].chunks(6)) {
                let peak = x.iter().fold(0f64, |m, x| m.max(x.abs()));
                // Five bits: up to 1/16 above.
                let step = peak / 127.0;
                let worst = x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                assert!(worst > 0.0 && worst <= step * 0.5 * 17.0 / 16.0, "{worst}, at least {step}");
            }
        }
    }

    #[test]
    fn fourteen_bits_are_finer() {
        let x = noise(2, WIDTH);
        let y = rounded(&x, Stage::Fixed);
        let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(worst > 0.0 && worst <= 1.0 / 8192.0, "{worst}");
        assert_eq!(rounded(&[0.0; WIDTH], Stage::Stored), [0.0; WIDTH]);
    }

    #[test]
    fn gradients_pass_straight_through() {
        let mut net = Recorder::<Training, f64>::new(1, 2);
        let x = net.variable("x", 2, WIDTH);
        let y = net.fake_fixed_heads(HEADS, x);
        let y = net.fake_cache(HEADS, y);
        let dy = noise(5, 2 * WIDTH);
        let end = net.weighted(dy.clone(), y);
        let network = net.finish(end);
        let (mut memory, mut grad) = (Memory::new(&network), vec![0.0; 2 * WIDTH]);
        network.forward(&noise(1, 2 * WIDTH), &Given::default(), &mut memory);
        network.backward(&noise(1, 2 * WIDTH), &Given::default(), &mut memory, &mut grad);
        assert_eq!(grad, dy);
    }
}
