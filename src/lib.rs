//! Transformers on microcontrollers.
#![no_std]
#![deny(unsafe_code)]

pub mod error;
pub mod format;
pub mod kernel;
pub mod sampler;
pub mod token;
pub mod tokenizer;

pub use error::Error;
pub use format::{Activation, Config, FormatError, NormKind, Positions};
pub use sampler::Sampler;
pub use token::Token;
pub use tokenizer::Tokenizer;
