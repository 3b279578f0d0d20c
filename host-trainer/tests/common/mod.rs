//! What several test files share.
#![allow(dead_code)]

use host_trainer::model::ModelConfig;
use std::path::{Path, PathBuf};

/// A folder that disappears with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("thumbformer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small Llama-style model.
pub fn tiny_config() -> ModelConfig {
    toml::from_str(
        "dim = 16\nhidden_dim = 48\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\n\
         vocab_size = 32\nseq_len = 24\n",
    )
    .unwrap()
}

/// The folder of reference data, or a line that says why a test does nothing.
pub fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("THUMBFORMER_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is missing (THUMBFORMER_DATA)", path.display());
    None
}

/// Little-endian `u16`s.
pub fn u16s(bytes: &[u8]) -> Vec<u16> {
    let (pairs, []) = bytes.as_chunks() else {
        panic!("an odd number of bytes");
    };
    pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect()
}
