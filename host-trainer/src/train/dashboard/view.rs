//! The picture of a run at a moment.

use crate::chart::{extent, printable, thin, tick_label, ticks};
use crate::train::metrics::{Metrics, Sample, Step};
use crate::train::progress::{Moment, clock};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LineGauge, Paragraph, Wrap};

/// A small curve: its name and its value of a step.
type Small = (&'static str, fn(&Step) -> f64);
/// A line: its name, its colour, its points.
type Curve<'a> = (&'a str, Color, &'a [(f64, f64)]);

/// What a picture shows.
#[derive(Debug)]
pub struct View<'a> {
    pub title: &'a str,
    pub moment: &'a Moment,
    pub metrics: &'a Metrics,
    /// What is being done, if it is not a step.
    pub status: &'a str,
}

/// Rows that the curves leave to the samples, where there are so many.
const SAMPLES: u16 = 9;
/// Rows and columns below which there is no place for curves.
const CURVES: (u16, u16) = (14, 40);
/// Columns from which the small curves stand beside the losses.
const WIDE: u16 = 90;

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let area = frame.area();
    let rows = |heights: [Constraint; 4]| Layout::vertical(heights).areas::<4>(area);
    let curves = area.height >= CURVES.0 && area.width >= CURVES.1;
    let [head, middle, samples, foot] = if curves {
        let samples = SAMPLES.min(area.height / 3);
        let [fill, samples] = [Constraint::Fill(1), Constraint::Length(samples)];
        rows([Constraint::Length(3), fill, samples, Constraint::Length(1)])
    } else {
        rows([Constraint::Length(3), Constraint::Length(0), Constraint::Fill(1), Constraint::Length(1)])
    };
    draw_head(frame, head, view);
    if curves {
        draw_curves(frame, middle, view.metrics);
    }
    draw_samples(frame, samples, &view.metrics.samples);
    let keys = Line::from(vec![
        " q".bold(),
        " finish the step, save, leave   ".dim(),
        "s".bold(),
        " save now".dim(),
        Span::raw(if view.status.is_empty() { String::new() } else { format!("   {}", view.status) })
            .yellow(),
    ]);
    frame.render_widget(keys, foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let [title, bar, numbers] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    let Moment { step, loss, speed, fraction, seconds_left } = *view.moment;
    let name =
        Line::from(vec![" thumbformer ".bold().reversed(), format!(" {}", printable(view.title)).bold()]);
    frame.render_widget(name, title);
    let label = format!("{:3.0}%  {} left", 100.0 * fraction, clock(seconds_left));
    let gauge = LineGauge::default()
        .ratio(if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 })
        .label(label)
        .filled_style(Style::new().fg(Color::Blue));
    frame.render_widget(gauge, bar);
    let last = view.metrics.steps.last();
    let number = |value: fn(&Step) -> f64| last.map_or(f64::NAN, value);
    let mut line = format!(
        "step {step}  loss {loss:.3}  {speed:.0} tokens/s  rate {:.2e}  gradient {:.2}",
        number(|s| s.learning_rate),
        number(|s| s.grad_norm)
    );
    if let Some(evaluation) = view.metrics.evaluations.last() {
        line += &format!("  validation {:.4}", evaluation.loss);
        if let Some(accuracy) = evaluation.accuracy {
            line += &format!("  accuracy {:.1} %", 100.0 * accuracy);
        }
    }
    frame.render_widget(Line::raw(line), numbers);
}

fn draw_curves(frame: &mut Frame<'_>, area: Rect, metrics: &Metrics) {
    let columns = [Constraint::Fill(3), Constraint::Fill(if area.width < WIDE { 0 } else { 2 })];
    let [losses, beside] = Layout::horizontal(columns).areas(area);
    let width = usize::from(losses.width);
    let train = thin(&metrics.curve(|step| step.loss), width);
    let validation = thin(&metrics.validation(), width);
    curves(
        frame,
        losses,
        "loss, nats per token",
        &[("train", Color::Blue, &train), ("validation", Color::Yellow, &validation)],
    );
    if beside.width == 0 {
        return;
    }
    let small: [Small; 3] = [
        ("tokens per second", |step| step.tokens_per_second),
        ("learning rate", |step| step.learning_rate),
        ("gradient's norm", |step| step.grad_norm),
    ];
    // A curve in fewer rows than six is none.
    let count = usize::from(beside.height / 6).clamp(1, small.len());
    let places = Layout::vertical(vec![Constraint::Fill(1); count]).split(beside);
    for ((name, value), &place) in small.into_iter().zip(places.iter()) {
        let points = thin(&metrics.curve(value), width);
        curves(frame, place, name, &[("", Color::Blue, &points)]);
    }
}

fn curves(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[Curve<'_>]) {
    let points = || lines.iter().flat_map(|line| line.2.iter());
    let (low, high) = extent(points().map(|p| p.1));
    let ys = ticks(low, high, 3);
    let (first, last) = extent(points().map(|p| p.0));
    let block = Block::bordered().title(format!(" {title} ")).border_style(Style::new().dim());
    let (&[bottom, .., top], true) = (&ys[..], first.is_finite()) else {
        frame.render_widget(Paragraph::new("no values yet").dim().block(block), area);
        return;
    };
    let datasets = lines.iter().map(|(name, color, points)| {
        let set = Dataset::default().data(points).graph_type(GraphType::Line).marker(Marker::Braille);
        let set = set.style(Style::new().fg(*color));
        if name.is_empty() { set } else { set.name(*name) }
    });
    let last = last.max(first + 1.0);
    let chart = Chart::new(datasets.collect())
        .block(block)
        .legend_position(Some(ratatui::widgets::LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Percentage(60), Constraint::Percentage(60)))
        .x_axis(
            Axis::default()
                .bounds([first, last])
                .labels([format!("{first:.0}"), format!("step {last:.0}")])
                .style(Style::new().dim()),
        )
        .y_axis(
            Axis::default()
                .bounds([bottom, top])
                .labels([tick_label(&ys, bottom), tick_label(&ys, top)])
                .style(Style::new().dim()),
        );
    frame.render_widget(chart, area);
}

fn draw_samples(frame: &mut Frame<'_>, area: Rect, samples: &[Sample]) {
    let block = Block::bordered().title(" samples, the newest first ").border_style(Style::new().dim());
    if samples.is_empty() {
        let text = "none yet: each evaluation brings one";
        frame.render_widget(Paragraph::new(text).dim().block(block), area);
        return;
    }
    // No more than could be seen.
    let lines = samples.iter().rev().take(usize::from(area.height)).map(|sample| {
        let [prompt, text] = [&sample.prompt, &sample.text].map(|text| printable(text).replace('\n', " "));
        Line::from(vec![format!("{:>6}  ", sample.step).dim(), prompt.bold(), Span::raw(text)])
    });
    let text: Text<'_> = lines.collect();
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn picture(width: u16, height: u16, metrics: &Metrics) -> String {
        let moment = Moment { step: 40, loss: 2.125, speed: 50_123.4, fraction: 0.25, seconds_left: 125.0 };
        let view = View { title: "runs/\x1b[2Ja", moment: &moment, metrics, status: "saved" };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        terminal.backend().to_string()
    }

    fn metrics(extra: &str) -> Metrics {
        let steps = (1..=40).map(|step| {
            format!(
                "{{\"step\":{step},\"loss\":{},\"learning_rate\":0.004,\"grad_norm\":0.75,\"tokens_per_second\":{}}}\n",
                5.0 - f64::from(step) / 20.0,
                50_000 + step
            )
        });
        Metrics::parse(&(steps.collect::<String>() + extra))
    }

    #[test]
    fn all_is_there_on_a_usual_terminal() {
        let picture = picture(
            120,
            36,
            &metrics(
                "{\"step\":20,\"valid_loss\":4.25}\n{\"step\":40,\"valid_loss\":3.5}\n\
                 {\"step\":20,\"prompt\":\"The \",\"sample\":\"old\"}\n\
                 {\"step\":40,\"prompt\":\"The \",\"sample\":\"new\\u001b[31m one\\nline\"}\n",
            ),
        );
        for part in [
            "step 40  loss 2.125  50123 tokens/s  rate 4.00e-3  gradient 0.75  validation 3.5000",
            "25%  2:05 left",
            "loss, nats per token",
            "train",
            "validation",
            "tokens per second",
            "learning rate",
            "gradient's norm",
            "The new\u{241b}[31m one line",
            "runs/\u{241b}[2Ja",
            "finish the step, save, leave",
            "saved",
        ] {
            assert!(picture.contains(part), "{part:?} is missing:\n{picture}");
        }
        assert!(picture.find("The new") < picture.find("The old"), "{picture}");
        assert!(picture.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "no curve:\n{picture}");
        assert!(!picture.contains('\x1b'));
    }

    #[test]
    fn any_size_and_any_metrics_give_a_picture() {
        let odd = "{\"step\":41,\"loss\":null}\n{\"step\":18446744073709551615,\"loss\":1e308}\n\
                   {\"step\":41,\"loss\":-1e308}\n{\"step\":42,\"valid_loss\":null}\n{\"step\":4";
        for metrics in [Metrics::default(), metrics(""), metrics(odd), Metrics::parse(odd)] {
            for (width, height) in [(1, 1), (2, 1), (10, 3), (40, 14), (41, 15), (80, 24), (300, 100)] {
                picture(width, height, &metrics);
            }
        }
        assert!(picture(80, 24, &Metrics::default()).contains("none yet"));
        assert!(picture(30, 8, &metrics("")).contains("step 40"));
    }
}
