//! Writing a network down.

use super::network::Network;
use super::operation::Operation;
use super::{Mode, Tensor, TensorRole};
use crate::nn::real::Real;
use std::marker::PhantomData;
use std::ops::Range;

/// The output of an operation, `[rows, width]`, while a network is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    pub(super) node: usize,
    rows: usize,
    width: usize,
}

impl Value {
    /// Rows of all sequences together.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub const fn width(&self) -> usize {
        self.width
    }
}

/// An operation and what it reads; its output goes by its number.
#[derive(Debug)]
pub(super) struct Node<R: Real> {
    pub operation: Box<dyn Operation<R>>,
    pub inputs: [Option<usize>; 2],
    pub len: usize,
    /// Columns of the output.
    pub width: usize,
    /// Whether its output depends on parameters.
    pub trains: bool,
}

/// Columns of an output that an observer sees by a name.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub node: usize,
    pub name: String,
    pub columns: Range<usize>,
}

/// A network as it was written down.
#[derive(Debug)]
pub(super) struct Tape<R: Real> {
    pub nodes: Vec<Node<R>>,
    pub tensors: Vec<Tensor>,
    pub sites: Vec<Site>,
}

/// Records a network for a number of sequences of a number of tokens.
///
/// Its methods stand beside the operations that they record, such as [`linear`](Self::linear). Parameters are declared
/// by the way, by name, and lie behind one another in the order of their declaration.
#[derive(Debug)]
pub struct Recorder<M: Mode, R: Real> {
    pub(super) tape: Tape<R>,
    sequences: usize,
    tokens: usize,
    places: u64,
    mode: PhantomData<M>,
}

impl<M: Mode, R: Real> Recorder<M, R> {
    /// An empty network for calls of `sequences` sequences of `tokens` tokens.
    pub fn new(sequences: usize, tokens: usize) -> Self {
        assert!(sequences > 0 && tokens > 0, "found {sequences} sequences of {tokens} tokens, wanted some");
        let tape = Tape { nodes: Vec::new(), tensors: Vec::new(), sites: Vec::new() };
        Self { tape, sequences, tokens, places: 0, mode: PhantomData }
    }

    /// Sequences of a call.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens of a sequence.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Declares parameters to learn; `shape` has the slowest size first. Panics if the name is taken.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Range<usize> {
        self.declare(name, shape, TensorRole::Weight)
    }

    pub(in crate::nn) fn declare(&mut self, name: &str, shape: &[usize], role: TensorRole) -> Range<usize> {
        let tensors = &mut self.tape.tensors;
        assert!(tensors.iter().all(|tensor| tensor.name != name), "tensor {name}: declared twice");
        let start = tensors.last().map_or(0, |tensor| tensor.range.end);
        let range = start..start + shape.iter().product::<usize>();
        tensors.push(Tensor { name: name.to_string(), shape: shape.to_vec(), range: range.clone(), role });
        range
    }

    /// Records an operation on values; its output is `[rows, width]`.
    pub fn record(
        &mut self,
        operation: impl Operation<R> + 'static,
        inputs: &[Value],
        rows: usize,
        width: usize,
    ) -> Value {
        assert!(inputs.len() <= 2, "found {} inputs, wanted at most two", inputs.len());
        let at = |i: usize| inputs.get(i).map(|value: &Value| value.node);
        let inputs = [at(0), at(1)];
        assert!(inputs[0].is_none() || inputs[0] != inputs[1], "found one value twice, wanted two values");
        let node = self.tape.nodes.len();
        let trains =
            operation.has_parameters() || inputs.iter().flatten().any(|&input| self.tape.nodes[input].trains);
        let operation = Box::new(operation);
        self.tape.nodes.push(Node { operation, inputs, len: rows * width, width, trains });
        Value { node, rows, width }
    }

    /// Shows a value by a name to an observer.
    pub fn show(&mut self, name: impl Into<String>, value: Value) {
        self.show_columns(name, value, 0..value.width);
    }

    /// Shows some columns of a value to an observer.
    pub fn show_columns(&mut self, name: impl Into<String>, value: Value, columns: Range<usize>) {
        self.tape.sites.push(Site { node: value.node, name: name.into(), columns });
    }

    /// A number of its own for each place where something random happens.
    pub(in crate::nn) fn place(&mut self) -> u64 {
        self.places += 1;
        self.places - 1
    }

    /// Plans the memory. `output` can be read after a forward pass.
    pub fn finish(self, output: Value) -> Network<M, R> {
        Network::new(self.tape, output.node)
    }
}
