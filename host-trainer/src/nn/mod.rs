//! Coarse f32 operations of a transformer, each with its own forward and backward pass.
//!
//! There is no graph and no tensor type: an operation is a pair of functions over row-major
//! slices, and whoever calls them keeps what the backward pass needs. Nothing here allocates,
//! starts a thread or holds state, so a model runs whole sequences on each of its threads without
//! a barrier in between.
//!
//! Conventions, kept by every file:
//!
//! - A matrix `[rows, columns]` is row-major; a row is a token.
//! - `forward` overwrites its output.
//! - `backward` overwrites the gradient of an activation, unless its name or documentation says
//!   that it adds, and always adds to the gradient of a parameter.
//! - `dx` means the derivative of the loss by `x`.

pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod linear;
pub mod math;
pub mod matrix;
pub mod mlp;
pub mod norm;
pub mod random;
pub mod rope;

#[cfg(test)]
mod finite_difference;
