//! The host side of thumbformer: everything that happens before the model file.

pub mod nn;
