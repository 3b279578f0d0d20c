//! The golden file: what `story` writes, and the digest of its logits, on the host and on every board.

use std::fs;

use anyhow::{Context, Result, bail};
use thumbformer::{Sampler, Workspace, include_model};

use crate::command::root;

const FILE: &str = "firmware/golden/story.txt";

include_model! { static MODEL = "../../firmware/models/book.thumb"; }

/// What the story is to continue.
pub const PROMPT: &str = "Once upon a time";
/// As many tokens as the firmware writes.
const MAX_TOKENS: u32 = 64;

/// The file's text for a run.
pub fn text(output: &[u8], tokens: u32, digest: &str) -> String {
    let output = String::from_utf8_lossy(output);
    format!("{}\n--\n{tokens} tokens, digest {digest}\n", output.trim_end())
}

/// The file's text for a run on the host.
pub fn host() -> Result<String> {
    let mut workspace = Workspace::<{ MODEL.workspace_len() }>::new();
    let mut output = Vec::new();
    let report = app::story(
        PROMPT.as_bytes(),
        &mut output,
        &MODEL,
        workspace.as_mut(),
        &mut Sampler::greedy(),
        MAX_TOKENS,
        || 0,
    )?;
    Ok(text(&output, report.tokens, &report.digest.to_string()))
}

/// An error unless the file says the same.
pub fn check(found: &str) -> Result<()> {
    let expected = fs::read_to_string(root().join(FILE))
        .with_context(|| format!("cannot read {FILE}; `cargo xtask bless` writes it"))?;
    if found != expected {
        bail!("{FILE} says\n{expected}but here it is\n{found}");
    }
    Ok(())
}

/// What the file says is written.
pub fn written() -> Result<String> {
    let text = fs::read_to_string(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    Ok(text.split("\n--\n").next().unwrap_or_default().to_owned())
}

/// Makes this the file.
pub fn bless(text: &str) -> Result<()> {
    let path = root().join(FILE);
    fs::create_dir_all(path.parent().expect("it has a folder"))?;
    fs::write(&path, text).with_context(|| format!("cannot write {FILE}"))
}
