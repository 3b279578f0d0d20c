//! How far a model file, or a changed model, is from the model in f32: what an export's choices go by.
//!
//! [`crate::eval`] tells people the same numbers. Here every host must find the same ones, to the last bit: the f32 side
//! multiplies in a fixed order, exponentials come from `libm`, and chunks are added up in their order.

use super::calibrate::CHUNK;
use crate::device::{Memory, ModelFile};
use crate::model::Model;
use anyhow::Result;
use std::num::NonZero;
use std::thread;
use thumbformer::{Logits, Token};

/// A text, and what the model in f32 makes of it.
pub struct Measure<'t> {
    text: &'t [u16],
    chunk: usize,
    n_outputs: usize,
    /// Whether these are classes, of which the text has none.
    classifies: bool,
    /// Its probabilities of every output after each token of the text `[n, n_outputs]`.
    wanted: Vec<f32>,
    /// The sum of `p ln p` of these, after each token.
    certainty: Vec<f64>,
    /// Its loss in nats per token; 0 for a classifier.
    pub loss: f64,
}

/// What was measured of a file, in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The divergence KL(f32 || found).
    pub kl: f64,
    /// The cross-entropy; 0 for a classifier.
    pub loss: f64,
}

/// Reads a chunk: its start, its inputs, its targets.
type Work<'a, T> = dyn Fn(usize, &[u16], &[u16]) -> Result<T> + Sync + 'a;

impl<'t> Measure<'t> {
    /// Reads a text in chunks; a last one that is not whole is left out. `seq_len` is the file's context.
    pub fn new(model: &Model, text: &'t [u16], seq_len: usize) -> Result<Self> {
        let (shape, n_outputs) = (model.config().config, model.config().config.n_outputs());
        let mut measure = Self {
            text,
            chunk: seq_len.min(CHUNK),
            n_outputs,
            classifies: shape.n_classes > 0,
            wanted: Vec::new(),
            certainty: Vec::new(),
            loss: 0.0,
        };
        let classifies = measure.classifies;
        let parts = measure.over_chunks(&|_, inputs, targets| {
            let mut logits = model.forward_observed(inputs, &mut |_, _| ())?;
            let mut loss = 0.0;
            for (row, &target) in logits.chunks_mut(n_outputs).zip(targets) {
                let normaliser = log_sum(row);
                loss += if classifies { 0.0 } else { normaliser - f64::from(row[usize::from(target)]) };
                row.iter_mut().for_each(|l| *l = libm::exp(f64::from(*l) - normaliser) as f32);
            }
            Ok((loss, logits))
        })?;
        for (loss, probabilities) in parts {
            measure.loss += loss / measure.tokens() as f64;
            let rows = probabilities.chunks(n_outputs);
            measure.certainty.extend(rows.map(|row| row.iter().map(|&p| certainty(p)).sum::<f64>()));
            measure.wanted.extend(probabilities);
        }
        Ok(measure)
    }

    /// Tokens that are measured.
    pub fn tokens(&self) -> usize {
        (self.text.len() - 1) / self.chunk * self.chunk
    }

    /// What the runtime makes of a file.
    pub fn file(&self, file: &[u8]) -> Result<Measured> {
        let file = ModelFile::new(file);
        let model = file.model()?;
        self.mean(self.over_chunks(&|start, inputs, targets| {
            let mut memory = Memory::new(&model);
            let mut session = memory.session(&model)?;
            let mut sum = Measured { kl: 0.0, loss: 0.0 };
            for (i, (&input, &target)) in inputs.iter().zip(targets).enumerate() {
                let logits = real(&session.step(Token(input))?);
                self.add(&mut sum, start + i, &logits, target);
            }
            Ok(sum)
        })?)
    }

    /// What a model with changed weights makes of the text in f32.
    pub fn model(&self, model: &Model) -> Result<Measured> {
        self.mean(self.over_chunks(&|start, inputs, targets| {
            let logits = model.forward_observed(inputs, &mut |_, _| ())?;
            let mut sum = Measured { kl: 0.0, loss: 0.0 };
            for (i, (logits, &target)) in logits.chunks(self.n_outputs).zip(targets).enumerate() {
                self.add(&mut sum, start + i, logits, target);
            }
            Ok(sum)
        })?)
    }

    /// Adds what was found after the token at `at`.
    fn add(&self, sum: &mut Measured, at: usize, logits: &[f32], target: u16) {
        let normaliser = log_sum(logits);
        sum.loss += if self.classifies { 0.0 } else { normaliser - f64::from(logits[usize::from(target)]) };
        let wanted = &self.wanted[at * self.n_outputs..];
        let distances = wanted.iter().zip(logits).map(|(&p, &l)| f64::from(p) * (normaliser - f64::from(l)));
        sum.kl += self.certainty[at] + distances.sum::<f64>();
    }

    fn mean(&self, sums: Vec<Measured>) -> Result<Measured> {
        let mean = |value: fn(&Measured) -> f64| sums.iter().map(value).sum::<f64>() / self.tokens() as f64;
        Ok(Measured { kl: mean(|s| s.kl), loss: mean(|s| s.loss) })
    }

    /// Calls `work` with the start of each chunk, its inputs and its targets.
    fn over_chunks<T: Send>(&self, work: &Work<'_, T>) -> Result<Vec<T>> {
        let starts: Vec<usize> = (0..self.tokens()).step_by(self.chunk).collect();
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let run = |&at: &usize| {
            let targets = &self.text[at + 1..at + 1 + self.chunk];
            work(at, &self.text[at..at + self.chunk], targets)
        };
        let parts: Vec<Result<Vec<T>>> = thread::scope(|scope| {
            let shares = starts.chunks(starts.len().div_ceil(threads).max(1));
            let handles: Vec<_> =
                shares.map(|share| scope.spawn(move || share.iter().map(run).collect())).collect();
            handles.into_iter().map(|h| h.join().expect("a worker does not panic")).collect()
        });
        Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

fn real(logits: &Logits<'_>) -> Vec<f32> {
    let unit = 1.0 / f64::from(1u32 << logits.frac());
    logits.values().iter().map(|&v| (f64::from(v) * unit) as f32).collect()
}

/// `ln sum exp`
fn log_sum(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().fold(f32::MIN, |m, &l| m.max(l)));
    max + libm::log(logits.iter().map(|&l| libm::exp(f64::from(l) - max)).sum::<f64>())
}

/// `p ln p`
fn certainty(p: f32) -> f64 {
    if p > 0.0 { f64::from(p) * libm::log(f64::from(p)) } else { 0.0 }
}
