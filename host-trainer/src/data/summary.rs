//! What would be read: for a look at data before training on it.

use super::pairs::{Fields, PackedPairs, Pair};
use super::tokenize;
use super::windows::Windows;
use crate::bpe::{self, WordCounts};
use crate::corpus::{Corpus, Findings, Piece, Split};
use crate::prepare::{make_tokenizer, next_character, parts, split_in_words};
use crate::train::TrainConfig;
use anyhow::Result;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use thumbformer::Tokenizer;

/// Characters of a sample.
const SAMPLE: usize = 200;

/// A text, and what training would make of it.
#[derive(Debug, Serialize)]
pub struct TextSummary {
    name: String,
    bytes: usize,
    crc32: String,
    #[serde(flatten)]
    findings: Findings,
    documents: usize,
    median_document_bytes: usize,
    longest_document_bytes: usize,
    split: Split,
    vocab_size: usize,
    bytes_per_token: f64,
    train: Part,
    valid: Part,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Part>,
}

/// One of the parts of a text.
#[derive(Debug, Serialize)]
struct Part {
    documents: usize,
    bytes: usize,
    tokens: usize,
    /// Tokens of the vocabulary that occur.
    tokens_used: usize,
    sample: String,
}

impl TextSummary {
    /// Makes a tokenizer as training would, and counts.
    pub fn new(corpus: &Corpus, config: &TrainConfig, threads: usize) -> Result<Self> {
        let split = parts(corpus, config);
        let section = make_tokenizer(corpus, &split.train, config)?;
        let tokenizer = Tokenizer::from_bytes(&section)?;
        let mut lens: Vec<usize> = (0..corpus.documents()).map(|d| corpus.whole(d).len()).collect();
        lens.sort_unstable();
        let train = Part::new(corpus, &split.train, tokenizer, threads)?;
        let valid = Part::new(corpus, &split.valid, tokenizer, threads)?;
        let test = match split.test.is_empty() {
            true => None,
            false => Some(Part::new(corpus, &split.test, tokenizer, threads)?),
        };
        let tokens = train.tokens + valid.tokens + test.as_ref().map_or(0, |part| part.tokens);
        Ok(Self {
            name: corpus.provenance.name.clone(),
            bytes: corpus.provenance.bytes,
            crc32: format!("{:08x}", corpus.provenance.crc32),
            findings: corpus.findings.clone(),
            documents: lens.len(),
            median_document_bytes: lens[lens.len() / 2],
            longest_document_bytes: lens[lens.len() - 1],
            split: config.data.split.unwrap_or(corpus.default_split()),
            vocab_size: tokenizer.vocab_size(),
            bytes_per_token: corpus.provenance.bytes as f64 / tokens as f64,
            train,
            valid,
            test,
        })
    }
}

impl Part {
    fn new(corpus: &Corpus, pieces: &[Piece], tokenizer: Tokenizer<'_>, threads: usize) -> Result<Self> {
        let mut used = vec![false; tokenizer.vocab_size()];
        let mut count = 0;
        let take = |tokens: &[u16]| {
            count += tokens.len();
            tokens.iter().for_each(|token| used[usize::from(*token)] = true);
            Ok(())
        };
        tokenize(corpus, pieces, tokenizer, threads, take, |_| ())?;
        let sample = match pieces.first() {
            Some(piece) => corpus.text(&corpus.portions(piece, 4 * SAMPLE, next_character)[0])?,
            None => String::new(),
        };
        Ok(Self {
            documents: pieces.len(),
            bytes: pieces.iter().map(Piece::len).sum(),
            tokens: count,
            tokens_used: used.iter().filter(|used| **used).count(),
            sample: sample.chars().take(SAMPLE).collect(),
        })
    }
}

impl Display for TextSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        writeln!(
            f,
            "text        {}, {} bytes in {} files, crc32 {}",
            self.name, self.bytes, found.files, self.crc32
        )?;
        for path in &found.skipped {
            writeln!(f, "left out    {}: not text", path.display())?;
        }
        for (count, what) in [
            (found.byte_order_marks, "files begin with a byte order mark, which is left out"),
            (found.cr_lf, "files have lines that end in CR LF, read as LF"),
            (found.empty, "empty documents, left out"),
        ] {
            if count > 0 {
                writeln!(f, "            {count} {what}")?;
            }
        }
        writeln!(
            f,
            "documents   {}, the median {} bytes, the longest {}",
            self.documents, self.median_document_bytes, self.longest_document_bytes
        )?;
        writeln!(
            f,
            "duplicates  {}, {} bytes{}",
            found.duplicates,
            found.duplicate_bytes,
            match (found.duplicates, found.deduplicated) {
                (0, _) => "",
                (_, true) => ", left out",
                (_, false) => ", kept (--deduplicate leaves them out)",
            }
        )?;
        writeln!(f, "split       {}", split_in_words(self.split, self.valid.documents, self.documents))?;
        writeln!(f, "tokenizer   {} tokens, {:.2} bytes per token", self.vocab_size, self.bytes_per_token)?;
        let test = self.test.iter().map(|part| ("test    ", part));
        let parts = [("to learn", &self.train), ("held out", &self.valid)].into_iter().chain(test);
        for (name, part) in parts {
            writeln!(
                f,
                "{name}    {} bytes, {} tokens, {} of {} different ones",
                part.bytes, part.tokens, part.tokens_used, self.vocab_size
            )?;
        }
        for (name, part) in [("to learn", &self.train), ("held out", &self.valid)] {
            writeln!(f, "\n{name}, from its beginning:\n{}", part.sample.trim_end())?;
        }
        Ok(())
    }
}

/// Pairs of prompt and answer, and what packing them would make.
#[derive(Debug, Serialize)]
pub struct PairSummary {
    pairs: usize,
    vocab_size: usize,
    seq_len: usize,
    windows: usize,
    answer_tokens: usize,
    ignored_tokens: usize,
    /// Lines of pairs that are longer than a window.
    too_long: Vec<usize>,
    sample: [String; 2],
}

impl PairSummary {
    /// Trains a tokenizer on the pairs, and packs them.
    pub fn new(pairs: &[Pair], config: &TrainConfig) -> Result<Self> {
        let shape = config.model.config;
        let mut words = WordCounts::default();
        for pair in pairs {
            words.add(pair.prompt.as_bytes());
            words.add(pair.answer.as_bytes());
        }
        let section = bpe::train_on(words, shape.vocab_size, |_| ())?;
        let tokenizer = Tokenizer::from_bytes(&section)?;
        let packed = PackedPairs::new(pairs, tokenizer, shape.seq_len)?;
        let cut = |text: &str| text.chars().take(SAMPLE).collect();
        Ok(Self {
            pairs: pairs.len(),
            vocab_size: tokenizer.vocab_size(),
            seq_len: shape.seq_len,
            windows: packed.len(),
            answer_tokens: packed.answer_tokens,
            ignored_tokens: packed.ignored_tokens,
            too_long: packed.too_long,
            sample: [cut(&pairs[0].prompt), cut(&pairs[0].answer)],
        })
    }
}

impl Display for PairSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Fields { prompt, answer } = Fields::default();
        writeln!(f, "pairs       {}", self.pairs)?;
        writeln!(f, "tokenizer   {} tokens", self.vocab_size)?;
        writeln!(
            f,
            "packed      {} rows of {} tokens: {} targets of answers, {} of prompts and padding",
            self.windows, self.seq_len, self.answer_tokens, self.ignored_tokens
        )?;
        if let Some(first) = self.too_long.first() {
            writeln!(
                f,
                "left out    {} pairs that are longer than a row, the first in line {first}",
                self.too_long.len()
            )?;
        }
        writeln!(f, "\n{prompt}: {}\n{answer}: {}", self.sample[0], self.sample[1])
    }
}

/// Windows of signals.
#[derive(Debug, Serialize)]
pub struct WindowSummary {
    windows: usize,
    channels: usize,
    rate: Option<f64>,
    shortest_steps: usize,
    longest_steps: usize,
    left_out_steps: usize,
    classes: Vec<Class>,
    /// Least, mean and greatest value of each channel.
    ranges: Vec<[f64; 3]>,
}

#[derive(Debug, Serialize)]
struct Class {
    name: String,
    windows: usize,
}

impl WindowSummary {
    /// Counts.
    pub fn new(windows: &Windows) -> Self {
        let steps = || (0..windows.len()).map(|i| windows.steps(i));
        let class = |(class, name): (usize, &String)| Class {
            name: name.clone(),
            windows: windows.labels.iter().filter(|label| usize::from(**label) == class).count(),
        };
        let range = |channel: usize| {
            let windows_of = (0..windows.len()).map(|i| windows.window(i));
            let values = windows_of.flat_map(|w| w[channel..].iter().step_by(windows.channels));
            let (mut range, mut count) = ([f64::INFINITY, 0.0, f64::NEG_INFINITY], 0.0);
            for value in values.map(|value| f64::from(*value)) {
                range = [range[0].min(value), range[1] + value, range[2].max(value)];
                count += 1.0;
            }
            range[1] /= count;
            range
        };
        Self {
            windows: windows.len(),
            channels: windows.channels,
            rate: windows.rate,
            shortest_steps: steps().min().unwrap_or_default(),
            longest_steps: steps().max().unwrap_or_default(),
            left_out_steps: windows.left_out,
            classes: windows.classes.iter().enumerate().map(class).collect(),
            ranges: (0..windows.channels).map(range).collect(),
        }
    }
}

impl Display for WindowSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "windows     {} of {} to {} steps", self.windows, self.shortest_steps, self.longest_steps)?;
        writeln!(f, ", {} channels", self.channels)?;
        if let Some(rate) = self.rate {
            writeln!(f, "rate        {rate} steps per second")?;
        }
        if self.left_out_steps > 0 {
            writeln!(f, "left out    {} steps that fill no window", self.left_out_steps)?;
        }
        writeln!(f, "classes     {}", self.classes.len())?;
        for Class { name, windows } in &self.classes {
            writeln!(f, "            {name}: {windows} windows")?;
        }
        for (i, [low, mean, high]) in self.ranges.iter().enumerate() {
            let name = if i == 0 { "channels  " } else { "" };
            writeln!(f, "{name:10}  {}: {low:.4} to {high:.4}, mean {mean:.4}", i + 1)?;
        }
        Ok(())
    }
}
