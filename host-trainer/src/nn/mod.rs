//! Coarse operations of a transformer, each with its own forward and backward pass, and [`graph`]s of them.
//!
//! An operation is a file: a struct that says what it does with slices, and a method of
//! [`Recorder`](graph::Recorder) that puts it into a network. Nothing in a pass allocates, starts a thread or holds
//! state, so a model runs whole sequences on each of its threads without a barrier in between.
//!
//! Conventions, kept by every file:
//!
//! - A matrix `[rows, columns]` is row-major; a row is a token. Sequences lie behind one another.
//! - `forward` overwrites its output.
//! - `backward` sets or adds to the gradient of an input, as it is told, and always adds to that of a parameter.
//! - `dx` means the derivative of the loss by `x`.
//! - Everything is written for any [`Real`](real::Real): models run in f32, and the tests check gradients in f64.

pub mod activation;
pub mod attention;
pub mod batch_norm;
pub mod cross_entropy;
pub mod distillation;
pub mod dropout;
pub mod embedding;
pub mod fake_cache;
pub mod fake_quantize;
pub mod graph;
pub mod linear;
pub mod math;
pub mod matrix;
pub mod norm;
pub mod pooling;
pub mod positions;
pub mod random;
pub mod real;
pub mod residual;
pub mod rope;

#[cfg(test)]
mod checks;
#[cfg(test)]
mod golden;
