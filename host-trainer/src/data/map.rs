//! Files as slices of bytes, without reading them whole.

use anyhow::{Context, Result};
use memmap2::Mmap;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

/// A file that the operating system brings into memory as it is used, and out again.
#[derive(Debug)]
pub struct Map(Mmap);

impl Map {
    /// Maps a file that is there and not empty.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        // SAFETY: the mapping is read-only. Should another program write to the file meanwhile, values change under our
        // eyes; all who use a map copy text before they check it, and take any u16 for a token to be checked. Files of
        // our own are replaced by renaming, never written to again. A file that shrinks ends the process by a signal.
        let map = unsafe { Mmap::map(&file) };
        Ok(Self(map.with_context(|| format!("{}: cannot be mapped", path.display()))?))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
