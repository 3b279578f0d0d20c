//! The `.thumb` file.
mod config;
mod error;
pub use config::{Activation, Config, NormKind, Positions};
pub use error::FormatError;
