//! Why a model file is refused.

/// Why a model file is refused. Numbers are bytes unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends early.
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes found.
        have: usize,
    },
    /// The tokenizer section is inconsistent.
    BadTokenizer,
}

impl core::fmt::Display for FormatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            FormatError::Truncated { need, have } => {
                write!(f, "truncated: needs {need} bytes, found {have}")
            }
            FormatError::BadTokenizer => write!(f, "the tokenizer section is inconsistent"),
        }
    }
}

impl core::error::Error for FormatError {}
