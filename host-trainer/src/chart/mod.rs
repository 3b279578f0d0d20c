//! Charts as SVG, for pages that are light or dark as the reader's screen is: what they share.

mod bars;
mod histogram;
mod lines;
mod map;

pub use bars::{Bar, bars};
pub use histogram::Histogram;
pub use lines::{Lines, Mark, Series};
pub use map::map;

/// The colours of a chart by class, light, and dark where the reader's screen is.
pub const STYLE: &str = "text{fill:#1f2328}.muted{fill:#59636e}.grid{stroke:#d1d9e0}.mean{stroke:#1f2328;stroke-width:2}\
    .dot{fill:#0969da;fill-opacity:.75}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}\
    .s0{--c:#0969da}.s1{--c:#bc4c00}.line.s0,.line.s1{stroke:var(--c)}.fill.s0,.fill.s1,text.s0,text.s1{fill:var(--c)}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.muted{fill:#9198a1}.grid{stroke:#3d444d}\
    .mean{stroke:#f0f6fc}.dot{fill:#4493f8}.s0{--c:#4493f8}.s1{--c:#f0883e}}";

/// The letters of every chart.
pub const FONT: &str = "font-family=\"-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\"";

/// Text for HTML and SVG: what they would take for markup is escaped, and what no page may hold is shown by a sign.
pub fn escape(text: &str) -> String {
    printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// Text in which control characters but line breaks are shown by a sign of one column.
pub fn printable(text: &str) -> String {
    let sign = |c: char| match c {
        '\n' => c,
        '\t' => ' ',
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        // Whoever turns the direction of writing turns the page's, too.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(sign).collect()
}

/// About `count` round numbers from below `low` to above `high`; none where there is no number.
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    if !low.is_finite() || !high.is_finite() || low > high {
        return Vec::new();
    }
    let rough = (high - low).max(1e-3 * high.abs()).max(1e-9) / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// A tick as text, with as many digits as tell it from its neighbours.
pub fn tick_label(ticks: &[f64], tick: f64) -> String {
    let step = match ticks {
        [first, second, ..] => second - first,
        _ => 1.0,
    };
    let largest = ticks.iter().fold(0f64, |m, t| m.max(t.abs()));
    match largest {
        large if large >= 1e6 => short(tick, 1e6, step, "M"),
        large if large >= 1e4 => short(tick, 1e3, step, "k"),
        large if large > 0.0 && large < 1e-2 => {
            let exponent = largest.log10().floor();
            let unit = 10f64.powf(exponent);
            if tick == 0.0 { "0".into() } else { format!("{}e{exponent}", decimal(tick / unit, step / unit)) }
        }
        _ => decimal(tick, step),
    }
}

fn short(tick: f64, unit: f64, step: f64, name: &str) -> String {
    if tick == 0.0 { "0".into() } else { decimal(tick / unit, step / unit) + name }
}

fn decimal(value: f64, step: f64) -> String {
    // A step of 0.05 has logarithm -1.3; of 0.1, one that rounding may have moved below -1.
    let digits = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    // No minus before a zero.
    format!("{:.digits$}", value + 0.0)
}

/// No chart shows more; the difference of two such numbers is still one.
const LARGEST: f64 = 1e30;

/// Points that a chart can show, thinned to about `count` by the means of neighbours.
pub fn thin(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    // What is not a number is not less than any.
    let shown = |v: f64| v.abs() < LARGEST;
    let finite: Vec<_> = points.iter().copied().filter(|(x, y)| shown(*x) && shown(*y)).collect();
    let mean = |points: &[(f64, f64)]| {
        let n = points.len() as f64;
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n)
    };
    let size = finite.len().div_ceil(count.max(1)).max(1);
    finite.chunks(size).map(mean).collect()
}

/// The least and the greatest of some numbers.
pub fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_enclose_the_values() {
        let labels = |low, high, count| {
            let ticks = ticks(low, high, count);
            ticks.iter().map(|&t| tick_label(&ticks, t)).collect::<Vec<_>>()
        };
        assert_eq!(labels(2.03, 2.39, 5), ["2.0", "2.1", "2.2", "2.3", "2.4"]);
        assert_eq!(labels(0.0, 42_000.0, 3), ["0", "20k", "40k", "60k"]);
        assert_eq!(labels(0.0, 0.004, 4), ["0", "1e-3", "2e-3", "3e-3", "4e-3"]);
        assert_eq!(labels(-3.0, 3.0, 3), ["-4", "-2", "0", "2", "4"]);
        assert!(ticks(1.0, 1.0, 5).len() >= 2);
        for (low, high) in [(f64::INFINITY, f64::NEG_INFINITY), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert!(ticks(low, high, 5).is_empty());
        }
    }

    #[test]
    fn markup_and_control_characters_are_shown() {
        assert_eq!(
            escape("<a href='x'>\"&\0\x1b[2J\u{9b}\u{202e}\n"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{2400}\u{241b}[2J\u{fffd}\u{fffd}\n"
        );
    }

    #[test]
    fn thinning_keeps_means_and_drops_what_is_no_number() {
        let points =
            [(0.0, 1.0), (1.0, 3.0), (2.0, f64::NAN), (3.0, 5.0), (4.0, f64::INFINITY), (5.0, -1e308)];
        assert_eq!(thin(&points, 2), [(0.5, 2.0), (3.0, 5.0)]);
        assert_eq!(thin(&points, 100).len(), 3);
        assert!(thin(&[], 3).is_empty());
    }
}
