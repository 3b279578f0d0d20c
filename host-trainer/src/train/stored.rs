//! What a run folder with tokens of its own has to go on with: such a run needs its text no more.

use super::folder::{MODEL, TRAIN, TRAIN_TARGETS, VALID, VALID_TARGETS};
use crate::checkpoint::{self, Info};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// The tokens of a run, its tokenizer and what it is.
#[derive(Debug)]
pub struct Stored {
    /// Tokens to learn from.
    pub train: Vec<u16>,
    /// Held-out tokens.
    pub valid: Vec<u16>,
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
        if !run_dir.join(TRAIN).exists() {
            return Ok(None);
        }
        let checkpoint::Checkpoint { info, tokenizer, .. } = checkpoint::load(&run_dir.join(MODEL))?;
        let provenance = info.provenance.rsplitn(3, ", ").nth(2).unwrap_or_default().to_owned();
        Ok(Some(Self {
            train: read_tokens(&run_dir.join(TRAIN))?,
            valid: read_tokens(&run_dir.join(VALID))?,
            targets: match run_dir.join(TRAIN_TARGETS).exists() {
                true => {
                    let read = |name| read_tokens(&run_dir.join(name));
                    Some([read(TRAIN_TARGETS)?, read(VALID_TARGETS)?])
                }
                false => None,
            },
            tokenizer,
            info: Info { provenance, ..info },
        }))
    }
}

/// A stream of u16 token ids, little-endian.
pub fn read_tokens(path: &Path) -> Result<Vec<u16>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        bail!("{}: found {} bytes, wanted an even number (u16 token ids)", path.display(), bytes.len());
    }
    Ok(pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect())
}
