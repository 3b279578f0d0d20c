//! Trains a byte-level BPE tokenizer on a text (Sennrich et al. 2016, section 3.2, on bytes).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use anyhow::{Result, ensure};
use thumbformer::format::tokenizer::{FIRST_BYTE, FIRST_PIECE, Piece, TokenizerKind};

use crate::tokenizer::section;

/// Kinds of bytes between which no piece reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Space,
    Newline,
    Punctuation,
}

impl Class {
    fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b' ' | b'\t' => Class::Space,
            b'\n' | b'\r' => Class::Newline,
            _ => Class::Punctuation,
        }
    }
}

/// Whether a piece may have these two bytes next to each other. A piece is a run of letters, digits,
/// punctuation or white space; spaces may come before anything and after a newline, and newlines after
/// punctuation.
///
/// The rule sees two bytes only. So a text that is encoded as a whole, without cutting it into words first,
/// yields the same tokens as its words alone.
pub fn joined(left: u8, right: u8) -> bool {
    use Class::{Newline, Punctuation, Space};
    match (Class::of(left), Class::of(right)) {
        (Space, _) | (Newline, Space) | (Punctuation, Newline) => true,
        (left, right) => left == right,
    }
}

type Pair = (u16, u16);

/// Longer words are counted in parts of this many bytes, which bounds the time of a merge.
const LONGEST_COUNTED: usize = 64;

/// A word of the text and how often it occurs.
struct Word {
    tokens: Vec<u16>,
    count: u64,
}

/// The words of texts and how often they occur: all that training needs to know of them.
#[derive(Debug, Default)]
pub struct WordCounts(HashMap<Vec<u8>, u64>);

impl WordCounts {
    /// Counts the words of one more text.
    pub fn add(&mut self, text: &[u8]) {
        let words = text.chunk_by(|left, right| joined(*left, *right));
        for word in words.flat_map(|word| word.chunks(LONGEST_COUNTED)) {
            match self.0.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(self.0.insert(word.to_vec(), 1)),
            }
        }
    }
}

/// The state of training: the text as words, and the counts of all pairs in it.
#[derive(Default)]
struct Trainer {
    words: Vec<Word>,
    counts: HashMap<Pair, u64>,
    /// Words in which a pair occurs, or did.
    places: HashMap<Pair, BTreeSet<usize>>,
    /// Pairs by count, the lowest ids first among equals; an entry whose count is out of date is ignored.
    heap: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Trainer {
    fn new(words: WordCounts) -> Self {
        let mut trainer = Trainer::default();
        for (bytes, count) in words.0 {
            let tokens = bytes.iter().map(|byte| FIRST_BYTE + u16::from(*byte)).collect();
            trainer.words.push(Word { tokens, count });
        }
        for word in 0..trainer.words.len() {
            trainer.count(word);
        }
        trainer.heap = trainer.counts.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        trainer
    }

    /// Adds the pairs of a word and returns them.
    fn count(&mut self, word: usize) -> Vec<Pair> {
        let Word { tokens, count } = &self.words[word];
        let pairs: Vec<Pair> = tokens.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for pair in &pairs {
            *self.counts.entry(*pair).or_default() += count;
            self.places.entry(*pair).or_default().insert(word);
        }
        pairs
    }

    /// Takes the pairs of a word away and returns them.
    fn uncount(&mut self, word: usize) -> Vec<Pair> {
        let Word { tokens, count } = &self.words[word];
        let pairs: Vec<Pair> = tokens.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for pair in &pairs {
            *self.counts.get_mut(pair).expect("a pair that was counted") -= count;
        }
        pairs
    }

    /// The most frequent pair that occurs at least twice.
    fn best(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            if count >= 2 && self.counts.get(&pair) == Some(&count) {
                return Some(pair);
            }
        }
        None
    }

    /// Puts `token` in the place of every one of these pairs, from the left.
    fn merge(&mut self, pairs: &[Pair], token: u16) {
        let words: BTreeSet<usize> =
            pairs.iter().filter_map(|pair| self.places.remove(pair)).flatten().collect();
        let mut changed = BTreeSet::new();
        for word in words {
            changed.extend(self.uncount(word));
            let tokens = &mut self.words[word].tokens;
            let mut merged = Vec::with_capacity(tokens.len());
            let mut rest = &tokens[..];
            while let [left, after @ ..] = rest {
                match after {
                    [right, after @ ..] if pairs.contains(&(*left, *right)) => {
                        merged.push(token);
                        rest = after;
                    }
                    _ => {
                        merged.push(*left);
                        rest = after;
                    }
                }
            }
            *tokens = merged;
            changed.extend(self.count(word));
        }
        self.heap.extend(changed.into_iter().map(|pair| (self.counts[&pair], Reverse(pair))));
    }
}

/// Trains a [`TokenizerKind::ByteBpe`] tokenizer of `vocab_size` tokens (3 special ones, 256 bytes, and
/// pieces) and returns the tokenizer section of a model file. `progress` is told the number of tokens so far.
///
/// Every step adds the pair of tokens that is most frequent, of equals the one of the lowest ids, so that
/// a text always gives the same bytes. A text in which no pair occurs twice any more ends with fewer tokens.
///
/// # Errors
///
/// A `vocab_size` outside of 259..=65535.
///
/// ```
/// let text = "the cat and the dog and the bird";
/// let section = host_trainer::bpe::train(text.as_bytes(), 262, |_| ())?;
/// let tokenizer = thumbformer::Tokenizer::from_bytes(&section)?;
/// assert_eq!(tokenizer.decode(thumbformer::Token(259)), b"he");
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn train(text: &[u8], vocab_size: usize, progress: impl FnMut(usize)) -> Result<Vec<u8>> {
    let mut words = WordCounts::default();
    words.add(text);
    train_on(words, vocab_size, progress)
}

/// [`train`] on the words of many texts.
pub fn train_on(words: WordCounts, vocab_size: usize, mut progress: impl FnMut(usize)) -> Result<Vec<u8>> {
    let (least, most) = (usize::from(FIRST_PIECE), usize::from(u16::MAX));
    ensure!(
        (least..=most).contains(&vocab_size),
        "vocab_size: found {vocab_size}, wanted {least} (all bytes) to {most}"
    );
    let mut trainer = Trainer::new(words);
    // the bytes of every token, and the token of these bytes
    let mut vocabulary: Vec<Vec<u8>> = vec![Vec::new(); usize::from(FIRST_BYTE)];
    vocabulary.extend((0..=255).map(|byte| vec![byte]));
    let mut ids: HashMap<Vec<u8>, u16> = (FIRST_BYTE..)
        .zip(&vocabulary[usize::from(FIRST_BYTE)..])
        .map(|(id, bytes)| (bytes.clone(), id))
        .collect();

    while vocabulary.len() < vocab_size {
        let Some((left, right)) = trainer.best() else { break };
        let bytes = [&vocabulary[usize::from(left)][..], &vocabulary[usize::from(right)]].concat();
        // the runtime merges all pairs that spell a piece, whichever way it was found
        let split = |at: usize| Some((*ids.get(&bytes[..at])?, *ids.get(&bytes[at..])?));
        let pairs: Vec<Pair> = (1..bytes.len()).filter_map(split).collect();
        let token = ids.get(&bytes).copied().unwrap_or(vocabulary.len() as u16);
        trainer.merge(&pairs, token);
        if usize::from(token) == vocabulary.len() {
            ids.insert(bytes.clone(), token);
            vocabulary.push(bytes);
            progress(vocabulary.len());
        }
    }
    let pieces: Vec<_> = (0..).zip(&vocabulary[least..]).map(|(rank, bytes)| Piece { bytes, rank }).collect();
    Ok(section(TokenizerKind::ByteBpe, &pieces)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::TextEncoder;
    use proptest::prelude::*;
    use thumbformer::{Token, Tokenizer};

    const TEXT: &str = "fn main() {\n    let mut x = 10;\n    let mut y = 20;\n    println!(\"{x} {y}\");\n}\n\
        The mutable variables x and y. The value of x is 10, the value of y is 20.\n";

    #[test]
    fn training_is_deterministic_and_saves_tokens() {
        let text = TEXT.repeat(3);
        let section = train(text.as_bytes(), 300, |_| ()).unwrap();
        for _ in 0..3 {
            assert_eq!(train(text.as_bytes(), 300, |_| ()).unwrap(), section);
        }
        let tokenizer = Tokenizer::from_bytes(&section).unwrap();
        assert_eq!(tokenizer.vocab_size(), 300);
        assert!(TextEncoder::new(tokenizer).encode(text.as_bytes()).len() < text.len() * 3 / 5);
    }

    #[test]
    fn pieces_differ_and_respect_the_boundaries() {
        let section = train(TEXT.as_bytes(), 400, |_| ()).unwrap();
        let tokenizer = Tokenizer::from_bytes(&section).unwrap();
        let mut seen = BTreeSet::new();
        for id in 259..tokenizer.vocab_size() {
            let piece = tokenizer.decode(Token(id as u16));
            assert!(seen.insert(piece));
            assert!(piece.windows(2).all(|pair| joined(pair[0], pair[1])), "{}", piece.escape_ascii());
        }
        // so words alone and the whole text are the same
        let whole = TextEncoder::new(tokenizer).encode_part(TEXT.as_bytes());
        let mut buffer = [Token::BOS; 400];
        let words = TEXT.as_bytes().chunk_by(|a, b| joined(*a, *b));
        let parts: Vec<Token> =
            words.flat_map(|word| tokenizer.encode_part(word, &mut buffer).unwrap().to_vec()).collect();
        assert_eq!(whole, parts);
    }

    #[test]
    fn short_texts_and_bad_sizes() {
        for text in ["", "x", "ab"] {
            let section = train(text.as_bytes(), 512, |_| ()).unwrap();
            assert_eq!(Tokenizer::from_bytes(&section).unwrap().vocab_size(), 259);
        }
        assert!(train(b"text", 258, |_| ()).is_err());
        assert!(train(b"text", 65_536, |_| ()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_come_back(text in prop::collection::vec(any::<u8>(), 0..200), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let section = train(&[&text[..], &text, &bytes].concat(), 300, |_| ()).unwrap();
            let tokenizer = Tokenizer::from_bytes(&section).unwrap();
            let tokens = TextEncoder::new(tokenizer).encode(&bytes);
            let decoded: Vec<u8> = tokens.iter().flat_map(|t| tokenizer.decode(*t)).copied().collect();
            prop_assert_eq!(decoded, bytes);
        }
    }
}
