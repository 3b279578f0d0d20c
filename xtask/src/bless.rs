//! Writes the golden file anew.

use anyhow::Result;

use crate::golden;

/// Writes the golden file from a run on the host; what changed is for `git diff` to show
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Writes the file.
    pub fn run(&self) -> Result<()> {
        golden::bless(&golden::host()?)
    }
}
