//! What can go wrong at run time.

use crate::format::FormatError;

/// An error of the runtime. Every variant carries the numbers that a user needs to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The model file was refused.
    Format(FormatError),
    /// The workspace is smaller than the model needs.
    WorkspaceTooSmall {
        /// Bytes needed.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// The workspace does not lie at an address that is a multiple of four.
    WorkspaceMisaligned,
    /// The context window is full.
    ContextFull {
        /// Positions that the model has.
        seq_len: usize,
    },
    /// A token buffer cannot hold the encoded text.
    TokenBufferFull {
        /// Tokens that the buffer must hold while encoding.
        need: usize,
        /// Tokens that it can hold.
        have: usize,
    },
    /// A token id outside of the vocabulary.
    TokenOutOfRange {
        /// The id.
        token: u16,
        /// The number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// The model classifies and writes no tokens.
    IsClassifier {
        /// The classes that it tells apart.
        n_classes: usize,
    },
    /// The model writes tokens and knows no classes.
    NoClassifier {
        /// The tokens that it writes.
        vocab_size: usize,
    },
    /// There is nothing to work on: an empty prompt where at least one token is needed.
    NoTokens,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Error::Format(e) => write!(f, "model: {e}"),
            Error::WorkspaceTooSmall { need, have } => {
                write!(f, "workspace too small: the model needs {need} bytes, found {have}")
            }
            Error::WorkspaceMisaligned => {
                write!(f, "workspace misaligned: its address must be a multiple of four")
            }
            Error::ContextFull { seq_len } => {
                write!(f, "context window full: the model has {seq_len} positions")
            }
            Error::TokenBufferFull { need, have } => {
                write!(f, "token buffer full: encoding needs {need} tokens, found room for {have}")
            }
            Error::TokenOutOfRange { token, vocab_size } => {
                write!(f, "token {token} out of range: the vocabulary has {vocab_size} tokens")
            }
            Error::IsClassifier { n_classes } => {
                write!(
                    f,
                    "cannot generate: found a classifier of {n_classes} classes, wanted a model that writes tokens"
                )
            }
            Error::NoClassifier { vocab_size } => {
                write!(
                    f,
                    "cannot classify: found a model that writes {vocab_size} tokens, wanted a classifier"
                )
            }
            Error::NoTokens => write!(f, "no tokens given: at least one is needed"),
        }
    }
}

impl core::error::Error for Error {}

impl From<FormatError> for Error {
    fn from(e: FormatError) -> Self {
        Error::Format(e)
    }
}
