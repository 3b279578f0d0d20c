//! The chart of the README: horizontal bars, as SVG, for light and for dark pages.

use std::fmt::Write;

use crate::size::thousands;

/// The bars of one core, longest bar to the full width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The core.
    pub name: String,
    /// Its bars; the first is ours.
    pub bars: Vec<(String, u64)>,
}

/// The colours of a theme.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    text: &'static str,
    muted: &'static str,
    ours: &'static str,
    others: &'static str,
}

/// For light pages.
pub const LIGHT: Theme = Theme { text: "#1f2328", muted: "#59636e", ours: "#0969da", others: "#afb8c1" };
/// For dark pages.
pub const DARK: Theme = Theme { text: "#f0f6fc", muted: "#9198a1", ours: "#4493f8", others: "#656c76" };

const WIDTH: u64 = 760;
/// Where bars begin, and how long the longest is. A number stands right of each.
const LEFT: u64 = 136;
const LONGEST: u64 = 520;
const HEAD: u64 = 62;
const BAR: u64 = 18;
const PITCH: u64 = 24;
/// Above a group: its name and some air.
const GROUP: u64 = 36;

/// The chart. The bars of a group share one linear scale that begins at 0; each group has its own.
pub fn svg(title: &str, note: &str, groups: &[Group], theme: Theme) -> String {
    let Theme { text, muted, ours, others } = theme;
    let bars: u64 = groups.iter().map(|group| group.bars.len() as u64).sum();
    let height = HEAD + GROUP * groups.len() as u64 + PITCH * bars + 8;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" font-family=\"-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n\
         <text x=\"0\" y=\"20\" font-size=\"17\" font-weight=\"600\" fill=\"{text}\">{title}</text>\n\
         <text x=\"0\" y=\"42\" fill=\"{muted}\">{note}</text>\n"
    );
    let mut y = HEAD;
    for group in groups {
        let longest = group.bars.iter().map(|bar| bar.1).max().unwrap_or_default().max(1);
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"{}\" font-weight=\"600\" fill=\"{text}\">{}</text>",
            y + GROUP - 14,
            group.name
        );
        y += GROUP - 4;
        for (i, (name, value)) in group.bars.iter().enumerate() {
            // To a tenth of a pixel, in integers: the same text on every machine.
            let tenths = (LONGEST * 10 * value + longest / 2) / longest;
            let (width, tenth) = (tenths / 10, tenths % 10);
            let (colour, weight) = if i == 0 { (ours, "600") } else { (others, "400") };
            let baseline = y + BAR - 5;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\" fill=\"{muted}\">{name}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}.{tenth}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>\n\
                 <text x=\"{}\" y=\"{baseline}\" font-weight=\"{weight}\" fill=\"{text}\">{}</text>",
                LEFT - 10,
                LEFT + width + 9,
                thousands(*value)
            );
            y += PITCH;
        }
        y += 4;
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        let bars = [("ours", 250), ("theirs", 1000)].map(|(name, value)| (name.to_owned(), value));
        vec![Group { name: "A core".to_owned(), bars: bars.to_vec() }]
    }

    #[test]
    fn bars_are_as_long_as_their_numbers_say() {
        let svg = svg("title", "note", &groups(), LIGHT);
        assert!(svg.contains("width=\"130.0\"") && svg.contains("width=\"520.0\""), "{svg}");
        assert!(svg.contains(">250<") && svg.contains(">1,000<"), "{svg}");
    }

    #[test]
    fn the_themes_differ_in_colours_only() {
        let [light, dark] = [LIGHT, DARK].map(|theme| svg("title", "note", &groups(), theme));
        assert_ne!(light, dark);
        let mut painted = light.clone();
        for (from, to) in [
            (LIGHT.text, DARK.text),
            (LIGHT.muted, DARK.muted),
            (LIGHT.ours, DARK.ours),
            (LIGHT.others, DARK.others),
        ] {
            painted = painted.replace(from, to);
        }
        assert_eq!(painted, dark);
        assert_eq!(light, svg("title", "note", &groups(), LIGHT));
    }
}
