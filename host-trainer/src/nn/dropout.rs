//! Dropout (Srivastava et al. 2014), in the inverted form that leaves evaluation alone.

use super::random::Random;

/// Dropout of one sequence at one step. Masks are drawn again from their key in the backward
/// pass, so none is stored.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Fraction of values that become zero; zero turns dropout off.
    pub rate: f32,
    /// Names the sequence and the step.
    pub key: u64,
}

impl Dropout {
    /// No dropout: evaluation.
    pub const OFF: Self = Self { rate: 0.0, key: 0 };

    /// Multiplies by the mask of a place in the model. The map is diagonal, so this is the
    /// backward pass too.
    pub fn apply(&self, place: u64, x: &mut [f32]) {
        if self.rate == 0.0 {
            return;
        }
        let mut random = Random::keyed(&[self.key, place]);
        let scale = 1.0 / (1.0 - self.rate);
        for x in x {
            *x *= if random.uniform() < self.rate { 0.0 } else { scale };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::finite_difference::{agree, noise};

    #[test]
    fn gradients_and_mean() {
        let dropout = Dropout { rate: 0.3, key: 5 };
        let run = |x: &[f32]| {
            let mut x = x.to_vec();
            dropout.apply(2, &mut x);
            x
        };
        let (x, dy) = (noise(1, 50), noise(2, 50));
        agree(&x, &dy, &run(&dy), run);
        let mean = run(&[1.0; 10_000]).iter().sum::<f32>() / 1e4;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let mut same = x.clone();
        Dropout::OFF.apply(2, &mut same);
        assert_eq!(same, x);
    }
}
