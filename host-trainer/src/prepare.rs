//! A corpus to what training reads: a tokenizer, tokens to learn from and tokens to be examined by.

use crate::bpe::{self, WordCounts};
use crate::characters::CharacterCounts;
use crate::corpus::{Corpus, Parts, Piece, Split};
use crate::data::{TokenFile, TokenWriter, tokenize};
use crate::nn::random::Random;
use crate::train::TrainConfig;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use thumbformer::Tokenizer;

/// The tokens to learn from, in the folder of tokens.
pub const TRAIN: &str = "train.u16";
/// The held-out tokens.
pub const VALID: &str = "valid.u16";
/// The tokens that are kept for the end, if a configuration wants any.
pub const TEST: &str = "test.u16";

/// Bytes of a long document whose words are counted at a time.
const PORTION: usize = 1 << 20;

/// What becomes a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Vocabulary {
    /// Bytes, and the pieces that byte-pair encoding makes of them
    #[default]
    Bpe,
    /// Characters of the text to learn from, the most frequent ones, no more than the vocabulary has room for; others are
    /// unknown
    Characters,
}

/// A corpus, ready for training.
#[derive(Debug)]
pub struct Prepared {
    /// The tokenizer section of the model file.
    pub tokenizer: Vec<u8>,
    /// Tokens to learn from.
    pub train: TokenFile,
    /// Held-out tokens, which the model never learns from; nor does the tokenizer.
    pub valid: TokenFile,
    /// How many tokens are kept for the end.
    pub test: u64,
    /// How many documents, the tail of one included, are held out.
    pub held_out: usize,
}

/// Makes a tokenizer from the part of a corpus to learn from, and encodes all parts.
///
/// # Errors
/// As [`encode`], or for a size of the vocabulary that no tokenizer can have.
pub fn prepare(
    corpus: &Corpus,
    config: &TrainConfig,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Prepared> {
    let tokenizer = make_tokenizer(corpus, &parts(corpus, config).train, config)?;
    encode(corpus, tokenizer, config, folder, progress)
}

/// Writes the tokens of all parts of a corpus to a folder, each document behind
/// [`Token::BOS`](thumbformer::Token::BOS). Each part must fill a context. `progress` is told the bytes that are done and
/// those of all the text, now and then.
///
/// # Errors
/// The text is too short, or the folder cannot be written to; nothing stays behind in either case.
pub fn encode(
    corpus: &Corpus,
    tokenizer: Vec<u8>,
    config: &TrainConfig,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Prepared> {
    // Those of a relative path end in an empty one, which is the folder that it is relative to.
    let is_missing = |place: &&Path| !place.as_os_str().is_empty() && !place.exists();
    let missing = folder.ancestors().take_while(is_missing).last();
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let prepared = encode_in(corpus, tokenizer, config, folder, progress);
    if prepared.is_err()
        && let Some(made) = missing
    {
        // The error is what there is to tell.
        let _ = fs::remove_dir_all(made);
    }
    prepared
}

fn encode_in(
    corpus: &Corpus,
    section: Vec<u8>,
    config: &TrainConfig,
    folder: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Prepared> {
    let seq_len = config.model.config.seq_len;
    let parts = parts(corpus, config);
    let tokenizer = Tokenizer::from_bytes(&section)?;
    let threads = match config.training.threads {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    let all = corpus.provenance.bytes as u64;
    let mut before = 0;
    let mut writers = Vec::new();
    let mut all_parts = vec![("training part", TRAIN, &parts.train), ("held-out part", VALID, &parts.valid)];
    if config.data.test > 0.0 {
        all_parts.push(("test part", TEST, &parts.test));
    }
    for (part, name, pieces) in all_parts {
        let mut writer = TokenWriter::create(&folder.join(name), &section)?;
        let take = |tokens: &[u16]| writer.push(tokens);
        tokenize(corpus, pieces, tokenizer, threads, take, |done| progress(before + done, all))?;
        before += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        ensure!(
            writer.count() > seq_len as u64,
            "{}: shorter than one context: found {} tokens in the {part}, wanted at least {}",
            corpus.provenance.name,
            writer.count(),
            seq_len + 1
        );
        writers.push(writer);
    }
    let test = writers.get(2).map_or(0, TokenWriter::count);
    // All or none.
    writers.into_iter().try_for_each(TokenWriter::finish)?;
    Ok(Prepared {
        train: TokenFile::open(&folder.join(TRAIN), &section)?,
        valid: TokenFile::open(&folder.join(VALID), &section)?,
        tokenizer: section,
        test,
        held_out: parts.valid.len(),
    })
}

/// Writes tokens that are there already to a folder, those to learn from and the held-out ones.
pub fn store(folder: &Path, tokenizer: &[u8], parts: [&[u16]; 2]) -> Result<[TokenFile; 2]> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, tokens) in [TRAIN, VALID].into_iter().zip(parts) {
        let mut writer = TokenWriter::create(&folder.join(name), tokenizer)?;
        writer.push(tokens)?;
        writer.finish()?;
    }
    let open = |name: &str| TokenFile::open(&folder.join(name), tokenizer);
    Ok([open(TRAIN)?, open(VALID)?])
}

/// Keeps the order of documents apart from any other stream of the same seed.
const ORDER_STREAM: u64 = 0x0de7;

/// The parts of a corpus as a configuration wants them.
pub fn parts(corpus: &Corpus, config: &TrainConfig) -> Parts {
    let data = &config.data;
    let rule = data.split.unwrap_or(corpus.default_split());
    let mut parts = corpus.split(rule, data.held_out, data.test, data.split_seed);
    if data.shuffle {
        let mut random = Random::keyed(&[data.split_seed, ORDER_STREAM]);
        for part in [&mut parts.train, &mut parts.valid, &mut parts.test] {
            (1..part.len()).rev().for_each(|last| part.swap(last, random.below(last + 1)));
        }
    }
    parts
}

/// How a corpus is split, in words.
pub fn split_in_words(rule: Split, held_out: usize, documents: usize) -> String {
    match rule {
        Split::Documents => format!("{held_out} of {documents} documents held out, by their hash"),
        Split::Tail => "the end of the text held out".into(),
    }
}

/// The tokenizer that a configuration wants, made from pieces of a corpus.
pub fn make_tokenizer(corpus: &Corpus, pieces: &[Piece], config: &TrainConfig) -> Result<Vec<u8>> {
    let vocab_size = config.model.config.vocab_size;
    match config.data.tokenizer {
        Vocabulary::Bpe => train_bpe(corpus, pieces, vocab_size),
        Vocabulary::Characters => {
            let mut counts = CharacterCounts::default();
            for piece in pieces {
                for portion in corpus.portions(piece, PORTION, next_character) {
                    counts.add(&corpus.text(&portion)?);
                }
            }
            counts.tokenizer(vocab_size)
        }
    }
}

/// The first place from `at` on that is not within a character.
pub fn next_character(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] & 0xc0 == 0x80 {
        at += 1;
    }
    at
}

fn train_bpe(corpus: &Corpus, pieces: &[Piece], vocab_size: usize) -> Result<Vec<u8>> {
    let mut words = WordCounts::default();
    for piece in pieces {
        let cut = |text: &[u8], mut at: usize| {
            while at < text.len() && bpe::joined(text[at - 1], text[at]) {
                at += 1;
            }
            at
        };
        for portion in corpus.portions(piece, PORTION, cut) {
            words.add(corpus.text(&portion)?.as_bytes());
        }
    }
    bpe::train_on(words, vocab_size, |_| ())
}
