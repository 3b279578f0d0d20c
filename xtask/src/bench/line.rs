//! The straight line through the cost of a token at each position.

/// `cost = at_0 + slope * position`, by least squares.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Line {
    /// The cost at position 0.
    pub at_0: f64,
    /// The cost of each further position.
    pub slope: f64,
    /// The largest distance of a point from the line.
    pub deviation: f64,
}

impl Line {
    /// The line through points (position, cost); none through fewer than two positions.
    pub fn through(points: &[(u64, u64)]) -> Option<Self> {
        let n = points.len() as f64;
        let mean = |value: fn(&(u64, u64)) -> u64| points.iter().map(|p| value(p) as f64).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |f: &dyn Fn(f64, f64) -> f64| {
            points.iter().map(|p| f(p.0 as f64 - x, p.1 as f64 - y)).sum::<f64>()
        };
        let spread = sum(&|x, _| x * x);
        // Of no points it is not a number.
        if spread == 0.0 || spread.is_nan() {
            return None;
        }
        let slope = sum(&|x, y| x * y) / spread;
        let at_0 = y - slope * x;
        let off = points.iter().map(|p| (p.1 as f64 - at_0 - slope * p.0 as f64).abs());
        Some(Self { at_0, slope, deviation: off.fold(0.0, f64::max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_what_is_off_it() {
        let exact: Vec<_> = [0, 50, 100, 250].map(|x| (x, 1000 + 3 * x)).to_vec();
        let line = Line::through(&exact).unwrap();
        assert!((line.slope - 3.0).abs() < 1e-9 && (line.at_0 - 1000.0).abs() < 1e-6, "{line:?}");
        assert!(line.deviation < 1e-6, "{line:?}");
        // symmetric about the middle, so that the slope stays 0
        let line = Line::through(&[(0, 10), (1, 40), (2, 10)]).unwrap();
        assert!((line.slope).abs() < 1e-9 && (line.deviation - 20.0).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn one_position_has_no_line() {
        assert_eq!(Line::through(&[]), None);
        assert_eq!(Line::through(&[(5, 1), (5, 2)]), None);
    }
}
