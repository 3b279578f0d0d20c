//! Writes the golden file anew.

use anyhow::Result;

use crate::{firmware, golden, qemu};

/// Writes the golden file from a run on the default board
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Writes the file. What changed is for `git diff` to show and for the author to explain.
    pub fn run(&self) -> Result<()> {
        let board = boards::find(boards::DEFAULT)?;
        let elf = firmware::build(board, "story", &[])?;
        let input = format!("{}\n", golden::PROMPT);
        let run = qemu::capture(board, &elf, input.as_bytes(), qemu::TIME_LIMIT)?;
        golden::bless(&run.output, &run.report()?)
    }
}
