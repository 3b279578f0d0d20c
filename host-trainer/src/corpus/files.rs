//! Files and folders of text.

use super::Bytes;
use crate::data::Map;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Smaller files are read: there may be more of them than an operating system likes to map.
const SMALLEST_MAPPED: u64 = 1 << 20;

/// What stands at the beginning of some UTF-8 files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Files of text.
#[derive(Default)]
pub struct Files {
    /// Each with where its text begins, behind a byte order mark.
    pub texts: Vec<(PathBuf, Bytes, usize)>,
    /// Files of folders that are not text.
    pub skipped: Vec<PathBuf>,
}

impl Files {
    /// Adds a file, or all files in a folder.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        ensure!(path.exists(), "{}: no such file or folder", path.display());
        let mut files = Vec::new();
        match path.is_dir() {
            true => list(path, &mut files)?,
            false => files.push(path.to_owned()),
        }
        for file in files {
            let bytes = read(&file)?;
            if path.is_dir() && bytes.contains(&0) {
                self.skipped.push(file);
                continue;
            }
            check(&file, &bytes)?;
            let start = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            self.texts.push((file, bytes, start));
        }
        Ok(())
    }
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

fn read(path: &Path) -> Result<Bytes> {
    let context = || format!("{}", path.display());
    match std::fs::metadata(path).with_context(context)?.len() {
        ..SMALLEST_MAPPED => Ok(Bytes::Read(std::fs::read(path).with_context(context)?)),
        _ => Ok(Bytes::Mapped(Map::open(path)?)),
    }
}

fn check(path: &Path, bytes: &[u8]) -> Result<()> {
    let Err(error) = std::str::from_utf8(bytes) else { return Ok(()) };
    let at = error.valid_up_to();
    let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    let why = match error.error_len() {
        None => " where the file ends within a character",
        Some(_) if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => "; it may be UTF-16",
        Some(_) => "",
    };
    bail!("{}: not UTF-8 at byte {at} (line {line}): found {:#04x}{why}", path.display(), bytes[at])
}
