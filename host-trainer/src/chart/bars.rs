//! Horizontal bars from zero, each with its name and its value.

use super::{FONT, escape};
use std::fmt::Write;

/// A bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What stands left of it.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// What stands right of it: the value, with its unit.
    pub label: String,
}

const WIDTH: f64 = 400.0;
const PITCH: f64 = 19.0;
const BAR: f64 = 11.0;
/// A letter, roughly.
const LETTER: f64 = 6.4;

/// Bars on a scale that ends at `longest`.
pub fn bars(rows: &[Bar], longest: f64) -> String {
    let widest = |text: fn(&Bar) -> &str| {
        rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0) as f64 * LETTER
    };
    let left = (widest(|row| &row.name) + 10.0).min(WIDTH / 2.0);
    let length = (WIDTH - left - widest(|row| &row.label) - 12.0).max(20.0);
    let height = PITCH * rows.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" {FONT} font-size=\"12\">\n\
         <line class=\"grid\" x1=\"{left:.1}\" x2=\"{left:.1}\" y1=\"0\" y2=\"{height}\"/>\n"
    );
    for (i, row) in rows.iter().enumerate() {
        let top = PITCH * i as f64;
        let width = if longest > 0.0 { (row.value / longest).clamp(0.0, 1.0) * length } else { 0.0 };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"fill s0\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>\
             <text class=\"muted\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left - 6.0,
            top + 13.0,
            escape(&row.name),
            top + 4.0,
            left + width + 6.0,
            top + 13.0,
            escape(&row.label)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_say() {
        let bar = |value| Bar { name: "a".into(), value, label: "b".into() };
        let svg = bars(&[bar(4.0), bar(1.0), bar(9.0)], 4.0);
        let widths: Vec<f64> = svg
            .split(" width=\"")
            .skip(1)
            .map(|rest| rest[..rest.find('"').unwrap()].parse().unwrap())
            .collect();
        assert!((widths[0] - 4.0 * widths[1]).abs() < 0.3 && widths[2] == widths[0], "{svg}");
    }
}
