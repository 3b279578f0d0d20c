//! The loss of a model on a stream of tokens, in f32 and in the integers of the device.
//!
//! The stream is cut into chunks; within chunk `i` the inputs are `tokens[chunk * i..][..chunk]`, the targets
//! are one token further on, and the context starts anew. A last chunk that is not whole is left out.

use crate::device::Memory;
use crate::model::{Model, check_vocabulary};
use anyhow::{Result, ensure};
use std::num::NonZero;
use std::thread;
use thumbformer::{Config, Logits, Session, Token};

/// Mean cross-entropy of an f32 model in nats per token, and the number of targets.
pub fn loss_f32(model: &Model, tokens: &[u16], chunk: usize) -> Result<(f64, usize)> {
    loss_on_threads(model, tokens, chunk, all_threads())
}

/// [`loss_f32`] on a given number of threads; the result does not depend on it.
pub fn loss_on_threads(model: &Model, tokens: &[u16], chunk: usize, threads: usize) -> Result<(f64, usize)> {
    let shape = &model.config().config;
    let model = model.rounded();
    let losses = over_chunks(shape, tokens, chunk, threads, &|| {
        let mut evaluator = model.evaluator(chunk);
        Ok(move |inputs: &[u16], targets: &[u16]| Ok(evaluator.loss(inputs, targets)))
    })?;
    Ok(mean(&losses, chunk))
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
pub fn loss_device(model: &thumbformer::Model<'_>, tokens: &[u16], chunk: usize) -> Result<DeviceLoss> {
    let sums = over_chunks(model.config(), tokens, chunk, all_threads(), &|| {
        let mut memory = Memory::new(model);
        Ok(move |inputs: &[u16], targets: &[u16]| {
            Sums::of(&mut memory.session(model)?, None, inputs, targets)
        })
    })?;
    Ok(Sums::mean(&sums, chunk).0)
}

/// [`loss_device`], and how far the integers are from `twin`, the model in f32. Holds the f32 logits of one
/// chunk for each thread.
pub fn compare(
    model: &thumbformer::Model<'_>,
    twin: &Model,
    tokens: &[u16],
    chunk: usize,
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
    let sums = over_chunks(model.config(), tokens, chunk, all_threads(), &|| {
        let mut memory = Memory::new(model);
        Ok(move |inputs: &[u16], targets: &[u16]| {
            Sums::of(&mut memory.session(model)?, Some(&twin.forward(inputs)?), inputs, targets)
        })
    })?;
    Ok(Sums::mean(&sums, chunk))
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

    fn mean(sums: &[Self], chunk: usize) -> (DeviceLoss, Divergence) {
        let tokens = sums.len() * chunk;
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

/// Calls a worker for each chunk's inputs and targets; each thread makes its own.
fn over_chunks<T: Send, W: FnMut(&[u16], &[u16]) -> Result<T>>(
    shape: &Config,
    tokens: &[u16],
    chunk: usize,
    threads: usize,
    worker: &(dyn Fn() -> Result<W> + Sync),
) -> Result<Vec<T>> {
    ensure!(
        (1..=shape.seq_len).contains(&chunk),
        "chunk: found {chunk}, wanted 1 to {} (seq_len)",
        shape.seq_len
    );
    ensure!(
        tokens.len() > chunk,
        "tokens: found {}, wanted at least {} (one chunk and one target)",
        tokens.len(),
        chunk + 1
    );
    ensure!(
        shape.n_classes == 0,
        "found a classifier of {} classes, wanted a model of tokens, or --labelled",
        shape.n_classes
    );
    check_vocabulary(tokens, shape.vocab_size)?;
    let chunks: Vec<usize> = (0..(tokens.len() - 1) / chunk).map(|i| i * chunk).collect();
    let share = chunks.len().div_ceil(threads.max(1));
    let parts: Vec<Result<Vec<T>>> = thread::scope(|scope| {
        let handles: Vec<_> = chunks
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    let mut work = worker()?;
                    let run = |&at: &usize| work(&tokens[at..at + chunk], &tokens[at + 1..at + 1 + chunk]);
                    part.iter().map(run).collect()
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("a worker does not panic")).collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn mean(losses: &[f64], chunk: usize) -> (f64, usize) {
    let count = losses.len() * chunk;
    (losses.iter().sum::<f64>() / count as f64, count)
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
