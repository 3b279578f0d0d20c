//! The learning rate over a run: a linear warm-up, then half a cosine.

/// A schedule over the fraction of a budget that is used, be it steps or minutes.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f32,
    /// The rate at the end.
    pub last: f32,
    /// The fraction of the budget that the warm-up takes.
    pub warmup: f32,
}

impl Schedule {
    /// The rate at a fraction of the budget, from zero to one.
    pub fn rate(&self, fraction: f32) -> f32 {
        let fraction = fraction.clamp(0.0, 1.0);
        if fraction < self.warmup {
            return self.peak * fraction / self.warmup;
        }
        let decayed = (fraction - self.warmup) / (1.0 - self.warmup).max(f32::MIN_POSITIVE);
        let cosine = libm::cosf(std::f32::consts::PI * decayed);
        self.last + 0.5 * (1.0 + cosine) * (self.peak - self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        let schedule = Schedule { peak: 1.0, last: 0.1, warmup: 0.2 };
        assert_eq!(schedule.rate(0.0), 0.0);
        assert_eq!(schedule.rate(0.1), 0.5);
        assert_eq!(schedule.rate(0.2), 1.0);
        assert!((schedule.rate(0.6) - 0.55).abs() < 1e-6);
        assert!((schedule.rate(1.0) - 0.1).abs() < 1e-6);
        assert_eq!(schedule.rate(2.0), schedule.rate(1.0));
        let constant = Schedule { warmup: 1.0, ..schedule };
        assert_eq!(constant.rate(0.5), 0.5);
    }
}
