//! Why a model file is refused.

use super::TensorKind;

/// Why a model file is refused. Sizes and offsets are in bytes.
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
    /// The first four bytes are not those of a model file.
    BadMagic {
        /// What was found.
        found: [u8; 4],
    },
    /// The layout of the file is newer (or older) than this runtime.
    UnsupportedVersion {
        /// The file's version.
        found: u16,
        /// The version that this runtime reads.
        wanted: u16,
    },
    /// The file was made for another version of the arithmetic.
    UnsupportedNumerics {
        /// The file's version.
        found: u16,
        /// The version that this runtime computes.
        wanted: u16,
    },
    /// The file needs features that this runtime does not have.
    UnsupportedFeatures {
        /// The unknown bits.
        bits: u32,
    },
    /// The file is longer than its header says.
    TrailingBytes {
        /// Bytes that the header announces.
        expected: usize,
        /// Bytes found.
        have: usize,
    },
    /// A field of the configuration is out of its range.
    BadConfig {
        /// The field.
        field: &'static str,
        /// The value found.
        found: usize,
    },
    /// A tensor of the directory is not the one that the configuration asks for at this place, or its
    /// type, shape or place in the file is wrong.
    BadTensor {
        /// The tensor that belongs here.
        kind: TensorKind,
        /// Its block.
        layer: u8,
        /// What is wrong with it.
        field: &'static str,
    },
    /// The tokenizer section is inconsistent.
    BadTokenizer,
    /// The tokenizer section is of a kind that this runtime does not know.
    UnknownTokenizer {
        /// The kind found.
        kind: u8,
    },
    /// A buffer cannot hold what is to be written.
    BufferTooSmall {
        /// Bytes needed.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// The bytes of the file do not lie at an address that is a multiple of four.
    Misaligned,
    /// The checksum does not match: the file was damaged.
    BadChecksum {
        /// The checksum that the file states.
        stated: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// A row scale is not positive.
    BadScale {
        /// The tensor.
        kind: TensorKind,
        /// Its block.
        layer: u8,
        /// The row.
        row: usize,
    },
}

impl FormatError {
    /// The kind of error in a few words; usable where rustc evaluates constants.
    pub const fn message(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::BadMagic { .. } => "bad magic",
            Self::UnsupportedVersion { .. } => "unsupported format version",
            Self::UnsupportedNumerics { .. } => "unsupported numerics version",
            Self::UnsupportedFeatures { .. } => "needs features that this runtime does not have",
            Self::TrailingBytes { .. } => "longer than its header says",
            Self::BadConfig { .. } => "bad configuration",
            Self::BadTensor { .. } => "bad tensor directory",
            Self::BadTokenizer => "bad tokenizer section",
            Self::UnknownTokenizer { .. } => "unknown kind of tokenizer",
            Self::BufferTooSmall { .. } => "buffer too small",
            Self::Misaligned => "not aligned to four bytes",
            Self::BadChecksum { .. } => "bad checksum",
            Self::BadScale { .. } => "bad row scale",
        }
    }
}

impl core::fmt::Display for FormatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.message())?;
        match *self {
            Self::Truncated { need, have } | Self::BufferTooSmall { need, have } => {
                write!(f, ": needs {need} bytes, found {have}")
            }
            Self::BadMagic { found } => {
                write!(f, ": found \"{}\", wanted \"THMB\"", found.escape_ascii())
            }
            Self::UnsupportedVersion { found, wanted } | Self::UnsupportedNumerics { found, wanted } => {
                write!(f, ": found {found}, wanted {wanted}")
            }
            Self::UnsupportedFeatures { bits } => write!(f, ": unknown bits {bits:#x}"),
            Self::TrailingBytes { expected, have } => {
                write!(f, ": {expected} bytes announced, found {have}")
            }
            Self::BadConfig { field, found } => write!(f, ": {field} = {found}"),
            Self::BadTensor { kind, layer, field } => {
                write!(f, ": {field} of {kind:?}, block {layer}")
            }
            Self::BadChecksum { stated, computed } => {
                write!(f, ": stated {stated:#010x}, computed {computed:#010x}")
            }
            Self::BadScale { kind, layer, row } => {
                write!(f, ": row {row} of {kind:?}, block {layer}")
            }
            Self::UnknownTokenizer { kind } => write!(f, ": found {kind}, wanted 0 or 1"),
            Self::BadTokenizer | Self::Misaligned => Ok(()),
        }
    }
}

impl core::error::Error for FormatError {}
