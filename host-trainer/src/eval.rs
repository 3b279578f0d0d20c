//! The loss of a model on a stream of tokens, in f32 and in the integers of the device.
//!
//! The stream is cut into chunks; within chunk `i` the inputs are `tokens[chunk * i..][..chunk]`, the targets
//! are one token further on, and the context starts anew. A last chunk that is not whole is left out.

use crate::device::Memory;
use crate::model::{Model, check_vocabulary};
use anyhow::{Result, ensure};
use std::num::NonZero;
use std::thread;
use thumbformer::{Config, Logits, Token};

/// Mean cross-entropy of an f32 model in nats per token, and the number of targets.
pub fn loss_f32(model: &Model, tokens: &[u16], chunk: usize) -> Result<(f64, usize)> {
    loss_on_threads(model, tokens, chunk, all_threads())
}

/// [`loss_f32`] on a given number of threads; the result does not depend on it.
pub fn loss_on_threads(model: &Model, tokens: &[u16], chunk: usize, threads: usize) -> Result<(f64, usize)> {
    let shape = &model.config().config;
    let losses = over_chunks(shape, tokens, chunk, threads, &|| {
        Ok(|inputs: &[u16], targets: &[u16]| Ok(model.loss(inputs, targets)))
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

/// The loss of a model file, computed by the runtime: the same integers as on a device.
pub fn loss_device(model: &thumbformer::Model<'_>, tokens: &[u16], chunk: usize) -> Result<DeviceLoss> {
    let losses = over_chunks(model.config(), tokens, chunk, all_threads(), &|| {
        let mut memory = Memory::new(model);
        Ok(move |inputs: &[u16], targets: &[u16]| {
            let mut session = memory.session(model)?;
            let mut loss = 0.0;
            for (&input, &target) in inputs.iter().zip(targets) {
                loss += surprise(&session.step(Token(input))?, target);
            }
            Ok((loss, session.saturations()))
        })
    })?;
    let saturations = losses.iter().map(|l| l.1).sum();
    let losses: Vec<f64> = losses.into_iter().map(|l| l.0).collect();
    let (loss, tokens) = mean(&losses, chunk);
    Ok(DeviceLoss { loss, tokens, saturations })
}

/// `-ln p(target)`, in floating point from the integer logits.
fn surprise(logits: &Logits<'_>, target: u16) -> f64 {
    let unit = f64::from(logits.frac()).exp2().recip();
    let max = logits.values().iter().fold(i32::MIN, |m, &v| m.max(v));
    let distance = |v: i32| (f64::from(v) - f64::from(max)) * unit;
    let sum: f64 = logits.values().iter().map(|&v| distance(v).exp()).sum();
    sum.ln() - distance(logits.values()[usize::from(target)])
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

fn all_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
