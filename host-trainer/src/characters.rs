//! Tokenizers of characters, made from a text.

use crate::tokenizer::section;
use anyhow::{Result, ensure};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use thumbformer::format::tokenizer::{Piece, TokenizerKind};

/// The characters of texts and how often they occur.
#[derive(Debug, Default)]
pub struct CharacterCounts(BTreeMap<char, u64>);

impl CharacterCounts {
    /// Counts the characters of one more text.
    pub fn add(&mut self, text: &str) {
        text.chars().for_each(|character| *self.0.entry(character).or_default() += 1);
    }

    /// A [`TokenizerKind::Characters`] tokenizer of at most `vocab_size` tokens (3 special ones and characters) as the
    /// tokenizer section of a model file. Where there are more characters, the most frequent ones are in it, of equals
    /// those of the lowest code points; they stand in the order of their code points.
    ///
    /// # Errors
    /// A `vocab_size` outside of 4..=65535.
    ///
    /// ```
    /// let mut counts = host_trainer::characters::CharacterCounts::default();
    /// counts.add("banana");
    /// let section = counts.tokenizer(5)?;
    /// let tokenizer = thumbformer::Tokenizer::from_bytes(&section)?;
    /// assert_eq!(tokenizer.decode(thumbformer::Token(3)), b"a");
    /// assert_eq!(tokenizer.decode(thumbformer::Token(4)), b"n");
    /// assert_eq!(tokenizer.vocab_size(), 5);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn tokenizer(&self, vocab_size: usize) -> Result<Vec<u8>> {
        let special = usize::from(TokenizerKind::Characters.first_piece());
        let (least, most) = (special + 1, usize::from(u16::MAX));
        ensure!(
            (least..=most).contains(&vocab_size),
            "vocab_size: found {vocab_size}, wanted {least} (one character) to {most}"
        );
        let mut characters: Vec<(char, u64)> = self.0.iter().map(|(&c, &count)| (c, count)).collect();
        characters.sort_by_key(|&(_, count)| Reverse(count));
        characters.truncate(vocab_size - special);
        characters.sort_unstable();
        let texts: Vec<String> = characters.iter().map(|(character, _)| character.to_string()).collect();
        let pieces: Vec<_> = texts.iter().map(|text| Piece { bytes: text.as_bytes(), rank: 0 }).collect();
        Ok(section(TokenizerKind::Characters, &pieces)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::TextEncoder;
    use thumbformer::Tokenizer;

    #[test]
    fn a_text_comes_back_and_rare_characters_are_unknown() {
        let text = "Ő és a só.\nÉs ő.";
        let mut counts = CharacterCounts::default();
        counts.add(text);
        let encode = |vocab_size, text: &str| -> (Vec<u16>, String) {
            let section = counts.tokenizer(vocab_size).unwrap();
            let tokenizer = Tokenizer::from_bytes(&section).unwrap();
            let tokens = TextEncoder::new(tokenizer).encode(text.as_bytes());
            let bytes = tokens.iter().flat_map(|&token| tokenizer.decode(token)).copied().collect();
            (tokens.iter().map(|token| token.0).collect(), String::from_utf8(bytes).unwrap())
        };
        let (tokens, back) = encode(100, text);
        assert_eq!((tokens.len(), back.as_str()), (1 + text.chars().count(), text));
        // "s" and " " are the most frequent; "." is the third, before "é" and those that occur once.
        assert_eq!(encode(6, "só."), (vec![1, 5, 0, 4], "s.".into()));
        for size in [3, 65_536] {
            let error = counts.tokenizer(size).unwrap_err().to_string();
            assert!(error.contains(&format!("vocab_size: found {size}, wanted 4")), "{error}");
        }
    }
}
