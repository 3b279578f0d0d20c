//! What a run shows on stderr: a dashboard where it is asked for and there is a terminal, plain lines elsewhere.

use super::dashboard::Dashboard;
use super::metrics::{Metrics, Sample};
use crate::chart::printable;
use std::io::{IsTerminal, stderr, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    dashboard: Option<Dashboard>,
    /// What was noted while the dashboard was there; it stays on the terminal when the dashboard has gone.
    notes: Vec<String>,
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
    /// The progress of the run in a folder. A dashboard needs a terminal to show itself and one to read keys from.
    pub fn new(run_dir: &Path, dashboard: bool) -> Self {
        let able = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let wanted = dashboard && able && stderr().is_terminal() && stdin().is_terminal();
        let mut progress = Self { dashboard: None, notes: Vec::new(), last_line: None };
        if wanted {
            match Dashboard::new(&run_dir.display().to_string()) {
                Ok(dashboard) => progress.dashboard = Some(dashboard),
                Err(error) => eprintln!("no dashboard: {error}"),
            }
        }
        progress
    }

    /// Shows a moment; as plain output, one every few seconds.
    pub fn show(&mut self, moment: &Moment, metrics: &Metrics) {
        if let Some(dashboard) = &mut self.dashboard {
            return dashboard.show(moment, metrics);
        }
        if self.last_line.is_none_or(|last| last.elapsed() > BETWEEN_LINES) {
            eprintln!(
                "{:3.0}%  step {}  loss {:.3}  {:.0} tokens/s  ETA {}",
                moment.fraction * 100.0,
                moment.step,
                moment.loss,
                moment.speed,
                clock(moment.seconds_left)
            );
            self.last_line = Some(Instant::now());
        }
    }

    /// Shows a line that stays.
    pub fn note(&mut self, line: String) {
        match &mut self.dashboard {
            Some(dashboard) => {
                dashboard.status(&line);
                self.notes.push(line);
            }
            None => eprintln!("{line}"),
        }
    }

    /// Shows a text that the model wrote; the dashboard has those of the metrics, and the report keeps them.
    pub fn sample(&self, sample: &Sample) {
        if self.dashboard.is_none() {
            let text = printable(&format!("{}{}", sample.prompt, sample.text)).replace('\n', " ");
            eprintln!("step {}  sample: {text}", sample.step);
        }
    }

    /// Gives the terminal back; what was noted stays on it.
    pub fn finish(&mut self) {
        if self.dashboard.take().is_some() {
            self.notes.drain(..).for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Seconds as a clock shows them.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}
