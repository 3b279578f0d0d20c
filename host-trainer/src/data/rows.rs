//! Pairs of prompt and answer as rows of tokens: a model learns the answers, and where they end.

use super::pairs::{PackedPairs, Pair};
use crate::nn::cross_entropy::IGNORED;
use crate::tokenizer::TextEncoder;
use crate::train::Rows;
use anyhow::{Context, Result, ensure};
use thumbformer::{Token, Tokenizer};

/// Pairs as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// To learn from.
    pub train: Rows,
    /// The last of them, held out.
    pub valid: Rows,
    /// Pairs that are longer than the context and were left out.
    pub too_long: usize,
}

/// Encodes each pair as it will be met: the prompt as it begins a sequence, the answer behind it, the end token. A row has
/// the length of the longest; what is behind a pair's end, and its prompt, are no targets.
pub fn encode(pairs: &[Pair], tokenizer: Tokenizer<'_>, seq_len: usize, held_out: f64) -> Result<Encoded> {
    let mut encoder = TextEncoder::new(tokenizer);
    let mut encoded = Vec::new();
    for pair in pairs {
        let (prompt, tokens) = tokens(&mut encoder, pair);
        // The last token is a target only.
        if tokens.len() - 1 <= seq_len {
            encoded.push((prompt, tokens));
        }
    }
    let too_long = pairs.len() - encoded.len();
    let longest = encoded.iter().map(|(_, tokens)| tokens.len()).max();
    let longest = longest
        .with_context(|| format!("found {too_long} pairs, all longer than the context of {seq_len}"))?;
    let valid = (encoded.len() as f64 * held_out).ceil() as usize;
    ensure!(
        valid < encoded.len(),
        "found {} pairs, wanted at least 2, one of them to be held out",
        encoded.len()
    );
    let (train, valid) = encoded.split_at(encoded.len() - valid);
    Ok(Encoded { train: rows(train, longest - 1), valid: rows(valid, longest - 1), too_long })
}

/// A pair as tokens, and how many of them are the prompt.
pub fn tokens(encoder: &mut TextEncoder<'_>, pair: &Pair) -> (usize, Vec<u16>) {
    let prompt = encoder.encode(pair.prompt.as_bytes());
    let mut tokens: Vec<u16> = prompt.iter().map(|token| token.0).collect();
    tokens.extend(encoder.encode_part(pair.answer.as_bytes()).iter().map(|token| token.0));
    tokens.push(Token::EOS.0);
    (prompt.len(), tokens)
}

/// [`encode`] with as many pairs in a row of `seq_len` tokens as fit: fewer rows, but a pair sees those before it.
pub fn pack(pairs: &[Pair], tokenizer: Tokenizer<'_>, seq_len: usize, held_out: f64) -> Result<Encoded> {
    let valid = (pairs.len() as f64 * held_out).ceil() as usize;
    ensure!(
        valid < pairs.len(),
        "found {} pairs, wanted at least 2, one of them to be held out",
        pairs.len()
    );
    let (train, valid) = pairs.split_at(pairs.len() - valid);
    let train = PackedPairs::new(train, tokenizer, seq_len).context("pairs to learn")?;
    let valid = PackedPairs::new(valid, tokenizer, seq_len).context("held-out pairs")?;
    let too_long = train.too_long.len() + valid.too_long.len();
    Ok(Encoded { train: train.into_rows(), valid: valid.into_rows(), too_long })
}

fn rows(pairs: &[(usize, Vec<u16>)], len: usize) -> Rows {
    let mut rows = Rows { len, ..Rows::default() };
    for (prompt, tokens) in pairs {
        let end = rows.tokens.len() + len;
        rows.tokens.extend(&tokens[..tokens.len() - 1]);
        rows.tokens.resize(end, Token::EOS.0);
        rows.targets.resize(end - len + prompt - 1, IGNORED);
        rows.targets.extend(&tokens[*prompt..]);
        rows.targets.resize(end, IGNORED);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::section;
    use thumbformer::format::tokenizer::TokenizerKind;

    fn pair(prompt: &str, answer: &str) -> Pair {
        Pair { line: 1, prompt: prompt.into(), answer: answer.into() }
    }

    #[test]
    fn only_answers_and_their_end_are_targets() {
        let bytes = section(TokenizerKind::ByteBpe, &[]).unwrap();
        let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
        let pairs = [pair("ab", "c"), pair("", "de"), pair("abcdefgh", "ijk"), pair("x", "yz")];
        let Encoded { train, valid, too_long } = encode(&pairs, tokenizer, 6, 0.3).unwrap();
        let of = |byte: u8| u16::from(byte) + 3;
        assert_eq!((train.len, valid.len, too_long), (4, 4, 1));
        assert_eq!(train.tokens, [1, of(b'a'), of(b'b'), of(b'c'), 1, of(b'd'), of(b'e'), 2]);
        let none = IGNORED;
        assert_eq!(train.targets, [none, none, of(b'c'), 2, of(b'd'), of(b'e'), 2, none]);
        assert_eq!(valid.tokens, [1, of(b'x'), of(b'y'), of(b'z')]);
        assert_eq!(valid.targets, [none, of(b'y'), of(b'z'), 2]);
        let error = encode(&pairs[2..3], tokenizer, 6, 0.3).unwrap_err().to_string();
        assert!(error.contains("found 1 pairs, all longer than the context of 6"), "{error}");
        let error = encode(&pairs[..1], tokenizer, 6, 0.3).unwrap_err().to_string();
        assert!(error.contains("found 1 pairs, wanted at least 2"), "{error}");
    }

    #[test]
    fn packed_rows_hold_several_pairs() {
        let bytes = section(TokenizerKind::ByteBpe, &[]).unwrap();
        let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
        let pairs = [pair("a", "b"), pair("c", "d"), pair("abcdefgh", "ijk"), pair("e", "f")];
        let Encoded { train, valid, too_long } = pack(&pairs, tokenizer, 6, 0.25).unwrap();
        assert_eq!((train.len, valid.len, too_long), (6, 6, 1));
        let of = |byte: u8| u16::from(byte) + 3;
        assert_eq!(train.tokens, [1, of(b'a'), of(b'b'), 1, of(b'c'), of(b'd')]);
        assert_eq!(train.targets, [IGNORED, of(b'b'), 2, IGNORED, of(b'd'), 2]);
        assert_eq!(valid.tokens.len(), 6);
        let error = format!("{:#}", pack(&pairs[2..], tokenizer, 6, 0.25).unwrap_err());
        assert!(
            error.contains("pairs to learn: no pair fits: found at least 12 tokens, wanted at most 6"),
            "{error}"
        );
    }
}
