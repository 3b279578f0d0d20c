//! The command line `thumbformer`, called by the project's own commands.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

/// Builds the command line and returns its path.
pub fn build() -> Result<PathBuf> {
    eprintln!("build    thumbformer (a minute or two where it was never built)");
    command::executable(&command::output(command::cargo(".").args([
        "build",
        "--release",
        "--package",
        "host-trainer",
        "--message-format",
        "json-render-diagnostics",
    ]))?)
    .context("cargo built no thumbformer")
}

/// What `thumbformer run --json` prints.
#[derive(Debug, Deserialize)]
pub struct Written {
    /// The prompt and what follows.
    pub text: String,
    /// Tokens written.
    pub tokens: Vec<u16>,
    /// The digest of the logits that each token was chosen by.
    pub digest: String,
}

impl Written {
    /// Calls `thumbformer run .. --json`.
    pub fn of(run: &mut Command) -> Result<Self> {
        Ok(serde_json::from_str(&command::output(run)?)?)
    }
}

/// Imports a llama2.c checkpoint.
pub fn import_llama2c(thumbformer: &Path, checkpoint: &Path, tokenizer: &Path, output: &Path) -> Result<()> {
    let mut import = Command::new(thumbformer);
    import
        .args(["import", "llama2c"])
        .arg(checkpoint)
        .arg("--tokenizer")
        .arg(tokenizer)
        .arg("-o")
        .arg(output);
    command::call(&mut import)
}

/// Exports a checkpoint, packed for a core.
pub fn export(thumbformer: &Path, checkpoint: &Path, target: &str, output: &Path) -> Result<()> {
    let mut export = Command::new(thumbformer);
    export.arg("export").arg(checkpoint).args(["--target", target, "-o"]).arg(output);
    command::call(&mut export)
}
