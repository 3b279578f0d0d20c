//! Transformers on microcontrollers.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod activation;
mod attention;
mod block;
mod cache;
pub mod error;
pub mod fixed;
pub mod format;
pub mod kernel;
mod linear;
mod logits;
pub mod model;
mod norm;
mod random;
pub mod sampler;
pub mod session;
mod shift;
pub mod token;
pub mod tokenizer;
mod utf8_stream;
mod vector;
pub mod workspace;

pub use error::Error;
pub use format::{Activation, Config, FormatError, NormKind, Positions};
pub use logits::Logits;
pub use model::Model;
pub use sampler::Sampler;
pub use session::Session;
pub use token::Token;
pub use tokenizer::Tokenizer;
pub use utf8_stream::{Text, Utf8Stream};
pub use workspace::Workspace;
