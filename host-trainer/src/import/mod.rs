//! Models that others trained.

pub mod llama2c;
