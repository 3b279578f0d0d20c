//! The golden file: what `story` writes, and the digest of its logits, on the host and on every board.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{command::root, qemu::Report};

const FILE: &str = "firmware/golden/story.txt";

/// What the story is to continue.
pub const PROMPT: &str = "Once upon a time";

/// The file's text for a run.
fn text(output: &[u8], report: &Report) -> String {
    format!(
        "{}\n--\n{} tokens, digest {}\n",
        String::from_utf8_lossy(output).trim_end(),
        report.tokens,
        report.digest
    )
}

/// An error unless the file says the same.
pub fn check(output: &[u8], report: &Report) -> Result<()> {
    let found = text(output, report);
    let expected = fs::read_to_string(root().join(FILE))
        .with_context(|| format!("cannot read {FILE}; `cargo xtask bless` writes it"))?;
    if found != expected {
        bail!("{FILE} says\n{expected}but the board says\n{found}");
    }
    Ok(())
}

/// Makes this the file.
pub fn bless(output: &[u8], report: &Report) -> Result<()> {
    let path = root().join(FILE);
    fs::create_dir_all(path.parent().expect("it has a folder"))?;
    fs::write(&path, text(output, report)).with_context(|| format!("cannot write {FILE}"))
}
