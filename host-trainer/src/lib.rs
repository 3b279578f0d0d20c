//! The host side of thumbformer: everything that happens before the model file.

pub mod answers;
pub mod bpe;
pub mod characters;
pub mod chart;
pub mod checkpoint;
pub mod classify;
pub mod cli;
pub mod corpus;
pub mod data;
pub mod device;
pub mod eval;
pub mod export;
pub mod glob;
pub mod import;
pub mod inspect;
pub mod lora;
pub mod model;
pub mod nn;
pub mod optimizer;
pub mod prepare;
pub mod report;
pub mod schedule;
pub mod sweep;
pub mod tokenizer;
pub mod torch;
pub mod train;
