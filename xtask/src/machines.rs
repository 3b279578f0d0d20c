//! The table of machines in the README: what the story takes on each.

use anyhow::{Result, ensure};

use crate::{
    firmware, golden, qemu,
    size::{Size, thousands},
};

/// Runs the story on every board and prints the README's table of machines
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Prints the table.
    pub fn run(&self) -> Result<()> {
        println!("| machine (QEMU) | core | kernels | prefill | decode | stack | flash |");
        println!("|---|---|---|---|---|---|---|");
        for board in boards::all() {
            let elf = firmware::build(board, "story", &[])?;
            let line = format!("{}\n", golden::PROMPT);
            let run = qemu::capture(board, &elf, line.as_bytes(), qemu::TIME_LIMIT)?;
            ensure!(run.exit_code == 0, "{}: exit code {}", board.name, run.exit_code);
            let report = run.report()?;
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                board.name,
                board.core,
                report.kernel,
                thousands(report.prefill.into()),
                thousands(report.decode.into()),
                thousands(report.stack.into()),
                thousands(Size::of(&elf)?.flash)
            );
        }
        Ok(())
    }
}
