//! Transformers on microcontrollers.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod activation;
mod attention;
mod cache;
pub mod error;
pub mod fixed;
pub mod format;
pub mod kernel;
mod linear;
mod norm;
pub mod sampler;
mod shift;
pub mod token;
pub mod tokenizer;
mod utf8_stream;
mod vector;

pub use error::Error;
pub use format::{Activation, Config, FormatError, NormKind, Positions};
pub use sampler::Sampler;
pub use token::Token;
pub use tokenizer::Tokenizer;
pub use utf8_stream::{Text, Utf8Stream};
