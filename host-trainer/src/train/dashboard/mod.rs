//! A run on a terminal of its own: curves, speed, samples, and keys.

mod screen;
mod view;

pub use screen::restore;

use super::metrics::Metrics;
use super::progress::Moment;
use screen::Screen;
use std::time::{Duration, Instant};
use view::{View, draw};

/// Between two pictures: a terminal far away shall not hold up the run.
const BETWEEN: Duration = Duration::from_millis(200);

/// The dashboard of a run. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub struct Dashboard {
    screen: Screen,
    title: String,
    shown: Option<Instant>,
    status: String,
}

impl Dashboard {
    /// Takes the terminal.
    pub fn new(title: &str) -> std::io::Result<Self> {
        Ok(Self { screen: Screen::enter()?, title: title.to_owned(), shown: None, status: String::new() })
    }

    /// Shows a moment, unless another was shown just before; a terminal that has gone away is no reason to stop.
    pub fn show(&mut self, moment: &Moment, metrics: &Metrics) {
        if self.shown.is_some_and(|shown| shown.elapsed() < BETWEEN) {
            return;
        }
        let view = View { title: &self.title, moment, metrics, status: &self.status };
        self.screen.draw(|frame| draw(frame, &view));
        self.shown = Some(Instant::now());
    }

    /// What is being done, from the next picture on.
    pub fn status(&mut self, text: &str) {
        text.clone_into(&mut self.status);
        self.shown = None;
    }
}
