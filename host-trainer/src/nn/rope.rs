//! Rotary position embedding of adjacent pairs (Su et al. 2021, section 3.4).

use std::iter::zip;

/// Cosines and sines of every position and pair.
#[derive(Debug, Clone)]
pub struct RopeTable {
    pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// Pair `i` at position `t` turns by `t * theta^(-2i / head_dim)`.
    pub fn new(seq_len: usize, head_dim: usize, theta: f32) -> Self {
        let pairs = head_dim / 2;
        let angle = |position: usize, pair: usize| {
            let exponent = 2.0 * pair as f64 / head_dim as f64;
            position as f64 / libm::pow(f64::from(theta), exponent)
        };
        let table = |f: fn(f64) -> f64| {
            (0..seq_len).flat_map(|t| (0..pairs).map(move |i| f(angle(t, i)) as f32)).collect()
        };
        Self { pairs, cos: table(libm::cos), sin: table(libm::sin) }
    }

    /// Rotates the first `width` values of each row of `x` `[t, stride]`, head by head; row `t`
    /// stands at position `t`.
    pub fn forward(&self, x: &mut [f32], stride: usize, width: usize) {
        self.rotate(x, stride, width, 1.0);
    }

    /// Turns a gradient back: the rotation is orthogonal, its transpose is its inverse.
    pub fn backward(&self, dx: &mut [f32], stride: usize, width: usize) {
        self.rotate(dx, stride, width, -1.0);
    }

    fn rotate(&self, x: &mut [f32], stride: usize, width: usize, sign: f32) {
        let cos = self.cos.chunks_exact(self.pairs);
        let sin = self.sin.chunks_exact(self.pairs);
        for (row, (cos, sin)) in zip(x.chunks_exact_mut(stride), zip(cos, sin)) {
            for head in row[..width].chunks_exact_mut(2 * self.pairs) {
                let (pairs, _) = head.as_chunks_mut::<2>();
                for ([a, b], (cos, sin)) in zip(pairs, zip(cos, sin)) {
                    let sin = sin * sign;
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    #[test]
    fn gradients() {
        let (t, stride, width) = (3, 10, 8);
        let table = RopeTable::new(t, 4, 10_000.0);
        let x = noise(1, t * stride);
        let mut dx = noise(2, t * stride);
        let dy = dx.clone();
        table.backward(&mut dx, stride, width);
        agree(&x, &dy, &dx, |x| {
            let mut x = x.to_vec();
            table.forward(&mut x, stride, width);
            x
        });
    }

    #[test]
    fn the_first_pair_turns_by_the_position() {
        let mut x = [1.0, 0.0, 1.0, 0.0];
        RopeTable::new(2, 2, 10_000.0).forward(&mut x, 2, 2);
        assert_eq!(x, [1.0, 0.0, 1f32.cos(), 1f32.sin()]);
    }
}
