//! What an instruction means for the flow of control and for the stack; all else of it is of no interest here.

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Its bytes.
    pub len: u64,
    /// Where control goes.
    pub flow: Flow,
    /// Whether the following instruction may come next, too.
    pub falls_through: bool,
    /// What becomes of the stack pointer.
    pub stack: Stack,
}

/// Where control may go, beside the following instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Nowhere else.
    Next,
    /// To this address.
    Branch(u64),
    /// To the function at this address, and back.
    Call(u64),
    /// To a function whose address is in a register, and back.
    CallRegister,
    /// To one of the places that a table behind the instruction lists, in the same function.
    Table,
    /// To an address that was computed or loaded.
    Jump,
    /// Back to the caller.
    Return,
}

/// What an instruction does with the stack pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Nothing.
    Keeps,
    /// The stack grows by so many bytes, or shrinks.
    Grows(i64),
    /// The stack pointer is set to, or changed by, what no instruction alone tells: by this register's value where there
    /// is one.
    By(Option<u8>),
    /// Nothing, but the frame pointer is set to so many bytes above it.
    MarksFrame(i64),
    /// It is set to so many bytes below the frame pointer.
    ToFrame(i64),
}

impl Instruction {
    /// One of so many bytes that is nothing special.
    pub const fn plain(len: u64) -> Self {
        Self { len, flow: Flow::Next, falls_through: true, stack: Stack::Keeps }
    }

    /// The same with the stack grown.
    pub const fn grows(self, bytes: i64) -> Self {
        Self { stack: Stack::Grows(bytes), ..self }
    }

    /// The same with a stack pointer of which nothing is known.
    pub const fn by(self, register: Option<u8>) -> Self {
        Self { stack: Stack::By(register), ..self }
    }

    /// The same that goes elsewhere, always.
    pub const fn goes(self, flow: Flow) -> Self {
        Self { flow, falls_through: false, ..self }
    }

    /// The same that goes elsewhere, or not.
    pub const fn may_go(self, flow: Flow) -> Self {
        Self { flow, falls_through: true, ..self }
    }

    /// The same under a condition. A return that is not taken leaves the stack as it was.
    pub fn conditional(self) -> Self {
        let stack = match (self.flow, self.stack) {
            (Flow::Return | Flow::Jump, _) | (_, Stack::Keeps) => Stack::Keeps,
            _ => Stack::By(None),
        };
        Self { falls_through: true, stack, ..self }
    }
}
