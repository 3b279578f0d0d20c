//! What has to hold before a change is merged: formatting, lints, documentation, tests.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    command::{call, cargo},
    firmware, setup, test,
};

/// Checks formatting, lints and documentation, then runs every test
#[derive(Debug, clap::Args)]
pub struct Args {}

const DENY: [&str; 3] = ["--", "-D", "warnings"];

impl Args {
    /// Stops at the first thing that is wrong.
    pub fn run(&self) -> Result<ExitCode> {
        setup::run()?;
        for folder in [".", "firmware"] {
            call(cargo(folder).args(["fmt", "--all", "--check"]))?;
        }
        let clippy = ["clippy", "--workspace", "--all-targets"];
        call(cargo(".").args(clippy).args(DENY))?;
        for board in boards::all() {
            call(firmware::cargo(board, "clippy").arg("--workspace").args(DENY))?;
        }
        for folder in [".", "firmware"] {
            call(
                cargo(folder)
                    .args(["doc", "--no-deps", "--workspace", "--document-private-items"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )?;
        }
        test::Args::default().run()
    }
}
