//! What an operation is: a forward and a backward pass over slices.

use crate::nn::matrix::{Multiply, Write};
use crate::nn::real::Real;
use std::fmt::Debug;

/// What a call of a network is given, beside the parameters.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a, R> {
    /// Tokens, sequence after sequence.
    pub tokens: &'a [u16],
    /// What each row of the head should find; read by a loss.
    pub targets: &'a [u16],
    /// Features, row-major; read by [`input`](super::Recorder::input).
    pub values: &'a [R],
    /// The loss's gradient is multiplied by it.
    pub scale: R,
    /// Names the step and the sequences, so that dropout draws masks of their own; frozen networks do not read it.
    pub key: u64,
}

impl<R: Real> Default for Given<'_, R> {
    fn default() -> Self {
        Self { tokens: &[], targets: &[], values: &[], scale: R::ONE, key: 0 }
    }
}

/// A coarse operation of a network: up to two inputs `[rows, width]` and one output.
///
/// To add one, write a file with a struct that implements this, and a method of
/// [`Recorder`](super::Recorder) that records it. The struct holds its sizes and the ranges of its parameters.
pub trait Operation<R: Real>: Debug + Send + Sync {
    /// Whether it works in its output, where it finds its first input, and in the gradient of its first input, where
    /// it finds that of its output.
    fn in_place(&self) -> bool {
        false
    }

    /// Whether it ends a network: nothing reads its output, and it makes the gradient of its input itself. A loss
    /// works in place; in the backward pass it finds its output.
    fn is_loss(&self) -> bool {
        false
    }

    /// What the backward pass reads. An operation in place can keep neither.
    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }

    /// Whether there are parameters to learn.
    fn has_parameters(&self) -> bool {
        false
    }

    /// Values that the forward pass leaves to the backward pass, beside its output.
    fn saved(&self) -> usize {
        0
    }

    /// Values of memory that the backward pass needs for itself.
    fn scratch(&self) -> usize {
        0
    }

    /// What is worth looking at of what a forward pass saved, row-major; nothing for most.
    fn inside(&self, _saved: &[R]) -> Vec<R> {
        Vec::new()
    }

    /// Overwrites the output.
    fn forward(&self, pass: Forward<'_, R>);

    /// Writes the gradients of the inputs as each [`Gradient`] says, and adds those of the parameters.
    fn backward(&self, pass: Backward<'_, R>);

    /// What it becomes in a frozen network.
    fn freeze(&self) -> Freeze<R>;
}

/// What an operation becomes in a frozen network.
#[derive(Debug)]
pub enum Freeze<R: Real> {
    /// Nothing: its output is its first input.
    Gone,
    /// Something else, or the same again.
    Becomes(Box<dyn Operation<R>>),
}

impl<R: Real> Freeze<R> {
    /// An operation that is the same in training and in use.
    pub fn same(operation: &(impl Operation<R> + Clone + 'static)) -> Self {
        Self::Becomes(Box::new(operation.clone()))
    }
}

/// What must outlive the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    /// The inputs.
    pub inputs: bool,
    /// The output.
    pub output: bool,
}

impl Keeps {
    /// Neither.
    pub const NOTHING: Self = Self { inputs: false, output: false };
    /// The inputs.
    pub const INPUTS: Self = Self { inputs: true, output: false };
    /// The inputs and the output.
    pub const BOTH: Self = Self { inputs: true, output: true };
}

/// What a forward pass reads and writes.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// All parameters.
    pub params: &'a [R],
    /// What the call was given.
    pub given: &'a Given<'a, R>,
    /// The product to use.
    pub multiply: Multiply<R>,
    /// The inputs; the first is empty where the operation works in place.
    pub inputs: [&'a [R]; 2],
    /// To be overwritten.
    pub output: &'a mut [R],
    /// For the backward pass.
    pub saved: &'a mut [R],
    /// To be added to, by a loss.
    pub loss: &'a mut f64,
}

/// What a backward pass reads and writes.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// All parameters.
    pub params: &'a [R],
    /// What the call was given.
    pub given: &'a Given<'a, R>,
    /// The inputs, if they were kept.
    pub inputs: [&'a [R]; 2],
    /// The output, if it was kept.
    pub output: &'a [R],
    /// What the forward pass left.
    pub saved: &'a [R],
    /// Memory without meaning.
    pub scratch: &'a mut [R],
    /// The gradient of the output; empty where the operation works in place.
    pub doutput: &'a [R],
    /// The gradients of the inputs.
    pub dinputs: [Gradient<'a, R>; 2],
    /// The gradient of all parameters, to be added to.
    pub grad: &'a mut [R],
}

/// Where the gradient of an input goes.
#[derive(Debug)]
pub struct Gradient<'a, R> {
    /// Empty where nobody needs it.
    pub values: &'a mut [R],
    /// Whether others have written to it.
    pub write: Write,
}

impl<'a, R: Real> Gradient<'a, R> {
    /// Whether anyone needs it.
    pub fn is_wanted(&self) -> bool {
        !self.values.is_empty()
    }

    /// The values, to add to.
    pub fn cleared(self) -> &'a mut [R] {
        if self.write == Write::Set {
            self.values.fill(R::ZERO);
        }
        self.values
    }

    /// Writes one value after the other.
    #[inline(always)]
    pub fn put(self, values: impl Iterator<Item = R>) {
        match self.write {
            Write::Set => self.values.iter_mut().zip(values).for_each(|(d, value)| *d = value),
            Write::Add => self.values.iter_mut().zip(values).for_each(|(d, value)| *d += value),
        }
    }
}
