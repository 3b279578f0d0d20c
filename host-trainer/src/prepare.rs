//! A corpus to what training reads: a tokenizer, tokens to learn from and tokens to be examined by.

use crate::bpe::{self, WordCounts};
use crate::corpus::{Corpus, Parts, Piece, Split};
use crate::data::{TokenFile, TokenWriter, tokenize};
use crate::train::TrainConfig;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use thumbformer::Tokenizer;

/// The tokens to learn from, in the folder of tokens.
pub const TRAIN: &str = "train.u16";
/// The held-out tokens.
pub const VALID: &str = "valid.u16";

/// Bytes of a long document whose words are counted at a time.
const PORTION: usize = 1 << 20;

/// A corpus, ready for training.
#[derive(Debug)]
pub struct Prepared {
    /// The tokenizer section of the model file.
    pub tokenizer: Vec<u8>,
    /// Tokens to learn from.
    pub train: TokenFile,
    /// Held-out tokens, which the model never learns from; nor does the tokenizer.
    pub valid: TokenFile,
    /// How many documents, the tail of one included, are held out.
    pub held_out: usize,
}

/// Trains a byte-level BPE tokenizer on the part of a corpus to learn from, and encodes both parts.
///
/// # Errors
/// As [`encode`], or for a size of the vocabulary that no tokenizer can have.
pub fn prepare(
    corpus: &Corpus,
    config: &TrainConfig,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Prepared> {
    let tokenizer = train_tokenizer(corpus, &parts(corpus, config).train, config.model.config.vocab_size)?;
    encode(corpus, tokenizer, config, folder, progress)
}

/// Writes the tokens of both parts of a corpus to a folder, each document behind
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
    for (part, name, pieces) in
        [("training part", TRAIN, &parts.train), ("held-out part", VALID, &parts.valid)]
    {
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
    // Both or none.
    writers.into_iter().try_for_each(TokenWriter::finish)?;
    Ok(Prepared {
        train: TokenFile::open(&folder.join(TRAIN), &section)?,
        valid: TokenFile::open(&folder.join(VALID), &section)?,
        tokenizer: section,
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

/// The two parts of a corpus as a configuration wants them.
pub fn parts(corpus: &Corpus, config: &TrainConfig) -> Parts {
    let data = &config.data;
    corpus.split(data.split.unwrap_or(corpus.default_split()), data.held_out, data.split_seed)
}

/// How a corpus is split, in words.
pub fn split_in_words(rule: Split, held_out: usize, documents: usize) -> String {
    match rule {
        Split::Documents => format!("{held_out} of {documents} documents held out, by their hash"),
        Split::Tail => "the end of the text held out".into(),
    }
}

/// Trains a byte-level BPE tokenizer on pieces of a corpus.
pub fn train_tokenizer(corpus: &Corpus, pieces: &[Piece], vocab_size: usize) -> Result<Vec<u8>> {
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
