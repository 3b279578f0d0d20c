//! What a run folder with tokens of its own has to go on with: such a run needs its text no more.

use super::folder::{MODEL, TOKENS, TRAIN, TRAIN_TARGETS, VALID, VALID_TARGETS};
use crate::checkpoint::{self, Info};
use crate::data::{TokenFile, Tokens, payload};
use crate::prepare;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The tokens of a run, its tokenizer and what it is.
#[derive(Debug)]
pub struct Stored {
    /// Tokens to learn from.
    pub train: Tokens,
    /// Held-out tokens.
    pub valid: Tokens,
    /// Targets to learn and held-out ones, if they are not the tokens that follow.
    pub targets: Option<[Vec<u16>; 2]>,
    /// The bytes of the tokenizer.
    pub tokenizer: Option<Vec<u8>>,
    /// What it is, without the number of steps.
    pub info: Info,
}

impl Stored {
    /// Reads them; nothing where the folder has no tokens to learn from.
    pub fn read(run_dir: &Path) -> Result<Option<Self>> {
        let streams = run_dir.join(TOKENS);
        let rows = run_dir.join(TRAIN).exists();
        // An end between the first state and the first model leaves no tokenizer to know the tokens by.
        if !streams.exists() && !rows || !run_dir.join(MODEL).exists() {
            return Ok(None);
        }
        let checkpoint::Checkpoint { info, tokenizer, .. } = checkpoint::load(&run_dir.join(MODEL))?;
        let provenance = info.provenance.rsplitn(3, ", ").nth(2).unwrap_or_default().to_owned();
        let made_by = tokenizer.as_deref().unwrap_or_default();
        let mapped = |name| TokenFile::open(&streams.join(name), made_by).map(Tokens::Mapped);
        let read = |name| read_tokens(&run_dir.join(name));
        let (train, valid) = match rows {
            true => (Tokens::Read(read(TRAIN)?), Tokens::Read(read(VALID)?)),
            false => (mapped(prepare::TRAIN)?, mapped(prepare::VALID)?),
        };
        let targets = match run_dir.join(TRAIN_TARGETS).exists() {
            true => Some([read(TRAIN_TARGETS)?, read(VALID_TARGETS)?]),
            false => None,
        };
        Ok(Some(Self { train, valid, targets, tokenizer, info: Info { provenance, ..info } }))
    }
}

/// A stream of u16 token ids, little-endian, with the header of the run's own streams or without.
pub fn read_tokens(path: &Path) -> Result<Vec<u16>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs = payload(&bytes).with_context(|| path.display().to_string())?.as_chunks::<2>().0;
    Ok(pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect())
}
