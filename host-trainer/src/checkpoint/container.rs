//! Whole safetensors files, written at once and read with errors that say what is missing.
//!
//! The header is written here and not by the `safetensors` crate, whose metadata comes out in a
//! random order: the same run must give the same bytes.

use anyhow::{Context, Result, anyhow, ensure};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A tensor to write.
pub struct Entry<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub data: Data<'a>,
}

/// Its values.
pub enum Data<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
}

/// Writes tensors, in the given order, and metadata; all of the file or nothing.
pub fn write(path: &Path, entries: &[Entry<'_>], metadata: BTreeMap<&str, String>) -> Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut end = 0;
    for entry in entries {
        let (dtype, len) = match entry.data {
            Data::F32(values) => ("F32", size_of_val(values)),
            Data::U8(values) => ("U8", values.len()),
        };
        let offsets = [end, end + len];
        end += len;
        let info = json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": offsets });
        header.insert(entry.name.into(), info);
    }
    let mut header = serde_json::to_string(&header)?.into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    replace(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        entries.iter().try_for_each(|entry| match entry.data {
            // A buffer at a time: a second copy of the model would be the run's peak of memory.
            Data::F32(values) => values.chunks(4096).try_for_each(|values| {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                file.write_all(&bytes)
            }),
            Data::U8(values) => file.write_all(values),
        })
    })
}

/// Replaces a file by new contents; whoever reads it finds the old or the new, never a part.
pub fn write_atomically(path: &Path, parts: &[&[u8]]) -> Result<()> {
    replace(path, |file| parts.iter().try_for_each(|part| file.write_all(part)))
}

fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let partial = partial(path);
    let write = || {
        let mut file = File::create(&partial)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&partial)))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

/// Refuses a path that [`write_atomically`] could not write to, or that is one of the inputs, before the work that
/// leads to it. Nothing stays behind.
pub fn check_output(path: &Path, inputs: &[&Path]) -> Result<()> {
    ensure!(!path.is_dir(), "{}: found a folder, wanted a file to write", path.display());
    let partial = partial(path);
    for place in [path, &partial] {
        let Ok(place) = place.canonicalize() else { continue };
        ensure!(
            inputs.iter().all(|input| input.canonicalize().ok().as_ref() != Some(&place)),
            "{}: found an input, wanted another file to write",
            path.display()
        );
    }
    File::create(&partial)
        .and_then(|_| fs::remove_file(&partial))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

/// [`check_output`] of several files, none of which may take the place of another.
pub fn check_outputs(outputs: &[&Path], inputs: &[&Path]) -> Result<()> {
    for (i, output) in outputs.iter().enumerate() {
        check_output(output, inputs)?;
        let places = [place(output), place(&partial(output))];
        for other in &outputs[..i] {
            let taken = [place(other), place(&partial(other))];
            ensure!(
                places.iter().all(|place| !taken.contains(place)),
                "{}: found the name of another file to write, {}, wanted one of its own",
                output.display(),
                other.display()
            );
        }
    }
    Ok(())
}

/// Where a file is or would be, however it is written.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let would_be = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(would_be).unwrap_or_else(|| path.to_path_buf())
}

/// Where a file grows until it is whole.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

/// A file that was read whole.
pub struct Container {
    bytes: Vec<u8>,
}

impl Container {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { bytes })
    }

    /// The tensors and the metadata.
    pub fn parse(&self) -> Result<(SafeTensors<'_>, BTreeMap<String, String>)> {
        let found = self.bytes.len();
        if let Some(wanted) = wanted_len(&self.bytes) {
            ensure!(found == wanted, "length: found {found} bytes, wanted {wanted}");
        }
        let malformed = |error| anyhow!("not a safetensors file: {error}");
        let tensors = SafeTensors::deserialize(&self.bytes).map_err(malformed)?;
        let (_, header) = SafeTensors::read_metadata(&self.bytes).map_err(malformed)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok((tensors, metadata.into_iter().collect()))
    }
}

/// The length that a file's own header gives it, if there is one that can be read.
fn wanted_len(bytes: &[u8]) -> Option<usize> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let header: Value = serde_json::from_slice(rest.get(..len)?).ok()?;
    let ends = header.as_object()?.values();
    let end = ends.filter_map(|info| info.get("data_offsets")?.get(1)?.as_u64());
    let end = usize::try_from(end.max()?).ok()?;
    end.checked_add(8 + len)
}

/// Copies a tensor of f32, f16 or bf16, whose shape must be the given one, to `values`.
pub fn read_f32(tensors: &SafeTensors<'_>, name: &str, shape: &[usize], values: &mut [f32]) -> Result<()> {
    let tensor =
        tensors.tensor(name).map_err(|_| anyhow!("tensor {name}: found none, wanted f32 {shape:?}"))?;
    ensure!(
        matches!(tensor.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) && tensor.shape() == shape,
        "tensor {name}: found {:?} {:?}, wanted F32 {shape:?}",
        tensor.dtype(),
        tensor.shape()
    );
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F16 => convert(values, data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => convert(values, data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => convert(values, data, f32::from_le_bytes),
    }
    Ok(())
}

fn convert<const N: usize>(values: &mut [f32], data: &[u8], number: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(data.as_chunks::<N>().0) {
        *value = number(*bytes);
    }
}
