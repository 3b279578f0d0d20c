//! The model that is measured, and what the host computes with it.

use std::{
    fs,
    path::{Path, PathBuf, absolute},
};

use anyhow::{Context, Result, anyhow};
use app::Meter;
use boards::Board;

use crate::{
    command::root,
    stories::{self, MISSING},
};

/// Flash and RAM that the program takes beside model and workspace, at most.
const PROGRAM_FLASH: u64 = 48 * 1024;
const PROGRAM_RAM: u64 = 6 * 1024;

/// A model file.
#[derive(Debug)]
pub struct Model {
    /// The file.
    pub path: PathBuf,
    /// The name by which figures are kept: the file's.
    pub name: String,
    /// What is in it.
    pub model: thumbformer::Model<'static>,
}

impl Model {
    /// The file that was named; else stories260K where its data are found; else the small model of the repository.
    pub fn choose(named: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            return Self::read(path);
        }
        match stories::import()? {
            Some(path) => Self::read(&path),
            None => {
                eprintln!("model    the repository's firmware/models/book.thumb: {MISSING}");
                Self::read(&book())
            }
        }
    }

    /// Reads a model file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = aligned(file.len());
        bytes.copy_from_slice(&file);
        let model = thumbformer::Model::from_bytes(bytes)
            .and_then(|model| model.verify().map(|()| model))
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { path: absolute(path)?, name, model })
    }

    /// Why a machine has no room for it, if that is so.
    pub fn obstacle(&self, board: &Board) -> Option<String> {
        let flash = self.model.file().len() as u64 + PROGRAM_FLASH;
        let ram = self.model.workspace_len() as u64 + PROGRAM_RAM;
        [("flash", flash, board.flash.len()), ("RAM", ram, board.ram.len())]
            .into_iter()
            .find(|(_, needed, there)| needed > there)
            .map(|(memory, needed, there)| format!("it takes {needed} bytes of {memory}, there are {there}"))
    }

    /// The digest of the logits when the host does what the firmware does.
    pub fn digest(&self, tokens: u32) -> Result<String> {
        /// The host counts nothing.
        struct Nothing;

        impl Meter for Nothing {
            fn measure<T>(&mut self, work: impl FnOnce() -> T) -> (T, u64) {
                (work(), 0)
            }
        }

        let workspace = aligned(self.model.workspace_len());
        Ok(app::bench(&self.model, workspace, tokens, &mut Nothing, |_| ())?.to_string())
    }
}

/// The small model of the repository.
pub fn book() -> PathBuf {
    root().join("firmware/models/book.thumb")
}

/// Memory that begins where the runtime wants model and workspace. It is never given back; there are two per run.
fn aligned(len: usize) -> &'static mut [u8] {
    let memory = Vec::leak(vec![0; len + 8]);
    let start = memory.as_ptr().align_offset(8);
    &mut memory[start..start + len]
}
