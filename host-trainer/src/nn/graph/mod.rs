//! Networks as lists of operations.
//!
//! A [`Recorder`] writes a network down once, for sequences of one length. [`Network`] runs the list, and backwards
//! from its end. All that lies between is one arena whose layout is planned when the recording ends: a value's place
//! is taken again as soon as nothing needs it, in use by what comes next, in training by gradients, too. Nothing
//! allocates during a pass.
//!
//! Training and use are different types. [`Network::freeze`] turns the one into the other, and what depends on chance
//! or on a batch cannot be said to a recorder of frozen networks:
//!
//! ```
//! use host_trainer::nn::graph::{Recorder, Training};
//!
//! let mut net = Recorder::<Training, f32>::new(1, 4);
//! let table = net.table("tokens.weight", 10, 8);
//! let x = net.embedding(&table);
//! let branch = net.rms_norm("norm", 1e-5, x);
//! let branch = net.dropout(0.1, branch);
//! let x = net.residual(x, branch);
//! let logits = net.project(&table, x);
//! let network = net.finish(logits);
//! assert_eq!(network.parameters(), 10 * 8 + 8);
//! assert!(network.freeze().memory_len() < network.memory_len());
//! ```

mod network;
mod operation;
mod plan;
mod recorder;

pub use network::{Memory, Network, Observe};
pub use operation::{Backward, Forward, Freeze, Given, Gradient, Keeps, Operation};
pub use recorder::{Recorder, Value};

use std::fmt::Debug;
use std::ops::Range;

/// Whether a network is trained or used.
pub trait Mode: Debug + Send + Sync + sealed::Sealed {
    /// Whether there is a backward pass.
    const TRAINS: bool;
}

/// A network that learns: it has dropout, the statistics of a batch, and a backward pass.
#[derive(Debug, Clone, Copy)]
pub struct Training;

/// A network in use: nothing random, nothing that depends on the batch.
#[derive(Debug, Clone, Copy)]
pub struct Frozen;

impl Mode for Training {
    const TRAINS: bool = true;
}

impl Mode for Frozen {
    const TRAINS: bool = false;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Training {}
    impl Sealed for super::Frozen {}
}

/// A named part of the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// PyTorch's name, such as `layers.0.attention.wq.weight`.
    pub name: String,
    /// Sizes, the slowest first; a matrix is `[outputs, inputs]`.
    pub shape: Vec<usize>,
    /// Where it lies in the parameters.
    pub range: Range<usize>,
    /// How it changes.
    pub role: TensorRole,
}

impl Tensor {
    /// Whether this is a matrix rather than a gain or a bias.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() > 1
    }
}

/// How a tensor changes during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRole {
    /// Along its gradient.
    Weight,
    /// Towards what it finds in the place of its gradient: see [`follow`](crate::nn::batch_norm::follow).
    Statistic,
}
