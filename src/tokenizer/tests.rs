use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Utf8Stream;
use crate::format::tokenizer::{Piece, emit, section_len};

fn section(kind: TokenizerKind, pieces: &[(&[u8], u16)]) -> Vec<u8> {
    let pieces: Vec<_> = pieces.iter().map(|&(bytes, rank)| Piece { bytes, rank }).collect();
    let len = section_len(pieces.len(), pieces.iter().map(|p| p.bytes.len()).sum());
    let mut out = std::vec![0; len];
    assert_eq!(emit(kind, &pieces, &mut out), Ok(len));
    out
}

fn encode(section: &[u8], text: &str) -> Vec<u16> {
    let tokenizer = Tokenizer::from_bytes(section).unwrap();
    let mut buffer = std::vec![Token::BOS; text.len() + 2];
    tokenizer.encode(text, &mut buffer).unwrap().iter().map(|t| t.0).collect()
}

const PIECES: &[(&[u8], u16)] =
    &[(b"ab", 2), (b"bc", 1), (b"abc", 0), (b"a", 3), (b" ", 4), ("é".as_bytes(), 5)];

#[test]
fn the_smallest_rank_goes_first_and_the_leftmost_of_equals() {
    let bytes = section(TokenizerKind::ByteBpe, &[(b"ab", 1), (b"ba", 1), (b"cc", 0)]);
    assert_eq!(encode(&bytes, "aba"), [1, 259, 3 + 97]);
    assert_eq!(encode(&bytes, "baba"), [1, 260, 260]);
    assert_eq!(encode(&bytes, "ccc"), [1, 261, 3 + 99]);
    let bytes = section(TokenizerKind::ByteBpe, PIECES);
    assert_eq!(encode(&bytes, "abc"), [1, 261]);
    assert_eq!(encode(&bytes, "abx"), [1, 259, 3 + 120]);
    assert_eq!(encode(&bytes, "a"), [1, 3 + 97]);
    assert_eq!(encode(&bytes, ""), [1]);
}

#[test]
fn llama_text_starts_with_a_space_and_falls_back_to_bytes() {
    let bytes = section(TokenizerKind::LlamaBpe, PIECES);
    assert_eq!(encode(&bytes, ""), [1]);
    assert_eq!(encode(&bytes, "a"), [1, 263, 262]);
    assert_eq!(encode(&bytes, "éb"), [1, 263, 264, 3 + 98]);
    assert_eq!(encode(&bytes, "ő"), [1, 263, 3 + 0xc5, 3 + 0x91]);
    // bytes do not merge, although "bc" is a piece
    assert_eq!(encode(&bytes, "bc"), [1, 263, 3 + 98, 3 + 99]);
}

#[test]
fn characters_are_tokens_from_three_on_and_others_are_unknown() {
    let bytes = section(TokenizerKind::Characters, &[(b" ", 0), (b"a", 0), (b"b", 0), ("é".as_bytes(), 0)]);
    assert_eq!(encode(&bytes, ""), [1]);
    assert_eq!(encode(&bytes, "abé a"), [1, 4, 5, 6, 3, 4]);
    assert_eq!(encode(&bytes, "aőa\n"), [1, 4, 0, 4, 0]);
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    assert_eq!(tokenizer.vocab_size(), 7);
    let text: Vec<u8> = (0..8).flat_map(|id| tokenizer.decode(Token(id))).copied().collect();
    assert_eq!(text, " abé".as_bytes());
    assert!(tokenizer.is_special(Token::UNKNOWN) && !tokenizer.is_special(Token(3)));
    // Nothing merges, also where two pieces together are one.
    let bytes = section(TokenizerKind::Characters, PIECES);
    assert_eq!(encode(&bytes, "abc"), [1, 6, 0, 0]);
    assert_eq!(Tokenizer::from_bytes(&[2, 0, 2, 0, 0, 0, 0, 0]).err(), Some(FormatError::BadTokenizer));
}

#[test]
fn special_tokens_have_no_text_and_no_text_has_them() {
    let bytes = section(TokenizerKind::LlamaBpe, &[(b"<", 0), (b"s", 1), (b">", 2), (b"<s", 3)]);
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    for token in [0, 1, 2, 263, u16::MAX].map(Token) {
        assert_eq!(tokenizer.decode(token), b"");
        assert_eq!(tokenizer.is_special(token), token.0 < 3);
    }
    let tokens = encode(&bytes, "<s></s><unk><0x02>");
    assert!(tokens[1..].iter().all(|t| *t >= 3));
}

#[test]
fn a_short_buffer_is_an_error_that_says_how_much_is_needed() {
    let bytes = section(TokenizerKind::LlamaBpe, PIECES);
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    let mut buffer = [Token::BOS; 4];
    assert_eq!(tokenizer.encode("abc", &mut buffer), Err(Error::TokenBufferFull { need: 5, have: 4 }));
    assert_eq!(tokenizer.encode("", &mut []), Err(Error::TokenBufferFull { need: 1, have: 0 }));
    assert!(tokenizer.encode("éé", &mut buffer).is_ok());
}

#[test]
fn the_stream_drops_the_space_behind_bos() {
    let bytes = section(TokenizerKind::LlamaBpe, PIECES);
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    let mut stream = Utf8Stream::new(&tokenizer);
    let text: String = [1, 263, 262, 263, 262].map(|t| stream.push(Token(t)).to_string()).concat();
    assert_eq!(text, "a a");
    assert_eq!(stream.push(Token(263)).to_string(), " ");
}

#[test]
fn sections_that_lie_are_refused() {
    use FormatError::*;
    let good = section(TokenizerKind::ByteBpe, PIECES);
    for len in 0..good.len() {
        assert!(matches!(Tokenizer::from_bytes(&good[..len]), Err(Truncated { .. })), "length {len}");
    }
    let change = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Tokenizer::from_bytes(&bytes).err()
    };
    assert_eq!(change(0, 3), Some(UnknownTokenizer { kind: 3 }));
    assert_eq!(change(1, 1), Some(BadTokenizer));
    assert_eq!(change(3, 0), Some(BadTokenizer)); // fewer than 259 tokens
    assert_eq!(change(4, 1), Some(BadTokenizer)); // the first piece does not start at 0
    assert_eq!(change(8, 200), Some(BadTokenizer)); // ends run backwards
    let sorted = 8 + 6 * PIECES.len();
    assert_eq!(change(sorted, 6), Some(BadTokenizer)); // no such piece
    assert_eq!(change(sorted + 2, good[sorted]), Some(BadTokenizer)); // twice the same
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(Tokenizer::from_bytes(&longer).err(), Some(BadTokenizer));
}

#[test]
fn a_section_is_read_while_rustc_runs() {
    const EMPTY: Tokenizer<'static> = match Tokenizer::from_bytes(&[1, 0, 3, 1, 0, 0, 0, 0]) {
        Ok(tokenizer) => tokenizer,
        Err(_) => panic!(),
    };
    assert_eq!(EMPTY.vocab_size(), 259);
}

fn any_pieces() -> impl Strategy<Value = Vec<(Vec<u8>, u16)>> {
    let byte = prop_oneof![Just(b'a'), Just(b'b'), Just(b' '), Just(0xc3), Just(0xa9), any::<u8>()];
    prop::collection::vec((prop::collection::vec(byte, 0..5), 0..8u16), 0..40)
}

fn any_kind() -> impl Strategy<Value = TokenizerKind> {
    prop_oneof![Just(TokenizerKind::LlamaBpe), Just(TokenizerKind::ByteBpe)]
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'b'), Just(b' '), Just(0xc3), Just(0xa9), any::<u8>()];
    prop::collection::vec(byte, 0..40)
}

proptest! {
    #[test]
    fn any_bytes_come_back(kind in any_kind(), pieces in any_pieces(), bytes in any_bytes()) {
        let pieces: Vec<_> = pieces.iter().map(|(b, r)| (&b[..], *r)).collect();
        let section = section(kind, &pieces);
        let tokenizer = Tokenizer::from_bytes(&section).unwrap();
        let mut buffer = std::vec![Token::BOS; bytes.len() + 2];
        let tokens = tokenizer.encode_bytes(&bytes, &mut buffer).unwrap();
        let decoded: Vec<u8> = tokens.iter().flat_map(|t| tokenizer.decode(*t)).copied().collect();
        let space = kind == TokenizerKind::LlamaBpe && !bytes.is_empty();
        prop_assert_eq!(decoded.strip_prefix(if space { &b" "[..] } else { b"" }), Some(&bytes[..]));

        let mut stream = Utf8Stream::new(&tokenizer);
        let mut text: String = tokens.iter().map(|t| stream.push(*t).to_string()).collect();
        text += stream.finish();
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
    }

    #[test]
    fn a_hostile_section_never_panics(mut section in any_pieces().prop_map(|pieces| {
        let pieces: Vec<_> = pieces.iter().map(|(b, r)| (&b[..], *r)).collect();
        section(TokenizerKind::ByteBpe, &pieces)
    }), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), bytes in any_bytes()) {
        for (at, to) in hits {
            let at = at.index(section.len());
            section[at] = to;
        }
        if let Ok(tokenizer) = Tokenizer::from_bytes(&section) {
            let mut buffer = std::vec![Token::BOS; bytes.len() + 2];
            let _ = tokenizer.encode_bytes(&bytes, &mut buffer).unwrap();
        }
    }
}
