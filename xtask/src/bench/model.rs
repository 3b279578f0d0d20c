//! The model that is measured, packed for each machine, and what the host computes with it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf, absolute},
};

use anyhow::{Context, Result, anyhow};
use app::Meter;
use boards::{Board, PROGRAM_FLASH, PROGRAM_RAM};
use thumbformer::format::Layout;

use crate::{
    cli,
    command::root,
    stories::{self, MISSING},
};

/// Where model files come from.
#[derive(Debug)]
pub enum Source {
    /// A checkpoint, which this command line packs for each machine.
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The command line.
        thumbformer: PathBuf,
    },
    /// A model file, which every machine gets as it is.
    File(PathBuf),
}

impl Source {
    /// What was named; else stories260K where its data are found; else the small model of the repository.
    pub fn choose(named: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            let is_checkpoint = path.extension().is_some_and(|extension| extension == "safetensors");
            return if is_checkpoint { Self::checkpoint(path) } else { Ok(Self::File(path.to_owned())) };
        }
        match stories::import()? {
            // The import leaves the checkpoint beside the model.
            Some(path) => Self::checkpoint(&path.with_extension("safetensors")),
            None => {
                eprintln!("model    the repository's firmware/models/book.safetensors: {MISSING}");
                Self::book()
            }
        }
    }

    /// The small model of the repository.
    pub fn book() -> Result<Self> {
        Self::checkpoint(&root().join("firmware/models/book.safetensors"))
    }

    fn checkpoint(path: &Path) -> Result<Self> {
        Ok(Self::Checkpoint { path: absolute(path)?, thumbformer: cli::build()? })
    }

    /// The name by which figures are kept: the file's.
    pub fn name(&self) -> String {
        let (Self::Checkpoint { path, .. } | Self::File(path)) = self;
        path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The models for these machines; those that need the same packing share one.
    pub fn models(&self, boards: &[&Board]) -> Result<BTreeMap<String, Model>> {
        let mut models = BTreeMap::new();
        for board in boards {
            if !models.contains_key(&board.pack) {
                models.insert(board.pack.clone(), self.model(board)?);
            }
        }
        Ok(models)
    }

    /// The model for a machine.
    pub fn model(&self, board: &Board) -> Result<Model> {
        match self {
            Self::Checkpoint { path: checkpoint, thumbformer } => {
                let folder = root().join("target/bench");
                fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
                let path = folder.join(format!("{}-{}.thumb", self.name(), board.pack));
                cli::export(thumbformer, checkpoint, &board.pack, &path)?;
                Model::read(&path)
            }
            Self::File(path) => Model::read(path),
        }
    }
}

/// A model file.
#[derive(Debug)]
pub struct Model {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub model: thumbformer::Model<'static>,
}

impl Model {
    /// Reads a model file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = aligned(file.len());
        bytes.copy_from_slice(&file);
        let model = thumbformer::Model::from_bytes(bytes)
            .and_then(|model| model.verify().map(|()| model))
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Self { path: absolute(path)?, model })
    }

    /// Whether its matrices lie in tiles.
    pub fn in_tiles(&self) -> bool {
        !self.model.is_packed_as(Layout::Rows)
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

    /// Positions of the context window.
    pub fn seq_len(&self) -> usize {
        self.model.config().seq_len
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

/// Memory that begins where the runtime wants model and workspace. It is never given back; there are two per model.
fn aligned(len: usize) -> &'static mut [u8] {
    let memory = Vec::leak(vec![0; len + 8]);
    let start = memory.as_ptr().align_offset(8);
    &mut memory[start..start + len]
}
