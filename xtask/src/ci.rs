//! What has to hold before a change is merged: formatting, lints, documentation, tests.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    certify,
    command::{call, cargo, succeeds},
    firmware, setup, test,
};

/// Checks formatting, lints, documentation, licences and the certificate, then runs every test
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
        licences()?;
        let certified = certify::Args::default().run()?;
        if certified != ExitCode::SUCCESS {
            return Ok(certified);
        }
        test::Args::default().run()
    }
}

/// Licences and sources of everything that we depend on, by cargo-deny where it is installed.
fn licences() -> Result<()> {
    if !succeeds(cargo(".").args(["deny", "--version"])) {
        eprintln!("skipped: cargo-deny is not installed, so licences and sources are not checked");
        return Ok(());
    }
    for folder in [".", "firmware"] {
        call(cargo(folder).args(["deny", "check", "bans", "licenses", "sources"]))?;
    }
    Ok(())
}
