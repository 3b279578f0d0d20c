//! How often values occur, as a small chart.

use super::{FONT, tick_label, ticks};
use std::fmt::Write;

/// Counts of values between minus and plus the largest magnitude.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<usize>,
    /// Half the width of the axis.
    reach: f64,
    /// Values that are numbers.
    count: usize,
    squares: f64,
}

/// An odd number, so that zero has a bin.
const BINS: usize = 41;
const WIDTH: f64 = 180.0;
const LEFT: f64 = 34.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 72.0;
const HEIGHT: f64 = 90.0;

impl Histogram {
    /// Counts some values; what is no number is left out.
    pub fn new(values: &[f32]) -> Self {
        let finite = || values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
        let reach = finite().fold(0f64, |m, v| m.max(v.abs()));
        let mut this = Self { counts: vec![0; BINS], reach, count: 0, squares: 0.0 };
        for v in finite() {
            let place = if reach > 0.0 { (v / reach + 1.0) / 2.0 } else { 0.5 };
            this.counts[((place * BINS as f64) as usize).min(BINS - 1)] += 1;
            this.count += 1;
            this.squares += v * v;
        }
        this
    }

    /// The largest magnitude.
    pub fn peak(&self) -> f64 {
        self.reach
    }

    /// The root of the mean square.
    pub fn rms(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }

    /// The chart: values across, and upwards the share of them in percent.
    pub fn svg(&self) -> String {
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" {FONT} font-size=\"11\">");
        let share = |count: usize| 100.0 * count as f64 / self.count.max(1) as f64;
        let tallest = self.counts.iter().copied().max().map_or(0.0, share);
        let right = WIDTH - 6.0;
        let bin = (right - LEFT) / BINS as f64;
        let y = |share: f64| BOTTOM - share / tallest.max(1e-9) * (BOTTOM - TOP);
        let mut path = format!("M{LEFT} {BOTTOM}");
        for (i, &count) in self.counts.iter().enumerate() {
            let _ = write!(path, "V{:.1}H{:.1}", y(share(count)), LEFT + bin * (i + 1) as f64);
        }
        let _ = writeln!(
            svg,
            "<path class=\"fill s0\" d=\"{path}V{BOTTOM}Z\"/>\
             <line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>\
             <text class=\"muted\" x=\"{0}\" y=\"{1}\" text-anchor=\"end\">{tallest:.0} %</text>\
             <text class=\"muted\" x=\"{0}\" y=\"{BOTTOM}\" text-anchor=\"end\">0</text>",
            LEFT - 4.0,
            TOP + 8.0
        );
        // The tick that is nearest to half of the reach on either side, and zero.
        let marks = ticks(0.0, self.reach / 2.0, 1);
        if let (Some(&mark), true) = (marks.get(1), self.reach > 0.0) {
            let middle = (LEFT + right) / 2.0;
            for tick in [-mark, 0.0, mark] {
                let x = middle + tick / self.reach * (right - LEFT) / 2.0;
                let _ = write!(
                    svg,
                    "<text class=\"muted\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    BOTTOM + 14.0,
                    tick_label(&[-mark, 0.0, mark], tick)
                );
            }
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_where_they_lie() {
        let histogram = Histogram::new(&[-2.0, 0.0, 0.0, 2.0, f32::NAN, f32::INFINITY]);
        assert_eq!((histogram.counts[0], histogram.counts[BINS / 2], histogram.counts[BINS - 1]), (1, 2, 1));
        assert_eq!((histogram.peak(), histogram.rms()), (2.0, 2f64.sqrt()));
        assert!(histogram.svg().contains(">50 %<"));
        for values in [&[][..], &[0.0], &[f32::NAN]] {
            let svg = Histogram::new(values).svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
