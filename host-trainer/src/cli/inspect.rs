//! `thumbformer inspect`

use super::{print, read_model};
use crate::inspect::Inspection;
use anyhow::Result;
use std::path::PathBuf;

/// Show what a model file holds, the memory it needs, and the machines that it fits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model file
    model: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let file = read_model(&self.model)?;
        let inspection = Inspection::new(&file.model()?)?;
        print(&if self.json {
            serde_json::to_string(&inspection)?
        } else {
            inspection.to_string().trim_end().to_owned()
        })
    }
}
