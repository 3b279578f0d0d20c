//! llama2.c's `tokenizer.bin`: `u32` longest length, then per token `f32` score, `i32` length and its
//! bytes, all little-endian.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use thumbformer::format::tokenizer::{FIRST_BYTE, FIRST_PIECE, Piece, TokenizerKind};

use crate::tokenizer::section;

/// Reads a tokenizer file into the tokenizer section of a model file.
///
/// # Errors
///
/// The file cannot be read, or [`parse`] refuses it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    parse(&bytes).with_context(|| format!("{}: not a llama2.c tokenizer", path.display()))
}

/// Turns the bytes of a tokenizer file into the tokenizer section of a model file.
///
/// Scores become ranks: the largest is 0, equal scores have equal ranks. The tokens 0 to 2 are special, 3
/// to 258 must be `<0x00>` to `<0xFF>`: their names are dropped, so that no text can spell them.
///
/// # Errors
///
/// A truncated or too long file, a score that is NaN, more than 65535 tokens, or another layout of the first 259.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<u8>> {
    take::<4>(&mut bytes)?;
    let mut tokens = Vec::new();
    while !bytes.is_empty() {
        let id = tokens.len();
        let score = f32::from_le_bytes(take(&mut bytes)?);
        let len = i32::from_le_bytes(take(&mut bytes)?);
        ensure!(!score.is_nan(), "token {id}: the score is not a number");
        let piece = usize::try_from(len).ok().and_then(|len| bytes.split_off(..len));
        let Some(piece) = piece else {
            bail!("token {id}: its length is {len}, {} bytes are left", bytes.len());
        };
        tokens.push((score, piece));
    }
    ensure!(tokens.len() <= usize::from(u16::MAX), "{} tokens, at most 65535 are possible", tokens.len());
    let Some((fixed, pieces)) = tokens.split_at_checked(usize::from(FIRST_PIECE)) else {
        bail!("{} tokens, at least 259 are needed", tokens.len());
    };
    for (byte, (_, name)) in (0..=255u8).zip(&fixed[usize::from(FIRST_BYTE)..]) {
        ensure!(
            *name == format!("<0x{byte:02X}>").as_bytes(),
            "token {} is \"{}\", not the byte <0x{byte:02X}>",
            FIRST_BYTE + u16::from(byte),
            name.escape_ascii()
        );
    }
    let mut scores: Vec<f32> = pieces.iter().map(|(score, _)| score + 0.0).collect(); // -0 becomes 0
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    let rank = |score: f32| scores.partition_point(|other| *other > score) as u16;
    let pieces: Vec<_> = pieces.iter().map(|(score, bytes)| Piece { bytes, rank: rank(*score) }).collect();
    Ok(section(TokenizerKind::LlamaBpe, &pieces)?)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let Some((head, rest)) = bytes.split_first_chunk() else {
        bail!("truncated: {N} bytes are missing at the end");
    };
    *bytes = rest;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thumbformer::{Token, Tokenizer};

    fn file(pieces: &[(f32, &str)]) -> Vec<u8> {
        let mut bytes = vec![9, 0, 0, 0];
        let mut push = |score: f32, piece: &str| {
            bytes.extend(score.to_le_bytes());
            bytes.extend((piece.len() as i32).to_le_bytes());
            bytes.extend(piece.as_bytes());
        };
        ["<unk>", "\n<s>\n", "\n</s>\n"].iter().for_each(|name| push(0.0, name));
        (0..=255u8).for_each(|byte| push(0.0, &format!("<0x{byte:02X}>")));
        pieces.iter().for_each(|(score, piece)| push(*score, piece));
        bytes
    }

    #[test]
    fn scores_become_ranks() {
        let bytes = file(&[
            (-1.0, "ab"),
            (-0.0, "bc"),
            (0.0, "cd"),
            (-9.0, "a"),
            (-9.0, "b"),
            (-9.0, "c"),
            (-9.0, "d"),
        ]);
        let section = parse(&bytes).unwrap();
        let tokenizer = Tokenizer::from_bytes(&section).unwrap();
        assert_eq!(tokenizer.merge(Token(262), Token(263)), Some((1, Token(259))));
        assert_eq!(tokenizer.merge(Token(263), Token(264)), Some((0, Token(260))));
        assert_eq!(tokenizer.merge(Token(264), Token(265)), Some((0, Token(261))));
    }

    #[test]
    fn broken_files_are_refused() {
        let good = file(&[(-1.0, "ab")]);
        assert!(parse(&good).is_ok());
        for len in [0, 3, 4, 5, 100, good.len() - 11, good.len() - 1] {
            assert!(parse(&good[..len]).is_err(), "{len} bytes");
        }
        let mut other = good.clone();
        other[4 + 3 * 8 + 5 + 5 + 6 + 8] = b'(';
        assert!(parse(&other).unwrap_err().to_string().contains("token 3"));
        assert!(parse(&file(&[(f32::NAN, "x")])).is_err());
    }
}
