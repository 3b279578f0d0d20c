//! The tokenizer of stories260K against llama2.c's own results.

mod common;

use host_trainer::import::llama2c_tokenizer;
use host_trainer::tokenizer::TextEncoder;
use thumbformer::{Token, Tokenizer, Utf8Stream};

#[test]
fn the_tokens_are_those_of_llama2c() {
    let Some(data) = common::data("stories260k") else { return };
    let section = llama2c_tokenizer::read(&data.join("tok512.bin")).unwrap();
    let tokenizer = Tokenizer::from_bytes(&section).unwrap();
    assert_eq!(tokenizer.vocab_size(), 512);
    let mut encoder = TextEncoder::new(tokenizer);
    let vectors = std::fs::read(data.join("ref/tokenizer_vectors.json")).unwrap();
    let vectors: Vec<(String, Vec<u16>)> = serde_json::from_slice(&vectors).unwrap();
    assert!(!vectors.is_empty());
    for (text, ids) in vectors {
        let want: Vec<Token> = ids.into_iter().map(Token).collect();
        let mut buffer = vec![Token::BOS; text.len() + 2];
        assert_eq!(tokenizer.encode(&text, &mut buffer).unwrap(), want, "{text:?}");
        assert_eq!(encoder.encode(text.as_bytes()), want, "{text:?}");

        let mut stream = Utf8Stream::new(&tokenizer);
        let decoded: String = want.iter().map(|token| stream.push(*token).to_string()).collect();
        assert_eq!(decoded + stream.finish(), text);
    }
}

#[test]
fn stories_are_encoded_again() {
    let Some(data) = common::data("stories260k") else { return };
    let section = llama2c_tokenizer::read(&data.join("tok512.bin")).unwrap();
    let tokenizer = Tokenizer::from_bytes(&section).unwrap();
    let mut encoder = TextEncoder::new(tokenizer);
    let stream = std::fs::read(data.join("ref/val_stream_n_102401.u16")).unwrap();
    let tokens: Vec<Token> = common::u16s(&stream).into_iter().map(Token).collect();
    // stories begin with BOS; the last is cut off
    let starts: Vec<usize> = (0..tokens.len()).filter(|at| tokens[*at] == Token::BOS).collect();
    assert!(starts.len() > 100);
    for story in starts.windows(2).map(|pair| &tokens[pair[0]..pair[1]]) {
        let text: Vec<u8> = story.iter().flat_map(|token| tokenizer.decode(*token)).copied().collect();
        let text = text.strip_prefix(b" ").expect("llama2.c puts a space first");
        let mut buffer = vec![Token::BOS; text.len() + 2];
        assert_eq!(tokenizer.encode_bytes(text, &mut buffer).unwrap(), story);
        assert_eq!(encoder.encode(text), story);
    }
}
