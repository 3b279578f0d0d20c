//! Text to train on: The Rust Programming Language from rust-docs, or any UTF-8 file or folder.

mod book;
mod files;
mod html;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// A text and where it comes from.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The text.
    pub text: String,
    /// Where it comes from.
    pub provenance: Provenance,
    /// Files of a folder that were left out, as they are not text.
    pub skipped: Vec<PathBuf>,
}

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Provenance {
    /// Its title, or the name of its file or folder.
    pub name: String,
    /// Its licence as an SPDX expression, where it is known.
    pub licence: Option<String>,
    /// CRC-32 (IEEE) of the text.
    pub crc32: u32,
    /// Length of the text in bytes.
    pub bytes: usize,
}

impl Corpus {
    /// The Rust Programming Language as plain text, chapters in the order of its table of contents.
    ///
    /// Asks rustup where the documentation is, and installs the component rust-docs where it is missing.
    ///
    /// # Errors
    ///
    /// There is no rustup, the component cannot be installed, or the book is not of the form expected.
    pub fn rust_book() -> Result<Self> {
        let text = book::read(&book::locate()?)?;
        Self::new("The Rust Programming Language", Some("MIT OR Apache-2.0"), text, Vec::new())
    }

    /// A UTF-8 file, or all those of a folder and the folders in it, in the order of their paths. Hidden
    /// files are left out. So are files of a folder with a zero byte, which are not text: see
    /// [`Corpus::skipped`].
    ///
    /// # Errors
    ///
    /// The path does not exist, cannot be read, is not UTF-8 (the message tells file and byte), or holds no
    /// text.
    pub fn from_path(path: &Path) -> Result<Self> {
        let (text, skipped) = files::read(path)?;
        let name = path.canonicalize().ok().and_then(|full| full.file_name().map(ToOwned::to_owned));
        let name = name.unwrap_or_else(|| path.as_os_str().to_owned());
        Self::new(&name.to_string_lossy(), None, text, skipped)
            .map_err(|e| e.context(path.display().to_string()))
    }

    fn new(name: &str, licence: Option<&str>, text: String, skipped: Vec<PathBuf>) -> Result<Self> {
        ensure!(!text.trim().is_empty(), "the corpus is empty");
        let provenance = Provenance {
            name: name.to_owned(),
            licence: licence.map(ToOwned::to_owned),
            crc32: thumbformer::format::crc32(text.as_bytes()),
            bytes: text.len(),
        };
        Ok(Corpus { text, provenance, skipped })
    }
}
