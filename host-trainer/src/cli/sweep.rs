//! `thumbformer sweep`

use super::print;
use crate::checkpoint::write_atomically;
use crate::sweep::{self, Plan, Scheduler};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Write the jobs of many training runs, or collect what came out of them
///
/// The sweep file names what the runs share (config = "base.toml"), the seeds, and under [vary.model], [vary.training] or
/// [vary.data] lists of values: each combination is a run. With points = N that many are drawn at random, also from
/// ranges such as { low = 1e-4, high = 1e-2, log = true }.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The sweep file (TOML)
    #[arg(required = true, value_name = "SWEEP.toml")]
    file: Option<PathBuf>,
    /// Who does the runs
    #[arg(long, value_enum, required = true)]
    jobs: Option<Scheduler>,
    /// The folder of the sweep [default: the name of the file without its ending]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read the metrics of all runs into one table, and draw DIR/sweep.svg
    Collect {
        /// The folder of the sweep
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Args {
    pub fn run(self) -> Result<()> {
        if let Some(Command::Collect { folder, json }) = self.command {
            return collect(&folder, json);
        }
        let (file, jobs) = self.file.zip(self.jobs).context("found neither a sweep file nor a folder")?;
        let plan = Plan::read(&file)?;
        let folder = self.output.unwrap_or_else(|| file.with_extension(""));
        let command = sweep::write(&folder, &plan, jobs)?;
        eprintln!("{} runs in {}; to do them: {command}", plan.points.len(), folder.display());
        eprintln!("then: thumbformer sweep collect {}", folder.display());
        Ok(())
    }
}

fn collect(folder: &std::path::Path, json: bool) -> Result<()> {
    let rows = sweep::collect(folder)?;
    let name = std::path::absolute(folder)?;
    let name = name.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let chart = folder.join("sweep.svg");
    write_atomically(&chart, &[sweep::svg(&format!("Sweep {name}: validation loss"), &rows).as_bytes()])?;
    match json {
        true => print(&serde_json::to_string_pretty(&rows)?)?,
        false => print(sweep::table(&rows).trim_end())?,
    }
    eprintln!("chart     {}", chart.display());
    Ok(())
}
