//! The runtime on the host: the same code that runs on a microcontroller, in memory from the heap.

use anyhow::{Context, Result};
use std::path::Path;
use thumbformer::{Classifier, Model, Session};
use zerocopy::IntoBytes;

/// Bytes at an address that is a multiple of eight.
#[derive(Debug)]
struct Bytes {
    words: Vec<u64>,
    len: usize,
}

impl Bytes {
    fn zeros(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(8)], len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

/// A model file in memory.
#[derive(Debug)]
pub struct ModelFile(Bytes);

impl ModelFile {
    /// Takes the bytes of a model file.
    pub fn new(file: &[u8]) -> Self {
        let mut bytes = Bytes::zeros(file.len());
        bytes.as_mut_slice().copy_from_slice(file);
        Self(bytes)
    }

    /// Reads a model file and verifies all of it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = Self::new(&file);
        file.model().and_then(|m| Ok(m.verify()?)).with_context(|| format!("{}", path.display()))?;
        Ok(file)
    }

    /// The model.
    pub fn model(&self) -> Result<Model<'_>> {
        Ok(Model::from_bytes(self.0.as_slice())?)
    }
}

/// The memory of a session.
#[derive(Debug)]
pub struct Memory(Bytes);

impl Memory {
    /// As many bytes as a session with this model needs.
    pub fn new(model: &Model<'_>) -> Self {
        Self(Bytes::zeros(model.workspace_len()))
    }

    /// A classifier.
    pub fn classifier<'a>(&'a mut self, model: &Model<'a>) -> Result<Classifier<'a>> {
        Ok(Classifier::new(model, self.0.as_mut_slice())?)
    }

    /// A session.
    pub fn session<'a>(&'a mut self, model: &Model<'a>) -> Result<Session<'a>> {
        Ok(Session::new(model, self.0.as_mut_slice())?)
    }
}
