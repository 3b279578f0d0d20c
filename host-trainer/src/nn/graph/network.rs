//! Running a network that was recorded.

use super::operation::{Backward, Forward, Freeze, Given, Gradient};
use super::plan::Plan;
use super::recorder::{Node, Site, Tape};
use super::{Frozen, Mode, Tensor, Training};
use crate::nn::math::add;
use crate::nn::matrix::{Multiply, Write, matmul, matmul_portable};
use crate::nn::real::Real;
use std::marker::PhantomData;
use std::ops::Range;

/// A network for sequences of one length: what to do, and where everything lies in a [`Memory`].
#[derive(Debug)]
pub struct Network<M: Mode, R: Real> {
    tape: Tape<R>,
    output: usize,
    plan: Plan,
    mode: PhantomData<M>,
}

/// The memory of one thread that runs a network.
#[derive(Debug)]
pub struct Memory<R>(Vec<R>);

impl<R: Real> Memory<R> {
    /// As much as a network needs.
    pub fn new<M: Mode>(network: &Network<M, R>) -> Self {
        Self(vec![R::ZERO; network.plan.len])
    }
}

/// Someone who sees values by the names that [`Recorder::show`](super::Recorder::show) gave them.
pub type Observe<'a, R> = &'a mut dyn FnMut(&str, &[R]);

/// What an observer sees.
enum Seen<'a, R> {
    Nothing,
    /// The values.
    Values(Observe<'a, R>),
    /// [What operations saved](super::Operation::inside) on the way to the values.
    Inside(Observe<'a, R>),
}

impl<M: Mode, R: Real> Network<M, R> {
    pub(super) fn new(tape: Tape<R>, output: usize) -> Self {
        let plan = Plan::new(&tape.nodes, output, M::TRAINS);
        Self { tape, output, plan, mode: PhantomData }
    }

    /// The parameters, in their order in memory.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tape.tensors
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.tape.tensors.last().map_or(0, |tensor| tensor.range.end)
    }

    /// The number of values that a [`Memory`] holds.
    pub fn memory_len(&self) -> usize {
        self.plan.len
    }

    /// The output, after a forward pass.
    pub fn output<'a>(&self, memory: &'a Memory<R>) -> &'a [R] {
        &memory.0[self.plan.nodes[self.output].output.clone()]
    }

    fn run(
        &self,
        params: &[R],
        given: &Given<'_, R>,
        memory: &mut Memory<R>,
        multiply: Multiply<R>,
        mut seen: Seen<'_, R>,
    ) -> f64 {
        assert_eq!(params.len(), self.parameters(), "found other parameters than were recorded");
        assert_eq!(memory.0.len(), self.plan.len, "found the memory of another network");
        let mut loss = 0.0;
        for (i, (node, places)) in self.tape.nodes.iter().zip(&self.plan.nodes).enumerate() {
            let mut inputs = self.outputs_of(node.inputs);
            if node.operation.in_place() {
                if inputs[0] != places.output {
                    memory.0.copy_within(inputs[0].clone(), places.output.start);
                }
                inputs[0] = 0..0;
            }
            let [first, second] = inputs;
            let [first, second, output, saved] =
                apart(&mut memory.0, [first, second, places.output.clone(), places.saved.clone()]);
            node.operation.forward(Forward {
                params,
                given,
                multiply,
                inputs: [first, second],
                output,
                saved,
                loss: &mut loss,
            });
            let sites = self.tape.sites.iter().filter(|site| site.node == i);
            match &mut seen {
                Seen::Nothing => {}
                Seen::Values(observe) => {
                    let output = &memory.0[places.output.clone()];
                    sites.for_each(|site| show(site, node.width, output, observe));
                }
                Seen::Inside(observe) => {
                    let inside = node.operation.inside(&memory.0[places.saved.clone()]);
                    sites.filter(|_| !inside.is_empty()).for_each(|site| observe(&site.name, &inside));
                }
            }
        }
        loss
    }

    fn outputs_of(&self, nodes: [Option<usize>; 2]) -> [Range<usize>; 2] {
        nodes.map(|node| node.map_or(0..0, |node| self.plan.nodes[node].output.clone()))
    }
}

impl<R: Real> Network<Training, R> {
    /// Runs forward; returns the sum of the losses of all rows.
    pub fn forward(&self, params: &[R], given: &Given<'_, R>, memory: &mut Memory<R>) -> f64 {
        self.run(params, given, memory, matmul, Seen::Nothing)
    }

    /// Runs backward what [`forward`](Self::forward) ran just before with the same arguments; adds the gradient of the
    /// losses times [`Given::scale`] to `grad`, which lies like the parameters.
    pub fn backward(&self, params: &[R], given: &Given<'_, R>, memory: &mut Memory<R>, grad: &mut [R]) {
        assert_eq!(grad.len(), self.parameters(), "found the gradient of other parameters");
        for (node, places) in self.tape.nodes.iter().zip(&self.plan.nodes).rev() {
            let Some(backward) = &places.backward else {
                continue;
            };
            let keeps = node.operation.keeps();
            let [first, second] = if keeps.inputs { self.outputs_of(node.inputs) } else { [0..0, 0..0] };
            let output = if keeps.output { places.output.clone() } else { 0..0 };
            let [(mut dfirst, mut write), (dsecond, second_write)] = backward.dinputs.clone();
            let mut doutput = backward.doutput.clone();
            // Others have written to the gradient that this one would work in: it works in its own, and adds it then.
            let mut rest = 0..0;
            if node.operation.in_place() {
                if write == Write::Add {
                    rest = dfirst;
                }
                (dfirst, doutput, write) = (doutput, 0..0, Write::Set);
            }
            let [first, second, output, saved, scratch, doutput, dfirst, dsecond, rest] = apart(
                &mut memory.0,
                [
                    first,
                    second,
                    output,
                    places.saved.clone(),
                    backward.scratch.clone(),
                    doutput,
                    dfirst,
                    dsecond,
                    rest,
                ],
            );
            let dfirst = Gradient { values: dfirst, write };
            node.operation.backward(Backward {
                params,
                given,
                inputs: [first, second],
                output,
                saved,
                scratch,
                doutput,
                dinputs: [
                    Gradient { values: &mut *dfirst.values, write },
                    Gradient { values: dsecond, write: second_write },
                ],
                grad,
            });
            add(rest, dfirst.values);
        }
    }

    /// The network in use: without dropout, and with running statistics in the place of a batch's. Its memory is less.
    pub fn freeze(&self) -> Network<Frozen, R> {
        let mut nodes: Vec<Node<R>> = Vec::with_capacity(self.tape.nodes.len());
        let mut now: Vec<usize> = Vec::with_capacity(self.tape.nodes.len());
        for node in &self.tape.nodes {
            let inputs = node.inputs.map(|input| input.map(|input| now[input]));
            now.push(match node.operation.freeze() {
                Freeze::Gone => inputs[0].expect("only what has an input vanishes"),
                Freeze::Becomes(operation) => {
                    let Node { len, width, trains, .. } = *node;
                    nodes.push(Node { operation, inputs, len, width, trains });
                    nodes.len() - 1
                }
            });
        }
        let sites = self.tape.sites.iter();
        let sites = sites.map(|site| Site { node: now[site.node], ..site.clone() }).collect();
        let tape = Tape { nodes, tensors: self.tape.tensors.clone(), sites };
        Network::new(tape, now[self.output])
    }
}

impl<R: Real> Network<Frozen, R> {
    /// Runs forward; returns the sum of the losses of all rows, if a loss was recorded.
    pub fn infer(&self, params: &[R], given: &Given<'_, R>, memory: &mut Memory<R>) -> f64 {
        self.run(params, given, memory, matmul, Seen::Nothing)
    }

    /// [`infer`](Self::infer), slower, with products that are the same on every processor, telling `observe` what was
    /// to be shown.
    pub fn infer_observed(
        &self,
        params: &[R],
        given: &Given<'_, R>,
        memory: &mut Memory<R>,
        observe: Observe<'_, R>,
    ) -> f64 {
        self.run(params, given, memory, matmul_portable, Seen::Values(observe))
    }

    /// [`infer`](Self::infer), telling `observe` what operations whose values are to be shown
    /// [saved](super::Operation::inside) on the way to them: attention, its weights.
    pub fn infer_inside(
        &self,
        params: &[R],
        given: &Given<'_, R>,
        memory: &mut Memory<R>,
        observe: Observe<'_, R>,
    ) -> f64 {
        self.run(params, given, memory, matmul, Seen::Inside(observe))
    }
}

/// Slices that do not overlap. Empty ones are `0..0`, which overlaps nothing.
fn apart<R, const N: usize>(arena: &mut [R], places: [Range<usize>; N]) -> [&mut [R]; N] {
    arena.get_disjoint_mut(places).expect("the plan keeps what is needed at once apart")
}

fn show<R: Real>(site: &Site, width: usize, output: &[R], observe: &mut dyn FnMut(&str, &[R])) {
    if site.columns == (0..width) {
        return observe(&site.name, output);
    }
    let rows = output.chunks_exact(width);
    let columns: Vec<R> = rows.flat_map(|row| &row[site.columns.clone()]).copied().collect();
    observe(&site.name, &columns);
}
