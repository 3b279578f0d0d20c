//! What a run shows on stderr: a bar on a terminal, a plain line now and then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

const TICKS: u64 = 1000;
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

/// A moment of a run.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Steps done.
    pub step: u64,
    /// Smoothed loss in nats per token.
    pub loss: f64,
    /// Tokens per second.
    pub speed: f64,
    /// Fraction of the budget that is used.
    pub fraction: f64,
    /// Seconds that the rest should take.
    pub seconds_left: f64,
}

impl Progress {
    /// Looks at stderr to decide how to show it.
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(TICKS), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
            bar.set_style(style.expect("a valid template"));
            bar
        });
        Self { bar, last_line: None }
    }

    /// Shows a moment, or on plain output one every few seconds.
    pub fn show(&mut self, moment: Moment) {
        let left = moment.seconds_left.round() as u64;
        let text = format!(
            "step {}  loss {:.3}  {:.0} tokens/s  ETA {}:{:02}",
            moment.step,
            moment.loss,
            moment.speed,
            left / 60,
            left % 60
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position((moment.fraction * TICKS as f64) as u64);
                bar.set_message(text);
            }
            None if self.last_line.is_none_or(|last| last.elapsed() > BETWEEN_LINES) => {
                eprintln!("{:3.0}%  {text}", moment.fraction * 100.0);
                self.last_line = Some(Instant::now());
            }
            None => {}
        }
    }

    /// Shows a line that stays.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Leaves the bar as it is.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
