//! A stream of tokens in a file: written once, then mapped, so that it may be larger than memory.
//!
//! Header of 32 bytes, integers little-endian: `THMBTOKS`, version (u32), CRC-32 of the tokenizer (u32), number of tokens
//! (u64), eight zero bytes. Then the tokens, u16 little-endian. One file is one stream: a window of it is a slice, whatever
//! documents it crosses (each begins with [`Token::BOS`](thumbformer::Token::BOS)).

use super::map::Map;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use thumbformer::format::crc32;
use zerocopy::FromBytes;

const MAGIC: &[u8; 8] = b"THMBTOKS";
const VERSION: u32 = 1;
const HEADER: usize = 32;

/// The tokens of a file.
#[derive(Debug)]
pub struct TokenFile(Map);

impl TokenFile {
    /// Maps a file whose tokens the given tokenizer has made.
    pub fn open(path: &Path, tokenizer: &[u8]) -> Result<Self> {
        let map = Map::open(path)?;
        let Some(made_by) = header(&map).with_context(|| path.display().to_string())? else {
            bail!("{}: wrong magic: found {:?}, wanted {MAGIC:?}", path.display(), &map[..map.len().min(8)]);
        };
        let wanted = crc32(tokenizer);
        ensure!(
            made_by == wanted,
            "{}: found tokens of the tokenizer with crc32 {made_by:08x}, wanted {wanted:08x}",
            path.display()
        );
        ensure!(cfg!(target_endian = "little"), "found a big-endian machine, wanted a little-endian one");
        Ok(Self(map))
    }
}

impl Deref for TokenFile {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        <[u16]>::ref_from_bytes(&self.0[HEADER..]).expect("an even number of bytes, mapped at a page")
    }
}

/// Tokens, wherever they are.
#[derive(Debug)]
pub enum Tokens {
    /// In a file.
    Mapped(TokenFile),
    /// In memory.
    Read(Vec<u16>),
}

impl Deref for Tokens {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        match self {
            Self::Mapped(file) => file,
            Self::Read(tokens) => tokens,
        }
    }
}

/// The little-endian u16s of a file, which may have the header or none.
pub fn payload(bytes: &[u8]) -> Result<&[u8]> {
    match header(bytes)? {
        Some(_) => Ok(&bytes[HEADER..]),
        None if bytes.len().is_multiple_of(2) => Ok(bytes),
        None => bail!("found {} bytes, wanted an even number (u16 token ids)", bytes.len()),
    }
}

/// The CRC-32 of the tokenizer, where there is a header; it must be right.
fn header(bytes: &[u8]) -> Result<Option<u32>> {
    if !bytes.starts_with(MAGIC) {
        return Ok(None);
    }
    let found = bytes.len();
    ensure!(found >= HEADER, "header: found {found} bytes, wanted {HEADER}");
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let version = u32_at(8);
    ensure!(version == VERSION, "version of the token file: found {version}, wanted {VERSION}");
    let count = u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32;
    let wanted = count.checked_mul(2).and_then(|len| len.checked_add(HEADER as u64));
    ensure!(
        wanted == Some(found as u64),
        "length: found {found} bytes, wanted those of {count} tokens and a header of {HEADER} bytes"
    );
    Ok(Some(u32_at(12)))
}

/// A token file in the making; nothing stays of one that is dropped before its end.
#[derive(Debug)]
pub struct TokenWriter {
    file: BufWriter<File>,
    path: PathBuf,
    partial: PathBuf,
    tokenizer: u32,
    count: u64,
}

impl TokenWriter {
    /// Begins a file for tokens of the given tokenizer.
    pub fn create(path: &Path, tokenizer: &[u8]) -> Result<Self> {
        let partial = path.with_extension("u16.partial");
        let begin = || {
            let mut file = BufWriter::new(File::create(&partial)?);
            file.write_all(&[0; HEADER])?;
            Ok(file)
        };
        let file = begin().map_err(|error| cannot_write(path, error))?;
        Ok(Self { file, path: path.to_owned(), partial, tokenizer: crc32(tokenizer), count: 0 })
    }

    /// Adds tokens.
    pub fn push(&mut self, tokens: &[u16]) -> Result<()> {
        self.count += tokens.len() as u64;
        // A buffer at a time, as the tokens of a step may be many.
        tokens.chunks(4096).try_for_each(|part| {
            let bytes: Vec<u8> = part.iter().flat_map(|token| token.to_le_bytes()).collect();
            self.file.write_all(&bytes).map_err(|error| cannot_write(&self.path, error))
        })
    }

    /// Tokens so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Writes the header and gives the file its name.
    pub fn finish(mut self) -> Result<()> {
        let mut end = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(MAGIC)?;
            self.file.write_all(&VERSION.to_le_bytes())?;
            self.file.write_all(&self.tokenizer.to_le_bytes())?;
            self.file.write_all(&self.count.to_le_bytes())?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.partial, &self.path)
        };
        end().map_err(|error| cannot_write(&self.path, error))
    }
}

fn cannot_write(path: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("{}: cannot be written", path.display()))
}

impl Drop for TokenWriter {
    fn drop(&mut self) {
        // After the end there is none under this name.
        let _ = fs::remove_file(&self.partial);
    }
}
