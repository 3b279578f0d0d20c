//! The project's own commands.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

mod bench;
mod bless;
mod certify;
mod ci;
mod cli;
mod command;
mod demo;
mod firmware;
mod float;
mod golden;
mod machines;
mod qemu;
mod readme;
mod runner;
mod setup;
mod size;
mod stories;
mod test;
mod training;

/// The project's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Installs what the other commands need: Rust's targets, and QEMU
    Setup,
    Demo(demo::Args),
    Test(test::Args),
    Bless(bless::Args),
    Size(size::Args),
    Bench(bench::Args),
    BenchTraining(training::Args),
    Machines(machines::Args),
    Certify(certify::Args),
    Ci(ci::Args),
    #[command(hide = true)]
    QemuRun(runner::Args),
}

impl Command {
    fn run(&self) -> Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self {
            Self::Setup => setup::run().map(done),
            Self::Demo(args) => args.run(),
            Self::Test(args) => args.run(),
            Self::Bless(args) => args.run().map(done),
            Self::Size(args) => args.run().map(done),
            Self::Bench(args) => args.run(),
            Self::BenchTraining(args) => args.run(),
            Self::Machines(args) => args.run().map(done),
            Self::Certify(args) => args.run(),
            Self::Ci(args) => args.run(),
            Self::QemuRun(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    Command::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
