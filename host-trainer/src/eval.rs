//! The loss of a model on a stream of tokens, in f32 and in the integers of the device.
//!
//! The stream is cut into chunks; within chunk `i` the inputs are `tokens[chunk * i..][..chunk]`, the targets
//! are one token further on, and the context starts anew. A last chunk that is not whole is left out. [`Cut`] can also
//! begin a chunk at every document, and leave nothing out.

use crate::device::Memory;
use crate::model::{Model, check_vocabulary};
use crate::nn::cross_entropy::IGNORED;
use anyhow::{Result, ensure};
use std::num::NonZero;
use std::ops::Range;
use std::thread;
use thumbformer::{Config, Logits, Session, Token};

/// Where the context starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// After this many tokens.
    pub chunk: usize,
    /// Also at each [`Token::BOS`], and no target is left out.
    pub documents: bool,
}

impl From<usize> for Cut {
    fn from(chunk: usize) -> Self {
        Self { chunk, documents: false }
    }
}

impl Cut {
    /// The inputs of each chunk of a stream.
    fn ranges(self, tokens: &[u16]) -> Vec<Range<usize>> {
        let inputs = tokens.len() - 1;
        if !self.documents {
            return (0..inputs / self.chunk).map(|i| i * self.chunk..(i + 1) * self.chunk).collect();
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (i, &token) in tokens[..inputs].iter().enumerate() {
            match ranges.last_mut() {
                Some(range) if token != Token::BOS.0 && range.len() < self.chunk => range.end = i + 1,
                _ => ranges.push(i..i + 1),
            }
        }
        ranges
    }
}

/// Mean cross-entropy of an f32 model in nats per token, and the number of targets.
pub fn loss_f32(model: &Model, tokens: &[u16], cut: impl Into<Cut>) -> Result<(f64, usize)> {
    loss_on_threads(model, tokens, cut, all_threads())
}

/// [`loss_f32`] on a given number of threads; the result does not depend on it.
pub fn loss_on_threads(
    model: &Model,
    tokens: &[u16],
    cut: impl Into<Cut>,
    threads: usize,
) -> Result<(f64, usize)> {
    let (cut, shape) = (cut.into(), &model.config().config);
    let model = model.rounded();
    let (losses, count) = over_chunks(shape, tokens, cut, threads, &|| {
        let mut evaluator = model.evaluator(cut.chunk);
        // The network has one length: shorter chunks are filled up with what does not count.
        let mut filled = [vec![0; cut.chunk], vec![IGNORED; cut.chunk]];
        Ok(move |inputs: &[u16], targets: &[u16]| {
            filled[0][..inputs.len()].copy_from_slice(inputs);
            filled[1].fill(IGNORED);
            filled[1][..targets.len()].copy_from_slice(targets);
            Ok(evaluator.loss(&filled[0], &filled[1]))
        })
    })?;
    Ok((losses.iter().sum::<f64>() / count as f64, count))
}

/// What the runtime made of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceLoss {
    /// Mean cross-entropy in nats per token, of the integer logits.
    pub loss: f64,
    /// Targets.
    pub tokens: usize,
    /// How often the residual stream was at the limit of its range; more than 0 spoils the model.
    pub saturations: u32,
}

/// How far the runtime's distributions are from those in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Mean Kullback-Leibler divergence in nats per token, of the integers' distribution from that in f32.
    pub kl: f64,
    /// Share of the tokens after which both find the same token likeliest.
    pub agreement: f64,
}

/// The loss of a model file, computed by the runtime: the same integers as on a device.
pub fn loss_device(
    model: &thumbformer::Model<'_>,
    tokens: &[u16],
    cut: impl Into<Cut>,
) -> Result<DeviceLoss> {
    let (sums, count) = over_chunks(model.config(), tokens, cut.into(), all_threads(), &|| {
        let mut memory = Memory::new(model);
        Ok(move |inputs: &[u16], targets: &[u16]| {
            Sums::of(&mut memory.session(model)?, None, inputs, targets)
        })
    })?;
    Ok(Sums::mean(&sums, count).0)
}

/// [`loss_device`], and how far the integers are from `twin`, the model in f32. Holds the f32 logits of one
/// chunk for each thread.
pub fn compare(
    model: &thumbformer::Model<'_>,
    twin: &Model,
    tokens: &[u16],
    cut: impl Into<Cut>,
) -> Result<(DeviceLoss, Divergence)> {
    for (name, found, wanted) in [
        ("vocab_size", twin.config().config.vocab_size, model.config().vocab_size),
        ("dim", twin.config().config.dim, model.config().dim),
        ("n_layers", twin.config().config.n_layers, model.config().n_layers),
    ] {
        ensure!(
            found == wanted,
            "the f32 model: found {name} = {found}, wanted {wanted} as in the model file"
        );
    }
    let twin = &*twin.rounded();
    let (sums, count) = over_chunks(model.config(), tokens, cut.into(), all_threads(), &|| {
        let mut memory = Memory::new(model);
        Ok(move |inputs: &[u16], targets: &[u16]| {
            Sums::of(&mut memory.session(model)?, Some(&twin.forward(inputs)?), inputs, targets)
        })
    })?;
    Ok(Sums::mean(&sums, count))
}

/// What a chunk adds up to.
struct Sums {
    loss: f64,
    kl: f64,
    agreed: usize,
    saturations: u32,
}

impl Sums {
    fn of(session: &mut Session<'_>, twin: Option<&[f32]>, inputs: &[u16], targets: &[u16]) -> Result<Self> {
        let mut sums = Self { loss: 0.0, kl: 0.0, agreed: 0, saturations: 0 };
        for (i, (&input, &target)) in inputs.iter().zip(targets).enumerate() {
            let found = log_probabilities(&session.step(Token(input))?);
            sums.loss -= found[usize::from(target)];
            if let Some(logits) = twin {
                let logits = &logits[i * found.len()..(i + 1) * found.len()];
                let wanted = log_softmax(logits.iter().map(|&v| f64::from(v)).collect());
                sums.kl += wanted.iter().zip(&found).map(|(w, f)| w.exp() * (w - f)).sum::<f64>();
                sums.agreed += usize::from(likeliest(&wanted) == likeliest(&found));
            }
        }
        sums.saturations = session.saturations();
        Ok(sums)
    }

    fn mean(sums: &[Self], tokens: usize) -> (DeviceLoss, Divergence) {
        let mean = |value: fn(&Self) -> f64| sums.iter().map(value).sum::<f64>() / tokens as f64;
        let saturations = sums.iter().map(|s| s.saturations).sum();
        let loss = DeviceLoss { loss: mean(|s| s.loss), tokens, saturations };
        (loss, Divergence { kl: mean(|s| s.kl), agreement: mean(|s| s.agreed as f64) })
    }
}

/// `ln p` of every token, in floating point from the integer logits.
pub(crate) fn log_probabilities(logits: &Logits<'_>) -> Vec<f64> {
    let unit = f64::from(logits.frac()).exp2().recip();
    log_softmax(logits.values().iter().map(|&v| f64::from(v) * unit).collect())
}

pub(crate) fn log_softmax(mut logits: Vec<f64>) -> Vec<f64> {
    let max = logits.iter().fold(f64::MIN, |m, &l| m.max(l));
    let log_sum = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
    logits.iter_mut().for_each(|l| *l -= log_sum);
    logits
}

/// The first of the largest values.
pub(crate) fn likeliest(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or_default()
}

/// Calls a worker for each chunk's inputs and targets; each thread makes its own. The number of targets comes with what
/// they say.
fn over_chunks<T: Send, W: FnMut(&[u16], &[u16]) -> Result<T>>(
    shape: &Config,
    tokens: &[u16],
    cut: Cut,
    threads: usize,
    worker: &(dyn Fn() -> Result<W> + Sync),
) -> Result<(Vec<T>, usize)> {
    let chunk = cut.chunk;
    ensure!(
        (1..=shape.seq_len).contains(&chunk),
        "chunk: found {chunk}, wanted 1 to {} (seq_len)",
        shape.seq_len
    );
    let (wanted, what) = if cut.documents { (2, "token") } else { (chunk + 1, "chunk") };
    ensure!(
        tokens.len() >= wanted,
        "tokens: found {}, wanted at least {wanted} (one {what} and one target)",
        tokens.len()
    );
    ensure!(
        shape.n_classes == 0,
        "found a classifier of {} classes, wanted a model of tokens, or --labelled",
        shape.n_classes
    );
    check_vocabulary(tokens, shape.vocab_size)?;
    let chunks = cut.ranges(tokens);
    let share = chunks.len().div_ceil(threads.max(1));
    let parts: Vec<Result<Vec<T>>> = thread::scope(|scope| {
        let handles: Vec<_> = chunks
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    let mut work = worker()?;
                    let run = |range: &Range<usize>| {
                        work(&tokens[range.clone()], &tokens[range.start + 1..range.end + 1])
                    };
                    part.iter().map(run).collect()
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("a worker does not panic")).collect()
    });
    let told = parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    Ok((told, chunks.iter().map(Range::len).sum()))
}

/// Calls `work` for each item, on all cores; the results are in the order of the items.
pub(crate) fn on_threads<I: Sync, T: Send>(
    items: &[I],
    work: &(dyn Fn(&I) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    let share = items.len().div_ceil(all_threads()).max(1);
    let parts: Vec<Result<Vec<T>>> = thread::scope(|scope| {
        let parts = items.chunks(share);
        let handles: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(work).collect())).collect();
        handles.into_iter().map(|handle| handle.join().expect("a worker does not panic")).collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn all_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_in_a_chunk_of_its_document() {
        let tokens = [1, 5, 6, 1, 7, 1, 1, 8, 9, 9, 9];
        let ranges = |chunk, documents| Cut { chunk, documents }.ranges(&tokens);
        assert_eq!(ranges(3, true), [0..3, 3..5, 5..6, 6..9, 9..10]);
        assert_eq!(ranges(9, true), [0..3, 3..5, 5..6, 6..10]);
        assert_eq!(ranges(3, false), [0..3, 3..6, 6..9]);
        // A stream may begin within a document.
        assert_eq!(Cut { chunk: 4, documents: true }.ranges(&[5, 6, 1, 7]), [0..2, 2..3]);
    }
}
