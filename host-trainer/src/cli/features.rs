//! `thumbformer features`: recordings to what a front end makes of them.

use super::print;
use crate::audio::Name;
use crate::data::windows::ending;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Compute the features of recordings with the front end that devices use
///
/// Of a WAV file (16-bit PCM, one channel) they are an array [rows, columns]; of a folder, whose files must have the same
/// number of rows, [files, rows, columns], in the order of the files' names.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A WAV file, or a folder of them
    path: PathBuf,
    /// The front end
    #[arg(long, value_enum)]
    spec: Name,
    /// The file to write, NumPy's .npy with f32
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Args {
    /// Reads, computes and writes.
    pub fn run(self) -> Result<()> {
        let columns = self.spec.spec().columns();
        let folder = self.path.is_dir();
        let paths = if folder { recordings(&self.path)? } else { vec![self.path.clone()] };
        let mut all = Vec::new();
        let mut size = None;
        for path in &paths {
            let features = self.spec.file(path)?;
            let (rows, wanted) = (features.len() / columns, *size.get_or_insert(features.len()) / columns);
            ensure!(rows == wanted, "{}: found {rows} rows, wanted {wanted} as before", path.display());
            all.extend(features);
        }
        let rows = size.unwrap_or_default() / columns;
        let shape =
            if folder { format!("{}, {rows}, {columns}", paths.len()) } else { format!("{rows}, {columns}") };
        let mut bytes = header(&shape);
        bytes.extend(all.iter().flat_map(|value| value.to_le_bytes()));
        std::fs::write(&self.out, bytes).with_context(|| format!("cannot write {}", self.out.display()))?;
        print(&format!("{}: [{shape}]", self.out.display()))
    }
}

/// The WAV files of a folder, by name.
fn recordings(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = || folder.display().to_string();
    let entries = std::fs::read_dir(folder).with_context(name)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| path.as_ref().map_or(true, |path| ending(path) == "wav"))
        .collect::<Result<Vec<_>, _>>()
        .with_context(name)?;
    ensure!(!paths.is_empty(), "{}: found no .wav file, wanted one at least", folder.display());
    paths.sort();
    Ok(paths)
}

/// What precedes the values of a `.npy` file (NEP 1), padded to 64 bytes.
fn header(shape: &str) -> Vec<u8> {
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let len = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text = format!("{text:<width$}\n", width = len - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes
}
