//! Text to tokens and back.
/// placeholder
#[derive(Debug)]
pub struct Tokenizer;
