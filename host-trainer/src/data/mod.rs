//! What training reads: streams of tokens, pairs of prompt and answer, texts with labels, and windows of signals.

pub mod labelled;
mod map;
pub mod pairs;
pub mod rows;
pub mod summary;
mod token_file;
mod tokenize;
pub mod wav;
pub mod windows;

pub use map::Map;
pub use token_file::{TokenFile, TokenWriter, Tokens, payload};
pub use tokenize::tokenize;
