//! Text from files and folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The text of a file, or of all files in a folder, and the files that were skipped.
pub fn read(path: &Path) -> Result<(String, Vec<PathBuf>)> {
    ensure!(path.exists(), "{}: no such file or folder", path.display());
    if !path.is_dir() {
        return Ok((decode(path, read_file(path)?)?, Vec::new()));
    }
    let mut files = Vec::new();
    list(path, &mut files)?;
    let (mut text, mut skipped) = (String::new(), Vec::new());
    for file in files {
        let bytes = read_file(&file)?;
        if bytes.contains(&0) {
            skipped.push(file);
            continue;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += &decode(&file, bytes)?;
    }
    Ok((text, skipped))
}

/// All files below a folder, sorted; neither hidden ones nor what links lead to.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("{}", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(context)?.collect();
    let mut entries = entries.with_context(context)?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let kind = entry.file_type().with_context(context)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}", path.display()))
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => bail!("{}: not UTF-8 at byte {}", path.display(), e.utf8_error().valid_up_to()),
    }
}
