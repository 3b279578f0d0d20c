//! Writes the small model, the golden file and the tables of docs/format.md anew.

use std::process::Command;

use anyhow::Result;

use crate::{
    cli,
    command::{self, call, cargo},
    golden,
};

/// Exports the small model from its checkpoint, and writes the golden file from a run on the host and the tables of
/// docs/format.md; what changed is for `git diff` to show
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the golden file
    #[arg(long, hide = true)]
    golden: bool,
}

impl Args {
    /// Writes the files.
    pub fn run(&self) -> Result<()> {
        if self.golden {
            return golden::bless(&golden::host()?);
        }
        call(
            cargo(".").args(["test", "--quiet", "--lib", "format::document"]).env("THUMBFORMER_BLESS", "1"),
        )?;
        let models = command::root().join("firmware/models");
        call(
            Command::new(cli::build()?)
                .arg("export")
                .arg(models.join("book.safetensors"))
                .arg("--output")
                .arg(models.join("book.thumb")),
        )?;
        // The model is a part of this program: what has just been written is in the next build of it.
        call(cargo(".").args(["xtask", "bless", "--golden"]))
    }
}
