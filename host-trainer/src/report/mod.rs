//! `report.html`: a run to look at. One file that needs no other, and no network.
//!
//! Each section is a file here. What cannot be shown is said to be missing, in its section.

mod activations;
mod attention;
mod curves;
mod memory;
mod page;
mod rounding;
mod run;
mod samples;
mod weights;

pub use run::Run;

use crate::checkpoint::{Info, write_atomically};
use crate::model::Model;
use crate::train::{Metrics, TrainConfig};
use anyhow::Result;
use boards::Board;
use page::{Page, note};
use std::path::Path;

/// What a report is made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// The configuration of the run.
    pub config: &'a TrainConfig,
    /// What it has told so far.
    pub metrics: &'a Metrics,
    /// The newest weights and what they are, if there are any yet.
    pub model: Option<(&'a Model, &'a Info)>,
    /// The bytes of the tokenizer, if it has one.
    pub tokenizer: Option<&'a [u8]>,
    /// Tokens that it does not learn from; what attention and activations are shown of.
    pub held_out: &'a [u16],
    /// The machine that the model is for.
    pub board: &'a Board,
}

/// The machine that is meant where none is named.
pub fn default_board() -> &'static Board {
    boards::find(boards::DEFAULT).expect("the default board is one of them")
}

impl Report<'_> {
    /// Writes the page; an existing one is replaced only by a complete one.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &[self.html().as_bytes()])
    }

    /// The page.
    pub fn html(&self) -> String {
        let mut page = Page::new(self);
        page.section("curves", "Training", Ok(curves::section(self.metrics)));
        page.section("samples", "Samples over time", Ok(samples::section(&self.metrics.samples)));
        let of_model = |section: fn(&Self, &Model) -> Result<String>| match self.model {
            Some((model, _)) => section(self, model),
            None => Ok(note("The run has no checkpoint yet.")),
        };
        page.section("attention", "Attention", of_model(attention::section));
        page.section("weights", "Weights", of_model(|_, model| Ok(weights::section(model))));
        page.section("activations", "Activations", of_model(activations::section));
        page.section("rounding", "Quantization error", of_model(|_, model| Ok(rounding::section(model))));
        page.section("memory", "Memory map", of_model(memory::section));
        page.section("configuration", "Configuration", page::configuration(self));
        page.finish()
    }
}
