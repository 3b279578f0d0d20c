//! Features of recordings, by the front end of the runtime: what a model learns from is what a device computes.

use crate::data::wav;
use anyhow::{Context, Result};
use std::path::Path;
use thumbformer::audio::{FRACTION, FrontEnd, Spec, Tables};

/// The front ends that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// 40 MFCC at 16 kHz, 100 rows a second: the Keyword Transformer's.
    Kwt,
    /// 20 MFCC at 8 kHz, 62.5 rows a second.
    #[value(name = "voice-8k")]
    Voice8k,
}

static KWT: Tables<{ Spec::KWT.table_words() }> = Tables::new(Spec::KWT);
static VOICE_8K: Tables<{ Spec::VOICE_8K.table_words() }> = Tables::new(Spec::VOICE_8K);

impl Name {
    /// What it computes.
    pub const fn spec(self) -> &'static Spec {
        match self {
            Self::Kwt => &Spec::KWT,
            Self::Voice8k => &Spec::VOICE_8K,
        }
    }

    /// The features of a sound, row after row, exact in `f32`.
    pub fn features(self, samples: &[i16]) -> Result<Vec<f32>> {
        let spec = self.spec();
        let mut memory = vec![0; spec.memory_words()];
        let mut front = match self {
            Self::Kwt => FrontEnd::new(&KWT, &mut memory),
            Self::Voice8k => FrontEnd::new(&VOICE_8K, &mut memory),
        }?;
        let mut features = Vec::with_capacity(spec.rows(samples.len()) * spec.columns());
        // Fewer than 24 bits: no rounding.
        let real = |&feature: &i32| feature as f32 / (1 << FRACTION) as f32;
        front.push(samples, |row| features.extend(row.iter().map(real)));
        Ok(features)
    }

    /// The features of a WAV file.
    ///
    /// # Errors
    /// It cannot be read, is not as the front end wants it, or is shorter than a frame.
    pub fn file(self, path: &Path) -> Result<Vec<f32>> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let spec = self.spec();
        let samples = wav::read(&bytes, spec.rate).with_context(|| path.display().to_string())?;
        anyhow::ensure!(
            samples.len() >= spec.frame,
            "{}: found {} samples, wanted at least a frame of {}",
            path.display(),
            samples.len(),
            spec.frame
        );
        self.features(&samples)
    }
}
