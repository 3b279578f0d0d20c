//! A square of shares between 0 and 1, darker where there is more.

use super::FONT;
use std::fmt::Write;

/// Shades; what is less than half a shade is not drawn.
const SHADES: usize = 8;
const LEFT: f64 = 22.0;
const TOP: f64 = 4.0;
const SIDE: f64 = 150.0;
/// Cells between two numbers on an axis.
const EVERY: usize = 8;

/// The map of `[n, n]` values, row after row; rows go down, columns to the right, both counted from 0.
pub fn map(values: &[f32], n: usize) -> String {
    let cell = SIDE / n.max(1) as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" {FONT} font-size=\"10\">",
        LEFT + SIDE + 2.0,
        TOP + SIDE + 14.0
    );
    let _ = write!(
        svg,
        "<rect class=\"frame grid\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\"/>"
    );
    // One path for all cells of a shade is a tenth of the text that as many rectangles are.
    for shade in 1..=SHADES {
        let mut path = String::new();
        for (i, &value) in values.iter().enumerate().take(n * n) {
            if (value * SHADES as f32).round() as usize == shade {
                let _ = write!(path, "M{} {}h1v1h-1z", i % n, i / n);
            }
        }
        if !path.is_empty() {
            let _ = write!(
                svg,
                "<path class=\"fill s0\" fill-opacity=\"{:.2}\" shape-rendering=\"crispEdges\" \
                 transform=\"translate({LEFT} {TOP}) scale({cell:.4})\" d=\"{path}\"/>",
                shade as f64 / SHADES as f64
            );
        }
    }
    for i in (0..n).step_by(EVERY) {
        let middle = cell * (i as f64 + 0.5);
        let _ = write!(
            svg,
            "<text class=\"muted\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{i}</text>\
             <text class=\"muted\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{i}</text>",
            LEFT - 3.0,
            TOP + middle + 3.5,
            LEFT + middle,
            TOP + SIDE + 11.0
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_follow_the_values() {
        let svg = map(&[1.0, 0.0, 0.5, 0.5], 2);
        assert!(svg.contains("fill-opacity=\"1.00\"") && svg.contains("d=\"M0 0h1v1h-1z\""), "{svg}");
        assert!(svg.contains("d=\"M0 1h1v1h-1zM1 1h1v1h-1z\"") && !svg.contains("M1 0"), "{svg}");
        assert!(!map(&[f32::NAN], 1).contains("NaN"));
    }
}
