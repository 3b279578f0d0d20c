//! A prompt comes in over the serial port, its continuation goes out.

use embedded_io::{Read, Write};

use crate::{Digest, read_line};

/// What was done and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Tokens read from the prompt.
    pub prompt: u32,
    /// Tokens written.
    pub tokens: u32,
    /// The digest of every step's logits.
    pub digest: u64,
    /// Instructions for a token of the prompt.
    pub prefill: u32,
    /// Instructions for a token of the continuation.
    pub decode: u32,
    /// Bytes of the workspace.
    pub workspace: u32,
}

impl defmt::Format for Report {
    fn format(&self, f: defmt::Formatter) {
        defmt::write!(
            f,
            "prompt={} tokens={} digest={:016x} prefill={} decode={} workspace={}",
            self.prompt,
            self.tokens,
            self.digest,
            self.prefill,
            self.decode,
            self.workspace
        )
    }
}

/// Reads a line from the serial port and continues it there. `instructions` tells how many have been executed so far.
pub fn story<S: Read + Write>(serial: &mut S, instructions: impl Fn() -> u64) -> Result<Report, S::Error> {
    let mut line = [0; 128];
    let prompt = read_line(serial, &mut line)?;
    let start = instructions();
    let mut digest = Digest::new();
    for &byte in prompt {
        digest.update(&[byte.into()]);
        serial.write_all(&[byte])?;
    }
    serial.write_all(b"\n")?;
    let total = (instructions() - start) as u32;
    Ok(Report {
        prompt: prompt.len() as u32,
        tokens: prompt.len() as u32,
        digest: digest.value(),
        prefill: total / prompt.len().max(1) as u32,
        decode: total / prompt.len().max(1) as u32,
        workspace: 0,
    })
}
