//! `thumbformer report`

use crate::checkpoint::check_output;
use crate::report::{Run, default_board};
use crate::train::run_files;
use anyhow::Result;
use std::path::PathBuf;

/// Make report.html of a training run: curves, samples, attention, weights, memory
///
/// `train` does this by itself at each checkpoint; here it can be for another machine or in another place.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The page to write [default: RUN/report.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The machine of the memory map, by its name in firmware/boards.toml [default: mps2-an386]
    #[arg(long, value_name = "NAME")]
    board: Option<String>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let board = self.board.as_deref().map(boards::find).transpose()?;
        let run = Run::read(&self.run)?;
        let output = self.output.unwrap_or_else(|| self.run.join("report.html"));
        let inputs = run_files(&self.run);
        check_output(&output, &inputs.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
        run.report(board.unwrap_or_else(default_board)).write(&output)?;
        eprintln!("wrote {}", output.display());
        Ok(())
    }
}
