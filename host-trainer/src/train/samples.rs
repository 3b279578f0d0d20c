//! What a run learns from, or is examined by: windows of a text, or rows with targets of their own.

use crate::eval::loss_on_threads;
use crate::model::{Model, ModelConfig, check_vocabulary};
use crate::nn::cross_entropy::IGNORED;
use anyhow::{Context, Result, ensure};
use std::thread;

/// What a model made of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Examined {
    /// Mean loss in nats per target that counts.
    pub loss: f64,
    /// Targets that count.
    pub count: usize,
    /// At how many of them the likeliest output was the target, where these are classes.
    pub right: Option<usize>,
}

/// Sequences of one length.
#[derive(Debug, Clone, Copy)]
pub enum Samples<'a> {
    /// A text: a sequence may start anywhere, and the target of a token is the next one.
    Text(&'a [u16]),
    /// Rows, such as pairs of prompt and answer, one behind the other.
    Rows {
        /// Tokens of a row.
        len: usize,
        /// Inputs.
        tokens: &'a [u16],
        /// What should come after each; [`IGNORED`] where nothing is to be learned.
        targets: &'a [u16],
    },
}

/// The rows of [`Samples::Rows`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Tokens of a row.
    pub len: usize,
    /// Inputs.
    pub tokens: Vec<u16>,
    /// What should come after each; [`IGNORED`] where nothing is to be learned.
    pub targets: Vec<u16>,
}

impl<'a> Samples<'a> {
    /// Tokens, as a text or, with targets of their own, as rows.
    pub fn of(tokens: &'a [u16], targets: Option<&'a [u16]>, len: usize) -> Self {
        match targets {
            Some(targets) => Self::Rows { len, tokens, targets },
            None => Self::Text(tokens),
        }
    }

    /// The inputs, one behind the other.
    pub fn tokens(self) -> &'a [u16] {
        match self {
            Self::Text(tokens) | Self::Rows { tokens, .. } => tokens,
        }
    }

    /// Targets, if they are not the tokens that follow.
    pub fn targets(self) -> Option<&'a [u16]> {
        match self {
            Self::Text(_) => None,
            Self::Rows { targets, .. } => Some(targets),
        }
    }

    /// How many different sequences of `len` tokens there are.
    pub(super) fn count(self, len: usize) -> usize {
        match self {
            Self::Text(tokens) => tokens.len() - len,
            Self::Rows { tokens, .. } => tokens.len() / len,
        }
    }

    /// The inputs and targets of a sequence.
    pub(super) fn get(self, i: usize, len: usize) -> (&'a [u16], &'a [u16]) {
        match self {
            Self::Text(tokens) => (&tokens[i..][..len], &tokens[i + 1..][..len]),
            Self::Rows { tokens, targets, .. } => (&tokens[i * len..][..len], &targets[i * len..][..len]),
        }
    }

    /// Says what sequences of `len` tokens cannot be trained on, or what a model cannot read.
    pub(super) fn check(self, model: &ModelConfig, len: usize) -> Result<()> {
        let shape = &model.config;
        match self {
            Self::Text(tokens) => {
                let (found, wanted) = (tokens.len(), len + 1);
                ensure!(found >= wanted, "found {found}, wanted at least {wanted} (seq_len and one target)");
                check_vocabulary(tokens, shape.vocab_size)
            }
            Self::Rows { len: row, tokens, targets } => {
                ensure!(row == len, "found rows of {row}, wanted {len} (row_len)");
                ensure!(
                    tokens.len() == targets.len() && tokens.len().is_multiple_of(len),
                    "found {} and {} targets, wanted as many, in rows of {len}",
                    tokens.len(),
                    targets.len()
                );
                check_vocabulary(tokens, shape.vocab_size)?;
                let wanted: Vec<u16> = targets.iter().copied().filter(|&t| t != IGNORED).collect();
                ensure!(!wanted.is_empty(), "targets: found none that counts, wanted one");
                let outputs = if shape.n_classes > 0 { "n_classes" } else { "vocab_size" };
                check_vocabulary(&wanted, shape.n_outputs()).with_context(|| format!("targets ({outputs})"))
            }
        }
    }

    /// What a model makes of as many whole sequences of `len` tokens as fit
    /// `limit` tokens but at least one. The result does not depend on the number of threads.
    pub(super) fn loss(self, model: &Model, limit: usize, len: usize, threads: usize) -> Result<Examined> {
        let limit = limit.max(len);
        match self {
            Self::Text(tokens) => {
                let end = tokens.len().min(limit.saturating_add(1));
                let (loss, count) = loss_on_threads(model, &tokens[..end], len, threads)?;
                Ok(Examined { loss, count, right: None })
            }
            Self::Rows { .. } => Ok(self.loss_of_rows(model, limit / len, len, threads)),
        }
    }

    /// Whether `limit` tokens are less than all.
    pub(super) fn exceeds(self, limit: usize) -> bool {
        match self {
            // The last token is a target only.
            Self::Text(tokens) => tokens.len() > limit.saturating_add(1),
            Self::Rows { tokens, .. } => tokens.len() > limit,
        }
    }

    fn loss_of_rows(self, model: &Model, limit: usize, len: usize, threads: usize) -> Examined {
        let rows: Vec<_> = (0..self.count(len).min(limit)).map(|i| self.get(i, len)).collect();
        let share = rows.len().div_ceil(threads.max(1)).max(1);
        let found: Vec<(f64, usize)> = thread::scope(|scope| {
            let work = |part: &[(&[u16], &[u16])]| -> Vec<(f64, usize)> {
                let mut evaluator = model.evaluator(len);
                let row = |(tokens, targets): &(&[u16], &[u16])| {
                    (evaluator.loss(tokens, targets), evaluator.right(targets))
                };
                part.iter().map(row).collect()
            };
            let handles: Vec<_> = rows.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
            handles.into_iter().flat_map(|handle| handle.join().expect("a worker does not panic")).collect()
        });
        let count = rows.iter().map(|(_, targets)| counted(targets)).sum::<usize>();
        // The first rows may have no target that counts.
        let loss = found.iter().map(|(loss, _)| loss).sum::<f64>() / count.max(1) as f64;
        let classes = model.config().config.n_classes > 0;
        Examined { loss, count, right: classes.then(|| found.iter().map(|(_, right)| right).sum()) }
    }
}

impl Rows {
    /// All rows.
    pub fn samples(&self) -> Samples<'_> {
        Samples::Rows { len: self.len, tokens: &self.tokens, targets: &self.targets }
    }
}

/// How many of some targets count.
pub(super) fn counted(targets: &[u16]) -> usize {
    targets.iter().filter(|&&target| target != IGNORED).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_inputs() {
        let tokens = [0; 9];
        let rows = Samples::Rows { len: 3, tokens: &tokens, targets: &tokens };
        assert!(!rows.exceeds(9) && rows.exceeds(8));
        let text = Samples::Text(&tokens);
        assert!(!text.exceeds(8) && text.exceeds(7));
    }
}
