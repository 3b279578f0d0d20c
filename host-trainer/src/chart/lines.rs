//! Curves over a common axis, each with its name at its end.

use super::{FONT, escape, extent, thin, tick_label, ticks};
use std::fmt::Write;

/// How the values of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As a line of means.
    Line,
    /// As a line with a dot at each value.
    Dots,
}

/// Values with a name.
#[derive(Debug, Clone)]
pub struct Series {
    /// What stands at its end; nothing where there is only one.
    pub name: &'static str,
    /// How it is drawn.
    pub mark: Mark,
    /// Values; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// Up to two series over one axis.
#[derive(Debug, Clone)]
pub struct Lines {
    /// What both axes say, with units.
    pub x: &'static str,
    /// See `x`; it stands above the axis.
    pub y: &'static str,
    /// Whether the axis begins at zero.
    pub from_zero: bool,
    /// The series.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = HEIGHT - 38.0;
/// Values that a line shows at most.
const POINTS: usize = 300;
/// Between the names of two series.
const LINE: f64 = 15.0;

impl Lines {
    /// The chart.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" {FONT} \
             font-size=\"12\">\n<text class=\"muted\" x=\"0\" y=\"12\">{}</text>\n",
            escape(self.y)
        );
        let drawn: Vec<Vec<(f64, f64)>> =
            self.series.iter().map(|series| thin(&series.points, POINTS)).collect();
        let all = || drawn.iter().flatten();
        let (low, high) = extent(all().map(|p| p.1));
        let ys = ticks(if self.from_zero { low.min(0.0) } else { low }, high, 4);
        let (first, last) = extent(all().map(|p| p.0));
        let xs = ticks(first, last, 4);
        let (&[bottom, .., top], &[start, ..]) = (&ys[..], &xs[..]) else {
            let _ = writeln!(
                svg,
                "<text class=\"muted\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">no values yet</text>",
                WIDTH / 2.0,
                HEIGHT / 2.0
            );
            return svg + "</svg>\n";
        };
        let names = self.series.iter().map(|series| series.name.len()).max().unwrap_or(0) as f64;
        let right = WIDTH - 14.0 - 6.6 * names;
        // The axis ends with the values, not with the next tick: curves have the whole width.
        let end = if last > start { last } else { start + 1.0 };
        let x = |v: f64| LEFT + (v - start) / (end - start) * (right - LEFT);
        let y = |v: f64| BOTTOM - (v - bottom) / (top - bottom) * (BOTTOM - TOP);
        for &tick in &ys {
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right:.1}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>\
                 <text class=\"muted\" x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                y(tick),
                LEFT - 6.0,
                y(tick) + 4.0,
                tick_label(&ys, tick)
            );
        }
        for &tick in xs.iter().filter(|&&tick| tick <= end) {
            let _ = writeln!(
                svg,
                "<text class=\"muted\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x(tick),
                BOTTOM + 16.0,
                tick_label(&xs, tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"muted\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 4.0,
            escape(self.x)
        );
        let mut taken: Vec<f64> = Vec::new();
        for (i, (series, points)) in self.series.iter().zip(&drawn).enumerate() {
            let Some(&(last_x, last_y)) = points.last() else { continue };
            let places: Vec<String> =
                points.iter().map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
            let _ = writeln!(svg, "<polyline class=\"line s{}\" points=\"{}\"/>", i.min(1), places.join(" "));
            if series.mark == Mark::Dots || points.len() == 1 {
                for &(a, b) in points {
                    let _ = write!(
                        svg,
                        "<circle class=\"fill s{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>",
                        i.min(1),
                        x(a),
                        y(b)
                    );
                }
            }
            let beside = taken.iter().find(|other| (y(last_y) - **other).abs() < LINE);
            let at = match beside {
                None => y(last_y),
                Some(&other) if y(last_y) < other => other - LINE,
                Some(&other) => other + LINE,
            };
            taken.push(at);
            let _ = writeln!(
                svg,
                "<text class=\"s{}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                i.min(1),
                x(last_x) + 7.0,
                at + 4.0,
                escape(series.name)
            );
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: [Vec<(f64, f64)>; 2]) -> String {
        let [a, b] = points;
        let series = vec![
            Series { name: "one", mark: Mark::Line, points: a },
            Series { name: "two", mark: Mark::Dots, points: b },
        ];
        Lines { x: "step", y: "loss <nats>", from_zero: false, series }.svg()
    }

    #[test]
    fn names_that_end_together_stand_apart() {
        let svg = chart([vec![(0.0, 3.0), (9.0, 1.0)], vec![(0.0, 2.0), (9.0, 1.01)]]);
        let place = |name: &str| -> f64 {
            let end = svg.find(&format!("\">{name}</text>")).unwrap();
            svg[..end].rsplit("y=\"").next().unwrap().parse().unwrap()
        };
        assert!((place("one") - place("two")).abs() >= LINE, "{svg}");
        assert!(svg.contains("loss &lt;nats&gt;") && svg.matches("<polyline").count() == 2, "{svg}");
    }

    #[test]
    fn no_values_are_said_to_be_none() {
        assert!(chart([Vec::new(), vec![(1.0, f64::NAN)]]).contains("no values yet"));
        let one = chart([vec![(5.0, 1.0)], Vec::new()]);
        assert!(!one.contains("NaN") && one.contains("<circle"), "{one}");
    }
}
