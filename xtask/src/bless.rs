//! Writes the golden file and the tables of docs/format.md anew.

use anyhow::Result;

use crate::{
    command::{call, cargo},
    golden,
};

/// Writes the golden file from a run on the host, and the tables of docs/format.md; what changed is for `git diff` to show
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Writes the files.
    pub fn run(&self) -> Result<()> {
        call(
            cargo(".").args(["test", "--quiet", "--lib", "format::document"]).env("THUMBFORMER_BLESS", "1"),
        )?;
        golden::bless(&golden::host()?)
    }
}
