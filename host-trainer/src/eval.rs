//! The loss of an f32 model on a stream of tokens.

use crate::model::{Model, check_vocabulary};
use anyhow::{Result, ensure};
use std::num::NonZero;
use std::thread;

/// Mean cross-entropy in nats per token, and the number of targets.
///
/// The stream is cut into chunks; within chunk `i` the inputs are `tokens[chunk * i..][..chunk]`,
/// the targets are one token further on, and the context starts anew. A last chunk that is not
/// whole is left out. The result does not depend on the number of threads.
pub fn loss_f32(model: &Model, tokens: &[u16], chunk: usize) -> Result<(f64, usize)> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    loss_on_threads(model, tokens, chunk, threads)
}

/// [`loss_f32`] on a given number of threads.
pub fn loss_on_threads(model: &Model, tokens: &[u16], chunk: usize, threads: usize) -> Result<(f64, usize)> {
    let shape = &model.config().config;
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

    let mut losses = vec![0.0; (tokens.len() - 1) / chunk];
    let share = losses.len().div_ceil(threads.max(1));
    thread::scope(|scope| {
        for (part, losses) in losses.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                for (i, loss) in losses.iter_mut().enumerate() {
                    let start = (part * share + i) * chunk;
                    let inputs = &tokens[start..start + chunk];
                    let targets = &tokens[start + 1..start + 1 + chunk];
                    *loss = model.loss(inputs, targets);
                }
            });
        }
    });
    let count = losses.len() * chunk;
    Ok((losses.iter().sum::<f64>() / count as f64, count))
}
