//! The `.thumb` file.
mod error;
pub use error::FormatError;
