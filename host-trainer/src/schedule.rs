//! The learning rate over a run: a linear warm-up, then down.

use serde::{Deserialize, Serialize};

/// How the rate falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Half a cosine, to the end
    #[default]
    Cosine,
    /// A straight line, to the end
    Linear,
    /// Warm-up, stable, decay: the highest rate, and a straight line in the last part of the run (see cooldown)
    Wsd,
}

/// A schedule over the fraction of a budget that is used, be it steps or minutes.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f32,
    /// The rate at the end.
    pub last: f32,
    /// The fraction of the budget that the warm-up takes.
    pub warmup: f32,
    /// How the rate falls.
    pub decay: Decay,
    /// The fraction of the budget in which the rate of [`Decay::Wsd`] falls.
    pub cooldown: f32,
}

impl Schedule {
    /// The rate at a fraction of the budget, from zero to one.
    pub fn rate(&self, fraction: f32) -> f32 {
        let fraction = fraction.clamp(0.0, 1.0);
        if fraction < self.warmup {
            return self.peak * fraction / self.warmup;
        }
        let fall = match self.decay {
            Decay::Wsd => self.cooldown,
            _ => 1.0 - self.warmup,
        };
        let fallen = ((fraction - (1.0 - fall)) / fall.max(f32::MIN_POSITIVE)).max(0.0);
        let left = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + libm::cosf(std::f32::consts::PI * fallen)),
            Decay::Linear | Decay::Wsd => 1.0 - fallen,
        };
        self.last + left * (self.peak - self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSINE: Schedule =
        Schedule { peak: 1.0, last: 0.1, warmup: 0.2, decay: Decay::Cosine, cooldown: 0.25 };

    #[test]
    fn rises_then_falls() {
        assert_eq!(COSINE.rate(0.0), 0.0);
        assert_eq!(COSINE.rate(0.1), 0.5);
        assert_eq!(COSINE.rate(0.2), 1.0);
        assert!((COSINE.rate(0.6) - 0.55).abs() < 1e-6);
        assert!((COSINE.rate(1.0) - 0.1).abs() < 1e-6);
        assert_eq!(COSINE.rate(2.0), COSINE.rate(1.0));
        let constant = Schedule { warmup: 1.0, ..COSINE };
        assert_eq!(constant.rate(0.5), 0.5);
    }

    #[test]
    fn each_decay_has_its_shape() {
        let at = |decay, fraction| Schedule { decay, ..COSINE }.rate(fraction);
        for (decay, fraction, expected) in [
            (Decay::Cosine, 0.4, 0.1 + 0.9 * 0.853_553_4),
            (Decay::Linear, 0.4, 0.1 + 0.9 * 0.75),
            (Decay::Linear, 0.1, 0.5),
            (Decay::Linear, 1.0, 0.1),
            (Decay::Wsd, 0.1, 0.5),
            (Decay::Wsd, 0.4, 1.0),
            (Decay::Wsd, 0.75, 1.0),
            (Decay::Wsd, 0.875, 0.55),
            (Decay::Wsd, 1.0, 0.1),
        ] {
            let found = at(decay, fraction);
            assert!((found - expected).abs() < 1e-6, "{decay:?} {fraction}: {found}, wanted {expected}");
        }
        let never = Schedule { decay: Decay::Wsd, cooldown: 0.0, ..COSINE };
        assert_eq!(never.rate(0.999), 1.0);
    }
}
