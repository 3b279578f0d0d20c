//! Transformers on microcontrollers.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod error;
mod fixed;
pub mod kernel;
pub mod format;
pub mod sampler;
pub mod token;
pub mod tokenizer;

pub use error::Error;
pub use format::{Activation, Config, FormatError, NormKind, Positions};
pub use sampler::Sampler;
pub use token::Token;
pub use tokenizer::Tokenizer;
