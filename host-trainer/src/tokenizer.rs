//! Tokenizers on the host: sections in a vector, and megabytes of text quickly.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use thumbformer::format::FormatError;
use thumbformer::format::tokenizer::{Piece, TokenizerKind, emit, section_len};
use thumbformer::{Token, Tokenizer};

/// The tokenizer section of a model file with these pieces, the tokens from [`TokenizerKind::first_piece`] on.
///
/// # Errors
///
/// [`FormatError::BadTokenizer`] where there are more pieces than ids.
pub fn section(kind: TokenizerKind, pieces: &[Piece<'_>]) -> Result<Vec<u8>, FormatError> {
    let pool_len = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let mut out = vec![0; section_len(pieces.len(), pool_len)];
    emit(kind, pieces, &mut out)?;
    Ok(out)
}

/// Encodes large texts with the same result as [`Tokenizer`]: the text is cut where no piece can reach
/// across, each different part is encoded once, and long parts merge in `n log n`.
#[derive(Debug)]
pub struct TextEncoder<'m> {
    tokenizer: Tokenizer<'m>,
    /// Whether some piece has this pair of bytes, by `256 * left + right`.
    joined: Vec<bool>,
    parts: HashMap<Vec<u8>, Vec<Token>>,
}

/// Longer parts are rarely seen twice.
const LONGEST_REMEMBERED: usize = 64;
/// Bounds the memory that parts of a large text take.
const MOST_REMEMBERED: usize = 1 << 18;

impl<'m> TextEncoder<'m> {
    /// An encoder for a tokenizer.
    pub fn new(tokenizer: Tokenizer<'m>) -> Self {
        let mut joined = vec![false; 1 << 16];
        for id in usize::from(tokenizer.kind().first_piece())..tokenizer.vocab_size() {
            for pair in tokenizer.decode(Token(id as u16)).windows(2) {
                joined[usize::from(pair[0]) << 8 | usize::from(pair[1])] = true;
            }
        }
        TextEncoder { tokenizer, joined, parts: HashMap::new() }
    }

    /// The tokens of a text that begins a sequence, as [`Tokenizer::encode_bytes`] gives them.
    pub fn encode(&mut self, text: &[u8]) -> Vec<Token> {
        let mut tokens = vec![Token::BOS];
        if self.tokenizer.kind() == TokenizerKind::LlamaBpe && !text.is_empty() {
            // the space may merge with the first part
            let (part, rest) = text.split_at(self.first_part(text));
            let unmerged = [self.unmerged(b" "), self.unmerged(part)].concat();
            tokens.extend(self.merge(unmerged));
            self.push_parts(rest, &mut tokens);
        } else {
            self.push_parts(text, &mut tokens);
        }
        tokens
    }

    /// The tokens of a text in the middle of a sequence, as [`Tokenizer::encode_part`] gives them.
    pub fn encode_part(&mut self, text: &[u8]) -> Vec<Token> {
        let mut tokens = Vec::new();
        self.push_parts(text, &mut tokens);
        tokens
    }

    /// The first place from `at` on, which is at least 1, that no token reaches across: what comes before it and what
    /// comes after have the same tokens alone as together.
    pub fn cut(&self, text: &[u8], at: usize) -> usize {
        at - 1 + self.first_part(&text[at - 1..])
    }

    fn push_parts(&mut self, mut text: &[u8], tokens: &mut Vec<Token>) {
        while !text.is_empty() {
            let (part, rest) = text.split_at(self.first_part(text));
            self.push_part(part, tokens);
            text = rest;
        }
    }

    /// The length of the text up to the first place that no piece reaches across. Characters stay whole, as
    /// a part that starts within one could be looked up differently.
    fn first_part(&self, text: &[u8]) -> usize {
        let cut = |pair: &[u8]| {
            pair[1] & 0xc0 != 0x80 && !self.joined[usize::from(pair[0]) << 8 | usize::from(pair[1])]
        };
        text.windows(2).position(cut).map_or(text.len(), |at| at + 1)
    }

    fn push_part(&mut self, part: &[u8], tokens: &mut Vec<Token>) {
        if let Some(known) = self.parts.get(part) {
            tokens.extend(known);
            return;
        }
        let merged = self.merge(self.unmerged(part));
        tokens.extend(&merged);
        if part.len() <= LONGEST_REMEMBERED {
            if self.parts.len() == MOST_REMEMBERED {
                self.parts.clear();
            }
            self.parts.insert(part.to_vec(), merged);
        }
    }

    /// The tokens that merging starts from: those of every character (or byte) alone.
    fn unmerged(&self, part: &[u8]) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut buffer = [Token::default(); 4];
        let mut rest = part;
        while !rest.is_empty() {
            let len = match self.tokenizer.kind() {
                TokenizerKind::ByteBpe => 1,
                TokenizerKind::LlamaBpe | TokenizerKind::Characters => {
                    1 + rest[1..].iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count()
                }
            };
            let (character, after) = rest.split_at(len);
            tokens.extend(self.tokenizer.encode_part(character, &mut buffer).expect("4 bytes, 4 tokens"));
            rest = after;
        }
        tokens
    }

    /// Merges as the tokenizer does, the candidates in a heap: smallest rank first, then leftmost.
    fn merge(&self, mut tokens: Vec<Token>) -> Vec<Token> {
        let end = tokens.len();
        let mut next: Vec<usize> = (1..=end).collect();
        let mut previous: Vec<usize> = (0..end).map(|at| at.wrapping_sub(1)).collect();
        let mut alive = vec![true; end];
        let mut heap = BinaryHeap::new();
        let candidate = |tokens: &[Token], left: usize, right: usize| {
            let (rank, _) = self.tokenizer.merge(*tokens.get(left)?, *tokens.get(right)?)?;
            Some(Reverse((rank, left, right, tokens[left], tokens[right])))
        };
        heap.extend((1..end).filter_map(|right| candidate(&tokens, right - 1, right)));
        while let Some(Reverse((_, left, right, left_token, right_token))) = heap.pop() {
            let current = alive[left] && alive[right] && next[left] == right;
            if !current || (tokens[left], tokens[right]) != (left_token, right_token) {
                continue;
            }
            let Some((_, merged)) = self.tokenizer.merge(left_token, right_token) else { continue };
            tokens[left] = merged;
            alive[right] = false;
            next[left] = next[right];
            if let Some(back) = previous.get_mut(next[right]) {
                *back = left;
            }
            heap.extend(candidate(&tokens, left, next[left]));
            heap.extend(candidate(&tokens, previous[left], left));
        }
        tokens.into_iter().zip(alive).filter_map(|(token, alive)| alive.then_some(token)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'a'), Just(b'b'), Just(b' '), Just(0xc3), Just(0xa9), any::<u8>()];
        prop::collection::vec(byte, len)
    }

    proptest! {
        #[test]
        fn the_tokens_are_those_of_the_runtime(
            kind in 0..3usize,
            pieces in prop::collection::vec((bytes(0..5), 0..8u16), 0..40),
            text in bytes(0..80),
        ) {
            let kind =
                [TokenizerKind::LlamaBpe, TokenizerKind::ByteBpe, TokenizerKind::Characters][kind];
            let pieces: Vec<_> = pieces.iter().map(|(bytes, rank)| Piece { bytes, rank: *rank }).collect();
            let section = section(kind, &pieces).unwrap();
            let tokenizer = Tokenizer::from_bytes(&section).unwrap();
            let mut encoder = TextEncoder::new(tokenizer);
            let mut buffer = vec![Token::BOS; text.len() + 2];
            for _ in 0..2 {
                prop_assert_eq!(&encoder.encode(&text), tokenizer.encode_bytes(&text, &mut buffer).unwrap());
                prop_assert_eq!(&encoder.encode_part(&text), tokenizer.encode_part(&text, &mut buffer).unwrap());
            }
        }
    }

    #[test]
    fn a_long_part_takes_no_square_of_its_length() {
        let pieces = [b"aa".as_slice(), b"aaaa"].map(|bytes| Piece { bytes, rank: bytes.len() as u16 });
        let section = section(TokenizerKind::ByteBpe, &pieces).unwrap();
        let mut encoder = TextEncoder::new(Tokenizer::from_bytes(&section).unwrap());
        assert_eq!(encoder.encode(&vec![b'a'; 400_000]).len(), 100_001);
    }
}
