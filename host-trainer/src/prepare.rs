//! A text to what training reads: a tokenizer, tokens to learn from and tokens to be examined by.

use crate::bpe;
use crate::corpus::Corpus;
use crate::tokenizer::TextEncoder;
use anyhow::{Result, ensure};
use thumbformer::Tokenizer;

/// A corpus, ready for training.
#[derive(Debug)]
pub struct Prepared {
    /// The tokenizer section of the model file.
    pub tokenizer: Vec<u8>,
    /// Tokens to learn from.
    pub train: Vec<u16>,
    /// Tokens of the held-out tail, which the model never learns from; nor does the tokenizer.
    pub valid: Vec<u16>,
}

/// Trains a byte-level BPE tokenizer of `vocab_size` tokens on all but the last `held_out` part of a text,
/// and encodes both parts. Each must fill a context of `seq_len` tokens.
///
/// # Errors
/// The text is too short.
pub fn prepare(
    corpus: &Corpus,
    vocab_size: usize,
    seq_len: usize,
    held_out: f64,
    progress: impl FnMut(usize),
) -> Result<Prepared> {
    let tokenizer = bpe::train(parts(corpus, held_out)[0], vocab_size, progress)?;
    let [train, valid] = encode(corpus, Tokenizer::from_bytes(&tokenizer)?, seq_len, held_out)?;
    Ok(Prepared { tokenizer, train, valid })
}

/// Encodes both parts of a text. Each must fill a context of `seq_len` tokens.
///
/// # Errors
/// The text is too short.
pub fn encode(
    corpus: &Corpus,
    tokenizer: Tokenizer<'_>,
    seq_len: usize,
    held_out: f64,
) -> Result<[Vec<u16>; 2]> {
    let mut encoder = TextEncoder::new(tokenizer);
    let encoded = parts(corpus, held_out).map(|text| encoder.encode(text).into_iter().map(|t| t.0).collect());
    for (part, tokens) in ["training part", "held-out part"].into_iter().zip(&encoded) {
        let tokens: &Vec<u16> = tokens;
        ensure!(
            tokens.len() > seq_len,
            "{}: shorter than one context: found {} tokens in the {part}, wanted at least {}",
            corpus.provenance.name,
            tokens.len(),
            seq_len + 1
        );
    }
    Ok(encoded)
}

/// All but the last `held_out` part of a text, and that part.
fn parts(corpus: &Corpus, held_out: f64) -> [&[u8]; 2] {
    let text = corpus.text.as_bytes();
    let mut cut = (text.len() as f64 * (1.0 - held_out)) as usize;
    while !corpus.text.is_char_boundary(cut) {
        cut -= 1;
    }
    text.split_at(cut).into()
}
