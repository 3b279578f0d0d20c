//! A function's stack, followed along every way through it, and the calls on these ways.

use std::fmt;

use super::{
    instruction::{Flow, Stack},
    program::{Function, Program},
};

/// A stack deeper than this is a mistake of the analysis or of the program.
const TOO_DEEP: i64 = 1 << 20;

/// What a function does with the stack.
#[derive(Debug, Default)]
pub struct Frame {
    /// The most bytes that are its own.
    pub own: u64,
    /// The calls.
    pub calls: Vec<Call>,
    /// Whether it gives back more than it took: a part of another function that control jumps to, not a function to be
    /// called.
    pub is_part: bool,
    /// What could not be followed.
    pub problems: Vec<String>,
}

/// A call, or a jump to another function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Bytes of the function's own on the stack.
    pub depth: i64,
    /// The address of the call.
    pub site: u64,
    /// The function.
    pub callee: Callee,
    /// Whether control comes back to the instruction behind it.
    pub comes_back: bool,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callee {
    /// This function.
    Known(usize),
    /// One whose address was computed or loaded.
    Unknown,
}

impl Frame {
    /// Follows a function.
    pub fn of(program: &Program, function: &Function) -> Self {
        let depths = vec![None; function.code.len()];
        let mut walk = Walk { program, function, depths, frame_pointer: None, frame: Self::default() };
        walk.follow(0, 0);
        // What nothing leads to is where computed jumps go: inside a function they leave the stack as it is.
        while let Some(depth) = walk.computed() {
            let Some(next) = walk.depths.iter().position(Option::is_none) else { break };
            walk.follow(next, depth);
        }
        walk.collect();
        walk.frame
    }
}

struct Walk<'a> {
    program: &'a Program,
    function: &'a Function,
    /// Bytes on the stack before each instruction, the most of all ways to it.
    depths: Vec<Option<i64>>,
    /// Bytes on the stack above the frame pointer, where the function has one.
    frame_pointer: Option<i64>,
    frame: Frame,
}

impl Walk<'_> {
    /// Bytes on the stack behind an instruction that was reached.
    fn after(&self, index: usize) -> Option<i64> {
        let before = self.depths[index]?;
        Some(match self.function.code[index].1.stack {
            Stack::Grows(bytes) => before + bytes,
            Stack::ToFrame(below) => self.frame_pointer? + below,
            Stack::Keeps | Stack::By(_) | Stack::MarksFrame(_) => before,
        })
    }

    /// Follows all ways from an instruction on.
    fn follow(&mut self, index: usize, depth: i64) {
        let mut ways = vec![(index, depth)];
        while let Some((index, depth)) = ways.pop() {
            if index >= self.function.code.len() || self.depths[index].is_some_and(|known| known >= depth) {
                continue;
            }
            if depth > TOO_DEEP {
                return self.problem(self.function.code[index].0, "the stack grows without an end");
            }
            self.depths[index] = Some(depth);
            let (address, instruction) = self.function.code[index];
            if let Stack::MarksFrame(above) = instruction.stack {
                self.frame_pointer = Some(depth - above);
            }
            let after = self.after(index).unwrap_or(depth);
            // Where a branch does not reach far enough, Armv6-M's code uses a call.
            let far = match instruction.flow {
                Flow::Call(target) if target != self.function.start => self.function.index(target),
                _ => None,
            };
            ways.extend(far.map(|to| (to, after)));
            if instruction.falls_through {
                if far.is_none()
                    && self
                        .function
                        .code
                        .get(index + 1)
                        .is_none_or(|(next, _)| *next != address + instruction.len)
                {
                    self.problem(address, "control leaves at the end of the function");
                }
                let kept = if instruction.flow == Flow::Return { depth } else { after };
                ways.push((index + 1, kept));
            }
            if let Flow::Branch(target) = instruction.flow
                && let Some(to) = self.function.index(target)
            {
                ways.push((to, after));
            }
        }
    }

    /// The deepest stack at a computed jump.
    fn computed(&self) -> Option<i64> {
        let jumps = (0..self.depths.len()).filter(|&index| self.jumps(index));
        jumps.filter_map(|index| self.after(index)).max()
    }

    /// Whether an instruction goes to a computed address. What looks like a return but leaves a frame open does: assembly
    /// has the address in the link register, then.
    fn jumps(&self, index: usize) -> bool {
        let (_, instruction) = self.function.code[index];
        match instruction.flow {
            Flow::Jump | Flow::Table => true,
            Flow::Return => !instruction.falls_through && self.after(index).is_some_and(|depth| depth > 0),
            _ => false,
        }
    }

    fn problem(&mut self, address: u64, what: impl fmt::Display) {
        self.frame.problems.push(format!("{} at {address:#x}: {what}", self.function.name));
    }

    /// Gathers calls, the deepest stack, and what does not fit together.
    fn collect(&mut self) {
        let (mut own, mut returns) = (0, false);
        for index in 0..self.depths.len() {
            let Some(depth) = self.after(index) else { continue };
            own = own.max(depth);
            let (site, instruction) = self.function.code[index];
            if let Stack::By(_) = instruction.stack {
                self.problem(site, "the stack pointer is set to what is not known");
            }
            let comes_back =
                instruction.falls_through && matches!(instruction.flow, Flow::Call(_) | Flow::CallRegister);
            let callee = match instruction.flow {
                Flow::Return if self.jumps(index) => Callee::Unknown,
                Flow::Return => {
                    self.frame.is_part |= depth < 0;
                    returns = true;
                    continue;
                }
                Flow::Branch(target) if self.function.index(target).is_some() => continue,
                Flow::Call(target)
                    if target != self.function.start && self.function.index(target).is_some() =>
                {
                    continue;
                }
                Flow::Branch(target) | Flow::Call(target) => match self.program.at(target) {
                    Some(function) => Callee::Known(function),
                    None => {
                        self.problem(site, format!("control goes to {target:#x}, where no function begins"));
                        continue;
                    }
                },
                Flow::CallRegister | Flow::Jump => Callee::Unknown,
                Flow::Next | Flow::Table => continue,
            };
            self.frame.calls.push(Call { depth, site, callee, comes_back });
        }
        self.frame.own = own.unsigned_abs();
        // Nor is one called that takes nothing and only jumps on.
        let mut jumps =
            self.frame.calls.iter().filter(|call| call.callee == Callee::Unknown && !call.comes_back);
        let (any, deeper) = (jumps.clone().next().is_some(), jumps.any(|jump| jump.depth > 0));
        self.frame.is_part |= !returns && any && !deeper;
        if self.frame.is_part && deeper {
            self.problem(self.function.start, "a part of a function jumps on with a deeper stack");
        }
    }
}
