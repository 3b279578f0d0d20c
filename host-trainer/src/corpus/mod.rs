//! Text to train on: The Rust Programming Language from rust-docs, or any UTF-8 files and folders, as documents.

mod book;
mod documents;
mod files;
mod fingerprint;
mod html;
mod split;

pub use documents::{Documents, END_OF_TEXT};
pub use split::{Parts, Split};

use crate::data::Map;
use anyhow::{Context, Result, ensure};
use files::Files;
use std::collections::HashSet;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use thumbformer::format::crc32;

/// Documents and where they come from. Large files are mapped, not read.
#[derive(Debug)]
pub struct Corpus {
    sources: Vec<Source>,
    documents: Vec<Document>,
    /// Where the text comes from.
    pub provenance: Provenance,
    /// What was found on the way.
    pub findings: Findings,
}

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Provenance {
    /// Its title, or the name of its file or folder.
    pub name: String,
    /// Its licence as an SPDX expression, where it is known.
    pub licence: Option<String>,
    /// CRC-32 (IEEE) of the text; of several documents, that of their CRCs.
    pub crc32: u32,
    /// Length of the text in bytes.
    pub bytes: usize,
}

/// What reading a corpus has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Findings {
    /// Files of text.
    pub files: usize,
    /// Files of a folder that were left out, as they are not text.
    pub skipped: Vec<PathBuf>,
    /// Files that begin with a byte order mark, which is left out.
    pub byte_order_marks: usize,
    /// Files with lines that end in CR LF, which are read as LF.
    pub cr_lf: usize,
    /// Documents without anything but white space, which are left out.
    pub empty: usize,
    /// Documents that say what one before them says, but for white space.
    pub duplicates: usize,
    /// Their bytes.
    pub duplicate_bytes: usize,
    /// Whether the duplicates were left out.
    pub deduplicated: bool,
}

/// What a file holds.
#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(Map),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    bytes: Bytes,
}

#[derive(Debug)]
struct Document {
    source: usize,
    range: Range<usize>,
    fingerprint: [u64; 2],
}

/// A document or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    source: usize,
    range: Range<usize>,
}

impl Piece {
    /// Its bytes in the file.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// A part of it.
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.end <= self.len(), "a part of {} bytes", self.len());
        Self { source: self.source, range: self.range.start + range.start..self.range.start + range.end }
    }
}

impl Corpus {
    /// The Rust Programming Language as plain text, chapters in the order of its table of contents: one document.
    ///
    /// Asks rustup where the documentation is, and installs the component rust-docs where it is missing.
    ///
    /// # Errors
    ///
    /// There is no rust-docs, it cannot be installed, or the book is not of the form expected.
    pub fn rust_book() -> Result<Self> {
        let folder = book::locate()?;
        let texts = vec![(folder.clone(), Bytes::Read(book::read(&folder)?.into_bytes()), 0)];
        let name = "The Rust Programming Language".to_owned();
        let files = Files { texts, ..Files::default() };
        let mut corpus = Self::new(name, files, &Documents::File, false)?;
        corpus.provenance.licence = Some("MIT OR Apache-2.0".into());
        Ok(corpus)
    }

    /// UTF-8 files, or all those of folders and the folders in them, in the order of their paths. Hidden files are left
    /// out. So are files of a folder with a zero byte, which are not text: see [`Findings::skipped`].
    ///
    /// # Errors
    ///
    /// A path does not exist, cannot be read, is not UTF-8 (the message tells file, byte and line), or holds no text.
    pub fn open(paths: &[PathBuf], rule: &Documents, deduplicate: bool) -> Result<Self> {
        let mut files = Files::default();
        paths.iter().try_for_each(|path| files.add(path))?;
        let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let name = match names.len() {
            ..=3 => names.join(", "),
            count => format!("{}, {} and {} more", names[0], names[1], count - 2),
        };
        Self::new(name, files, rule, deduplicate).with_context(|| shown.join(", "))
    }

    fn new(name: String, files: Files, rule: &Documents, deduplicate: bool) -> Result<Self> {
        let mut findings = Findings {
            files: files.texts.len(),
            skipped: files.skipped,
            deduplicated: deduplicate,
            ..Findings::default()
        };
        let (mut sources, mut documents) = (Vec::new(), Vec::new());
        let (mut seen, mut crcs, mut separated) = (HashSet::new(), Vec::new(), false);
        for (path, bytes, start) in files.texts {
            findings.byte_order_marks += usize::from(start > 0);
            findings.cr_lf += usize::from(has_cr_lf(&bytes));
            separated |= rule.occurs_in(&bytes[start..]);
            for range in rule.ranges(&bytes[start..]) {
                let range = start + range.start..start + range.end;
                let text = &bytes[range.clone()];
                if text.trim_ascii().is_empty() {
                    findings.empty += 1;
                    continue;
                }
                let fingerprint = fingerprint::fingerprint(text);
                if !seen.insert(fingerprint) {
                    findings.duplicates += 1;
                    findings.duplicate_bytes += range.len();
                    if deduplicate {
                        continue;
                    }
                }
                crcs.push(crc32(text));
                documents.push(Document { source: sources.len(), range, fingerprint });
            }
            sources.push(Source { path, bytes });
        }
        ensure!(!documents.is_empty(), "the corpus is empty");
        ensure!(
            separated,
            "no document ends: found the separator {:?} nowhere; auto, file, lines and blank-lines are the other rules",
            String::from(rule.clone())
        );
        let provenance = Provenance {
            name,
            licence: None,
            crc32: match crcs[..] {
                [one] => one,
                _ => crc32(&crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect::<Vec<u8>>()),
            },
            bytes: documents.iter().map(|document: &Document| document.range.len()).sum(),
        };
        Ok(Self { sources, documents, provenance, findings })
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// A document as a whole.
    pub fn whole(&self, document: usize) -> Piece {
        let Document { source, range, .. } = &self.documents[document];
        Piece { source: *source, range: range.clone() }
    }

    /// A hash that equal documents share, of whatever corpus.
    fn fingerprint(&self, document: usize) -> [u64; 2] {
        self.documents[document].fingerprint
    }

    /// The file of a piece.
    pub fn path(&self, piece: &Piece) -> &Path {
        &self.sources[piece.source].path
    }

    /// The bytes of a piece as they stand in the file.
    pub fn raw(&self, piece: &Piece) -> &[u8] {
        &self.sources[piece.source].bytes[piece.range.clone()]
    }

    /// The text of a piece, its lines ending in LF.
    ///
    /// # Errors
    ///
    /// The file has changed and is no longer UTF-8, or the piece ends within a character.
    pub fn text(&self, piece: &Piece) -> Result<String> {
        let text = String::from_utf8(self.raw(piece).to_vec()).with_context(|| {
            format!("{}: not UTF-8 any more from byte {}", self.path(piece).display(), piece.range.start)
        })?;
        Ok(if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text })
    }

    /// A piece in portions of about `len` bytes, each up to where `cut` finds an end from a place on, and not beside a
    /// carriage return, which may go away.
    pub fn portions(&self, piece: &Piece, len: usize, cut: impl Fn(&[u8], usize) -> usize) -> Vec<Piece> {
        let text = self.raw(piece);
        let end_of = |start: usize| {
            let mut at = start.saturating_add(len);
            while at < text.len() {
                at = cut(text, at);
                if at == text.len() || text[at - 1] != b'\r' && text[at] != b'\r' {
                    return at;
                }
                at += 1;
            }
            text.len()
        };
        let (mut portions, mut start) = (Vec::new(), 0);
        while start < text.len() {
            let end = end_of(start);
            portions.push(piece.part(start..end));
            start = end;
        }
        portions
    }
}

fn has_cr_lf(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\r\n")
}

/// The name of a file or folder.
fn name(path: &Path) -> String {
    let name = path.canonicalize().ok().and_then(|full| full.file_name().map(ToOwned::to_owned));
    name.unwrap_or_else(|| path.as_os_str().to_owned()).to_string_lossy().into_owned()
}
