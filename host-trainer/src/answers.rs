//! What a model makes of prompts whose answers are known, in f32 and in the integers of the device.

use crate::data::pairs::Pair;
use crate::data::rows;
use crate::device::Memory;
use crate::eval::{likeliest, log_probabilities, log_softmax, on_threads};
use crate::model::Model;
use crate::tokenizer::TextEncoder;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::fmt::{Display, Formatter, Result as FmtResult};
use thumbformer::{Token, Tokenizer};

/// Prompts and answers as tokens.
#[derive(Debug)]
pub struct Answers {
    /// Tokens of the prompt, and all tokens, the end token among them.
    pairs: Vec<(usize, Vec<u16>)>,
    /// Pairs that are longer than the context and were left out.
    pub too_long: usize,
}

/// What was said of one pair.
struct Said {
    /// Of each token of the answer `-ln p`, summed.
    loss: f64,
    tokens: usize,
    /// Whether each of them was the likeliest: whether a greedy model answers so.
    exact: bool,
    saturations: u32,
}

impl Said {
    fn nothing() -> Self {
        Self { loss: 0.0, tokens: 0, exact: true, saturations: 0 }
    }

    /// Adds a token of the answer and the logarithms of all probabilities before it.
    fn add(&mut self, scores: &[f64], token: u16) {
        self.loss -= scores[usize::from(token)];
        self.tokens += 1;
        self.exact &= likeliest(scores) == usize::from(token);
    }
}

impl Answers {
    /// Encodes pairs as fine-tuning does.
    ///
    /// # Errors
    /// No pair fits the context.
    pub fn new(pairs: &[Pair], tokenizer: Tokenizer<'_>, seq_len: usize) -> Result<Self> {
        let mut encoder = TextEncoder::new(tokenizer);
        let all = pairs.iter().map(|pair| rows::tokens(&mut encoder, pair));
        // The last token is a target only.
        let fitting: Vec<_> = all.filter(|(_, tokens)| tokens.len() - 1 <= seq_len).collect();
        let too_long = pairs.len() - fitting.len();
        ensure!(!fitting.is_empty(), "found {too_long} pairs, all longer than the context of {seq_len}");
        Ok(Self { pairs: fitting, too_long })
    }

    /// What the runtime answers: the same as a device.
    pub fn on_device(&self, model: &thumbformer::Model<'_>) -> Result<Answered> {
        let n_classes = model.config().n_classes;
        ensure!(n_classes == 0, "found a classifier of {n_classes} classes, wanted a model of tokens");
        let said = on_threads(&self.pairs, &|(prompt, tokens)| {
            let mut memory = Memory::new(model);
            let mut session = memory.session(model)?;
            let mut said = Said::nothing();
            let (prompt, answer) = tokens.split_at(*prompt);
            let prompt: Vec<Token> = prompt.iter().map(|&token| Token(token)).collect();
            let mut scores = log_probabilities(&session.prefill(&prompt)?);
            for (i, &token) in answer.iter().enumerate() {
                said.add(&scores, token);
                if i + 1 < answer.len() {
                    scores = log_probabilities(&session.step(Token(token))?);
                }
            }
            said.saturations = session.saturations();
            Ok(said)
        })?;
        Ok(Answered::new(&said))
    }

    /// What a model in f32 answers.
    pub fn in_f32(&self, model: &Model) -> Result<Answered> {
        let n_classes = model.config().config.n_classes;
        ensure!(n_classes == 0, "found a classifier of {n_classes} classes, wanted a model of tokens");
        let (model, vocab_size) = (&*model.rounded(), model.config().config.vocab_size);
        let said = on_threads(&self.pairs, &|(prompt, tokens)| {
            let logits = model.forward(&tokens[..tokens.len() - 1])?;
            let mut said = Said::nothing();
            let rows = logits.chunks_exact(vocab_size).zip(&tokens[1..]).skip(prompt - 1);
            for (row, &token) in rows {
                said.add(&log_softmax(row.iter().map(|&v| f64::from(v)).collect()), token);
            }
            Ok(said)
        })?;
        Ok(Answered::new(&said))
    }
}

/// How well prompts were answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Answered {
    /// Mean cross-entropy of the answers and their ends in nats per token; prompts do not count.
    pub loss: f64,
    /// Share of the pairs that a greedy model answers to the letter.
    pub exact: f64,
    /// Tokens of answers, their ends included.
    pub tokens: usize,
    /// Pairs.
    pub pairs: usize,
    /// How often the integers' residual stream was at its limit; more than 0 spoils the model.
    pub saturations: u32,
}

impl Answered {
    fn new(said: &[Said]) -> Self {
        let tokens = said.iter().map(|said| said.tokens).sum();
        let exact = said.iter().filter(|said| said.exact).count();
        Self {
            loss: said.iter().map(|said| said.loss).sum::<f64>() / tokens as f64,
            exact: exact as f64 / said.len() as f64,
            tokens,
            pairs: said.len(),
            saturations: said.iter().map(|said| said.saturations).sum(),
        }
    }
}

impl Display for Answered {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let Self { loss, exact, tokens, pairs, saturations } = self;
        writeln!(f, "answers: loss {loss:.6} nats per token ({tokens} tokens)")?;
        write!(f, "exact: {:.2} % of {pairs} pairs", 100.0 * exact)?;
        match saturations {
            0 => Ok(()),
            n => write!(f, "\nthe residual stream saturated {n} times: export with more headroom"),
        }
    }
}
