//! The project's own commands.

use std::process::ExitCode;

use clap::Parser;

mod qemu;
mod runner;

/// The project's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    #[command(hide = true)]
    QemuRun(runner::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::QemuRun(args) => args.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
