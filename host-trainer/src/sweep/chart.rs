//! The chart of a sweep, as SVG: a line for each point, a dot for each of its runs at its validation loss.

use super::collect::{Row, Status};
use crate::chart::{FONT, STYLE, escape, extent, tick_label, ticks};
use std::fmt::Write;

const WIDTH: f64 = 820.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const PITCH: f64 = 22.0;
/// A letter of a label, roughly.
const LETTER: f64 = 7.0;

/// The chart of the runs that are done; the others are named below it.
pub fn svg(title: &str, rows: &[Row]) -> String {
    let lines = lines(rows);
    let left = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) as f64 * LETTER + 24.0;
    let left = left.clamp(80.0, WIDTH / 2.0);
    let losses = lines.iter().flat_map(|(_, losses)| losses.iter().copied());
    let (low, high) = extent(losses);
    let ticks = ticks(low, high, 5);
    let bottom = TOP + PITCH * lines.len() as f64;
    let others: Vec<&Row> = rows.iter().filter(|row| row.status != Status::Done).collect();
    let height = bottom + 60.0 + 18.0 * others.len() as f64;
    let title = escape(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" {FONT} font-size=\"13\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <text x=\"0\" y=\"20\" font-size=\"17\" font-weight=\"600\">{title}</text>\n\
         <text x=\"0\" y=\"42\" class=\"muted\">A dot is a run, a bar the mean of a point's seeds; less is better.</text>\n"
    );
    if let [first, .., last] = ticks[..] {
        let x = |loss: f64| left + (loss - first) / (last - first) * (WIDTH - RIGHT - left);
        for &tick in &ticks {
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n\
                 <text class=\"muted\" x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
                x(tick),
                bottom + 18.0,
                tick_label(&ticks, tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"muted\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">validation loss, nats per token</text>",
            (left + WIDTH - RIGHT) / 2.0,
            bottom + 38.0
        );
        for (i, (label, losses)) in lines.iter().enumerate() {
            let y = TOP + PITCH * (i as f64 + 0.5);
            let mean = x(mean(losses));
            for &loss in losses {
                let _ =
                    writeln!(svg, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>", x(loss));
            }
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
                 <line class=\"mean\" x1=\"{mean:.1}\" x2=\"{mean:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                left - 12.0,
                y + 4.5,
                escape(label),
                y - 7.0,
                y + 7.0
            );
        }
    }
    for (i, row) in others.iter().enumerate() {
        let y = bottom + 62.0 + 18.0 * i as f64;
        let text = escape(&format!("not shown: {}: {}", row.name, row.status));
        let _ = writeln!(svg, "<text class=\"muted\" x=\"0\" y=\"{y}\">{text}</text>");
    }
    svg + "</svg>\n"
}

/// The points that have runs that are done, and their losses; the best mean on top.
fn lines(rows: &[Row]) -> Vec<(String, Vec<f64>)> {
    let mut lines: Vec<(String, Vec<f64>)> = Vec::new();
    for row in rows.iter().filter(|row| row.status == Status::Done) {
        let (Some(loss), label) = (row.valid_loss, row.label()) else { continue };
        match lines.iter_mut().find(|line| line.0 == label) {
            Some((_, losses)) => losses.push(loss),
            None => lines.push((label, vec![loss])),
        }
    }
    lines.sort_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)));
    lines
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn row(rate: f64, seed: u64, status: Status, loss: f64) -> Row {
        Row {
            name: format!("{rate}-{seed}"),
            values: BTreeMap::from([("training.learning_rate".to_owned(), rate.into())]),
            seed,
            status,
            steps: 1,
            train_loss: None,
            valid_loss: Some(loss),
            best_loss: None,
            seconds: 0.0,
        }
    }

    #[test]
    fn the_best_point_is_on_top_and_no_run_is_forgotten() {
        let rows = [
            row(0.1, 1, Status::Done, 2.0),
            row(0.1, 2, Status::Done, 2.4),
            row(0.2, 1, Status::Done, 2.1),
            row(0.2, 2, Status::Broken("a < b".into()), 9.0),
        ];
        let svg = svg("losses", &rows);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.find("learning_rate 0.2<").unwrap() < svg.find("learning_rate 0.1<").unwrap(), "{svg}");
        assert!(svg.contains("not shown: 0.2-2: broken, a &lt; b"), "{svg}");
        assert!(svg.contains(">2.0<") && svg.contains(">2.4<") && svg.contains("nats per token"), "{svg}");
    }
}
