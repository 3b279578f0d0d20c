//! What a run folder with tokens of its own has to go on with: such a run needs its text no more.

use super::folder::{MODEL, TOKENS};
use crate::checkpoint::{self, Info};
use crate::data::{TokenFile, payload};
use crate::prepare::{TRAIN, VALID};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The tokens of a run, its tokenizer and what it is.
#[derive(Debug)]
pub struct Stored {
    /// Tokens to learn from.
    pub train: TokenFile,
    /// Held-out tokens.
    pub valid: TokenFile,
    /// The bytes of the tokenizer.
    pub tokenizer: Option<Vec<u8>>,
    /// What it is, without the number of steps.
    pub info: Info,
}

impl Stored {
    /// Reads them; nothing where the folder has no tokens to learn from.
    pub fn read(run_dir: &Path) -> Result<Option<Self>> {
        let tokens = run_dir.join(TOKENS);
        if !tokens.exists() {
            return Ok(None);
        }
        let checkpoint::Checkpoint { info, tokenizer, .. } = checkpoint::load(&run_dir.join(MODEL))?;
        let provenance = info.provenance.rsplitn(3, ", ").nth(2).unwrap_or_default().to_owned();
        let made_by = tokenizer.as_deref().unwrap_or_default();
        Ok(Some(Self {
            train: TokenFile::open(&tokens.join(TRAIN), made_by)?,
            valid: TokenFile::open(&tokens.join(VALID), made_by)?,
            tokenizer,
            info: Info { provenance, ..info },
        }))
    }
}

/// A stream of u16 token ids, little-endian, with the header of the run's own streams or without.
pub fn read_tokens(path: &Path) -> Result<Vec<u16>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs = payload(&bytes).with_context(|| path.display().to_string())?.as_chunks::<2>().0;
    Ok(pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect())
}
