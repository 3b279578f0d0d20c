//! Who calls whom, and how much stack that takes at most.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    frame::{Call, Callee, Frame},
    program::Program,
};

/// The calls of a program, as far as its entries reach.
#[derive(Debug)]
pub struct Graph {
    frames: Vec<Frame>,
    /// The functions that are reached, with those that each calls and the stack before the call.
    edges: BTreeMap<usize, BTreeMap<usize, i64>>,
    /// Calls of addresses that were computed: where from, by which instruction, and what may be meant.
    pub computed: Vec<(usize, u64, BTreeSet<usize>)>,
}

impl Graph {
    /// The calls that begin at these functions.
    pub fn new(program: &Program, entries: &[usize]) -> Self {
        let frames = program.functions.iter().map(|function| Frame::of(program, function)).collect();
        let mut graph = Self { frames, edges: BTreeMap::new(), computed: Vec::new() };
        // What may be meant depends on who calls, and that on what may be meant.
        loop {
            let before = graph.edges.clone();
            let callers = graph.callers();
            graph.computed.clear();
            let (mut edges, mut left) = (BTreeMap::new(), entries.to_vec());
            while let Some(function) = left.pop() {
                if edges.contains_key(&function) {
                    continue;
                }
                let callees = graph.callees(program, function, &callers);
                left.extend(callees.keys());
                edges.insert(function, callees);
            }
            graph.edges = edges;
            if graph.edges == before {
                graph.computed.sort_unstable();
                return graph;
            }
        }
    }

    /// All functions from which each is reached, directly or not.
    fn callers(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut callers: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for &from in self.edges.keys() {
            for to in self.reached(from) {
                callers.entry(to).or_default().insert(from);
            }
        }
        callers
    }

    /// The function, and all that it reaches.
    pub fn reached(&self, from: usize) -> BTreeSet<usize> {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(function) = left.pop() {
            if seen.insert(function) {
                left.extend(self.edges.get(&function).into_iter().flat_map(BTreeMap::keys));
            }
        }
        seen
    }

    fn callees(
        &mut self,
        program: &Program,
        function: usize,
        callers: &BTreeMap<usize, BTreeSet<usize>>,
    ) -> BTreeMap<usize, i64> {
        let mut callees = BTreeMap::new();
        let mut add = |to, depth: i64| {
            let deepest = callees.entry(to).or_insert(depth);
            *deepest = depth.max(*deepest);
        };
        for &Call { depth, site, callee, comes_back } in &self.frames[function].calls {
            match callee {
                Callee::Known(to) => add(to, depth),
                Callee::Unknown => {
                    let from = callers.get(&function).into_iter().flatten().chain([&function]);
                    let taken =
                        from.flat_map(|&caller| &program.functions[caller].takes).chain(&program.in_data);
                    // A part of a function is not called, and a function is not jumped to with a frame that is open.
                    let fits = |to: &usize| match self.frames[*to].is_part {
                        true => !comes_back,
                        false => comes_back || depth == 0,
                    };
                    let meant: BTreeSet<usize> = taken.copied().filter(fits).collect();
                    // Parts jump among themselves, which is no call; who jumped to the first may reach all of them.
                    if !self.frames[function].is_part {
                        meant.iter().for_each(|&to| add(to, depth));
                    }
                    self.computed.push((function, site, meant));
                }
            }
        }
        callees
    }

    /// The functions that are reached.
    pub fn functions(&self) -> impl Iterator<Item = usize> {
        self.edges.keys().copied()
    }

    /// The functions that one calls.
    pub fn calls(&self, function: usize) -> impl Iterator<Item = usize> {
        self.edges.get(&function).into_iter().flat_map(|callees| callees.keys().copied())
    }

    /// The most bytes of a function's own.
    pub fn own(&self, function: usize) -> u64 {
        self.frames[function].own
    }

    /// What could not be followed, in what is reached.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().flat_map(|&function| self.frames[function].problems.iter().map(String::as_str))
    }

    /// A way that leads from a function back to it, if there is one.
    pub fn recursion(&self) -> Option<Vec<usize>> {
        fn visit(graph: &Graph, way: &mut Vec<usize>, done: &mut BTreeSet<usize>, to: usize) -> bool {
            if let Some(first) = way.iter().position(|&function| function == to) {
                way.drain(..first);
                return true;
            }
            if !done.insert(to) {
                return false;
            }
            way.push(to);
            if graph.calls(to).any(|callee| visit(graph, way, done, callee)) {
                return true;
            }
            way.pop();
            false
        }
        let (mut way, mut done) = (Vec::new(), BTreeSet::new());
        self.functions().any(|function| visit(self, &mut way, &mut done, function)).then_some(way)
    }

    /// The most bytes of stack below the caller of a function, and the calls that take them, the function first. There must be
    /// no recursion.
    pub fn deepest(&self, function: usize) -> (u64, Vec<usize>) {
        self.below(function, &mut BTreeMap::new())
    }

    fn below(&self, function: usize, known: &mut BTreeMap<usize, (u64, Vec<usize>)>) -> (u64, Vec<usize>) {
        if let Some(known) = known.get(&function) {
            return known.clone();
        }
        let mut deepest = (self.own(function), vec![function]);
        for (&callee, &depth) in self.edges.get(&function).into_iter().flatten() {
            let (bytes, way) = self.below(callee, known);
            let bytes = bytes.saturating_add_signed(depth);
            if bytes > deepest.0 {
                deepest = (bytes, [vec![function], way].concat());
            }
        }
        known.insert(function, deepest.clone());
        deepest
    }
}
