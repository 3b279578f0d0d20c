//! Logits to a token.
/// placeholder
#[derive(Debug)]
pub struct Sampler;
