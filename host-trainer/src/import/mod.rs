//! Models that others trained.

pub mod llama2c;
pub mod llama2c_tokenizer;
