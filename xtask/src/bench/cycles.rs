//! Estimated cycles: the counts of instructions, weighted by the timing tables of the processors' manuals.
//!
//! An estimate, not a measurement: memory without wait states, no neighbouring loads in one, the longest division.

use super::thumb::Class;

/// The timing of a core.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    multiply: u64,
    multiply_add: u64,
    multiply_long: u64,
    multiply_add_long: u64,
    divide: u64,
    /// What a taken branch takes beyond its first cycle.
    refill: u64,
    /// The same for a call.
    call: u64,
    /// The same for a load to the program counter.
    load_refill: u64,
    system: u64,
}

/// Cortex-M0 Technical Reference Manual, section 3.3, with the single-cycle multiplier, which is an option.
const CORTEX_M0: Timing = Timing {
    multiply: 1,
    multiply_add: 1,
    multiply_long: 1,
    multiply_add_long: 1,
    divide: 1,
    refill: 2,
    call: 3,
    load_refill: 3,
    system: 4,
};

/// Cortex-M3 Technical Reference Manual, section 3.3.1, with two cycles to fill the pipeline (it says 1 to 3) and the
/// longest multiplications and divisions.
const CORTEX_M3: Timing = Timing {
    multiply: 1,
    multiply_add: 2,
    multiply_long: 5,
    multiply_add_long: 7,
    divide: 12,
    refill: 2,
    call: 2,
    load_refill: 2,
    system: 2,
};

/// Cortex-M4 Technical Reference Manual, section 3.3.1, likewise.
const CORTEX_M4: Timing = Timing { multiply_add: 1, multiply_long: 1, multiply_add_long: 1, ..CORTEX_M3 };

/// The timing of the core that rustc knows by this name, where its manual has one.
pub fn timing(cpu: &str) -> Option<Timing> {
    match cpu {
        "cortex-m0" => Some(CORTEX_M0),
        "cortex-m3" => Some(CORTEX_M3),
        "cortex-m4" => Some(CORTEX_M4),
        _ => None,
    }
}

impl Timing {
    /// The cycles of an instruction that was executed `count` times and `taken` times did not go on to the next.
    pub fn cycles(&self, class: Class, count: u64, taken: u64) -> u64 {
        let each = match class {
            Class::Simple | Class::Branch | Class::Call | Class::BranchRegister | Class::Coprocessor => 1,
            Class::Load | Class::Store | Class::LoadAndBranch => 2,
            Class::Loads(n) | Class::Stores(n) | Class::LoadsAndBranch(n) => 1 + u64::from(n),
            Class::Multiply => self.multiply,
            Class::MultiplyAdd => self.multiply_add,
            Class::MultiplyLong => self.multiply_long,
            Class::MultiplyAddLong => self.multiply_add_long,
            Class::Divide => self.divide,
            Class::System => self.system,
        };
        let refill = match class {
            Class::Branch | Class::BranchRegister => self.refill,
            Class::Call => self.call,
            Class::LoadAndBranch | Class::LoadsAndBranch(_) => self.load_refill,
            _ => 0,
        };
        each * count + refill * taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of the manuals.
    #[test]
    fn instructions_take_what_the_manuals_say() {
        let [m0, m3, m4] = ["cortex-m0", "cortex-m3", "cortex-m4"].map(|cpu| timing(cpu).unwrap());
        for timing in [m0, m3, m4] {
            assert_eq!(timing.cycles(Class::Load, 1, 0), 2);
            assert_eq!(timing.cycles(Class::Loads(4), 1, 0), 5);
            assert_eq!(timing.cycles(Class::Branch, 3, 2), 3 + 2 * 2);
        }
        assert_eq!(m0.cycles(Class::Call, 1, 1), 4);
        assert_eq!(m0.cycles(Class::LoadsAndBranch(5), 1, 1), 4 + 5);
        assert_eq!(m3.cycles(Class::MultiplyLong, 1, 0), 5);
        assert_eq!(m4.cycles(Class::MultiplyLong, 1, 0), 1);
        assert!(timing("cortex-m7").is_none());
    }
}
