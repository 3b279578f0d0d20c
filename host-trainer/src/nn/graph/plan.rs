//! Where everything lies in the arena: whatever is not needed at the same time may share its place.

use super::recorder::Node;
use crate::nn::matrix::Write;
use crate::nn::real::Real;
use std::ops::Range;

/// Places are multiples of a cache line of f32 values.
const ALIGN: usize = 16;

/// An arena's layout. Time runs in steps: node `i` of `n` works forward at step `i` and backward at step `2 n - 1 - i`.
#[derive(Debug)]
pub(super) struct Plan {
    /// Values that the arena holds.
    pub len: usize,
    /// By node.
    pub nodes: Vec<Places>,
}

/// The places of a node. What it does not have is `0..0`.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub output: Range<usize>,
    pub saved: Range<usize>,
    /// `None` for a node without a backward pass.
    pub backward: Option<BackwardPlaces>,
}

#[derive(Debug, Clone)]
pub(super) struct BackwardPlaces {
    pub scratch: Range<usize>,
    pub doutput: Range<usize>,
    pub dinputs: [(Range<usize>, Write); 2],
}

/// A buffer and the steps during which it is needed, both included.
struct Buffer {
    len: usize,
    born: usize,
    dies: usize,
}

#[derive(Default)]
struct Buffers(Vec<Buffer>);

impl Buffers {
    fn add(&mut self, len: usize, step: usize) -> usize {
        self.0.push(Buffer { len, born: step, dies: step });
        self.0.len() - 1
    }

    fn needed(&mut self, buffer: usize, step: usize) {
        let buffer = &mut self.0[buffer];
        buffer.dies = buffer.dies.max(step);
    }

    /// The largest first, each at the lowest place that is free while it lives.
    fn place(&self) -> (usize, Vec<Range<usize>>) {
        let mut order: Vec<usize> = (0..self.0.len()).filter(|&i| self.0[i].len > 0).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.0[i].len));
        let mut places = vec![0..0; self.0.len()];
        // In the order of their starts.
        let mut taken: Vec<usize> = Vec::new();
        for i in order {
            let buffer = &self.0[i];
            let mut start = 0;
            for &other in &taken {
                let both = self.0[other].born <= buffer.dies && buffer.born <= self.0[other].dies;
                if both && places[other].start < start + buffer.len {
                    start = start.max(places[other].end.next_multiple_of(ALIGN));
                }
            }
            places[i] = start..start + buffer.len;
            let at = taken.partition_point(|&other| places[other].start <= start);
            taken.insert(at, i);
        }
        (places.iter().map(|place| place.end).max().unwrap_or(0), places)
    }
}

impl Plan {
    /// Plans the forward pass and, with `trains`, the backward pass. The node `output` is kept to the end.
    pub fn new<R: Real>(nodes: &[Node<R>], output: usize, trains: bool) -> Self {
        let n = nodes.len();
        let backward = |node: usize| 2 * n - 1 - node;
        let kept = |node: usize| trains && nodes[node].trains;
        let mut buffers = Buffers::default();

        let mut outputs: Vec<usize> = Vec::with_capacity(n);
        for (i, node) in nodes.iter().enumerate() {
            let over = node.inputs[0].filter(|&input| {
                node.operation.in_place() && input != output && is_free_after(nodes, input, i, kept)
            });
            outputs.push(match over {
                Some(input) => outputs[input],
                None => buffers.add(node.len, i),
            });
            for &input in node.inputs.iter().flatten() {
                buffers.needed(outputs[input], i);
                if kept(i) && node.operation.keeps().inputs {
                    buffers.needed(outputs[input], backward(i));
                }
            }
            buffers.needed(outputs[i], i);
            if kept(i) && (node.operation.keeps().output || node.operation.is_loss()) {
                buffers.needed(outputs[i], backward(i));
            }
        }
        buffers.needed(outputs[output], 2 * n);

        let saved: Vec<usize> =
            nodes.iter().enumerate().map(|(i, node)| buffers.add(node.operation.saved(), i)).collect();

        struct Work {
            scratch: usize,
            doutput: usize,
            dinputs: [Option<(usize, Write)>; 2],
        }
        let mut gradients: Vec<Option<usize>> = vec![None; n];
        let mut work: Vec<Option<Work>> = (0..n).map(|_| None).collect();
        for (i, node) in nodes.iter().enumerate().rev().filter(|&(i, _)| kept(i)) {
            let step = backward(i);
            let from_loss = node.operation.is_loss().then_some(outputs[i]);
            let Some(doutput) = from_loss.or(gradients[i]) else {
                continue;
            };
            buffers.needed(doutput, step);
            buffers.needed(saved[i], step);
            let dinputs = std::array::from_fn(|k| {
                let input = node.inputs[k].filter(|&input| nodes[input].trains)?;
                if let Some(gradient) = gradients[input] {
                    return Some((gradient, Write::Add));
                }
                let takes_over = node.operation.in_place() && k == 0;
                let gradient = if takes_over { doutput } else { buffers.add(nodes[input].len, step) };
                gradients[input] = Some(gradient);
                Some((gradient, Write::Set))
            });
            let scratch = buffers.add(node.operation.scratch(), step);
            work[i] = Some(Work { scratch, doutput, dinputs });
        }

        let (len, places) = buffers.place();
        let at = |buffer: usize| places[buffer].clone();
        let nodes = work.into_iter().enumerate().map(|(i, work)| Places {
            output: at(outputs[i]),
            saved: at(saved[i]),
            backward: work.map(|work| BackwardPlaces {
                scratch: at(work.scratch),
                doutput: at(work.doutput),
                dinputs: work.dinputs.map(|d| d.map_or((0..0, Write::Set), |(buffer, w)| (at(buffer), w))),
            }),
        });
        Self { len, nodes: nodes.collect() }
    }
}

/// Whether nothing but node `by` needs the output of `node` once it begins.
fn is_free_after<R: Real>(nodes: &[Node<R>], node: usize, by: usize, kept: impl Fn(usize) -> bool) -> bool {
    let readers = nodes.iter().enumerate().filter(|(_, reader)| reader.inputs.contains(&Some(node)));
    let mut readers = readers.filter(|&(i, _)| i != by);
    !(kept(node) && nodes[node].operation.keeps().output)
        && readers.all(|(i, reader)| i < by && !(kept(i) && reader.operation.keeps().inputs))
}
