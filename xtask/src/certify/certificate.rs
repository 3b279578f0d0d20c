//! What was found, as data: certificate.json.

use std::collections::BTreeMap;

use serde::Serialize;

/// The most that a bound may be above what a run was seen to take, as a share of the bound.
pub const SLACK: f64 = 0.15;

/// Evidence for the promises of the runtime.
#[derive(Debug, Serialize)]
pub struct Certificate {
    /// The version of the runtime.
    pub version: &'static str,
    /// The compiler.
    pub compiler: String,
    /// The model's file.
    pub model: String,
    /// Its bytes.
    pub model_bytes: u64,
    /// Its checksum, as in its header.
    pub model_crc: String,
    /// Each claim that does not hold; none where all do.
    pub failures: Vec<String>,
    /// Each target and level of optimisation.
    pub builds: Vec<Findings>,
    /// WebAssembly.
    pub web: Web,
}

/// What was found in a program.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// rustc's name for the target.
    pub target: String,
    /// rustc's name for the processor.
    pub cpu: String,
    /// rustc's `opt-level`.
    pub opt_level: String,
    /// The machine that it ran on.
    pub machine: String,
    /// Functions that the entries reach.
    pub functions: usize,
    /// Symbols of panics.
    pub panics: Vec<String>,
    /// Symbols of divisions by zero.
    pub divisions: Vec<String>,
    /// Symbols of a heap.
    pub heap: Vec<String>,
    /// A soft-float routine or an instruction of the FPU.
    pub float: Option<String>,
    /// Functions that call each other in a circle.
    pub recursion: Vec<String>,
    /// What could not be followed.
    pub problems: Vec<String>,
    /// The stack of each entry.
    pub entries: Vec<Entry>,
    /// Calls and jumps to computed addresses that may leave their function.
    pub computed: Vec<Computed>,
    /// Which functions each calls.
    pub calls: BTreeMap<String, Vec<String>>,
}

/// The stack of an entry.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The function.
    pub name: String,
    /// The most bytes that it can take.
    pub bound: u64,
    /// The most that a run was seen to take, where the model has a use for it.
    pub mark: Option<u64>,
    /// Each function on the way to the bound, with its own bytes.
    pub way: Vec<(String, u64)>,
}

/// A call or a jump to a computed address.
#[derive(Debug, Serialize)]
pub struct Computed {
    /// The function that has it.
    pub function: String,
    /// The functions that may be meant; none where it stays in its own.
    pub meant: Vec<String>,
}

/// What was found in a WebAssembly module.
#[derive(Debug, Serialize)]
pub struct Web {
    /// How many things it imports.
    pub imports: u32,
    /// Its functions.
    pub functions: Vec<String>,
    /// Those that tell of panics, divisions by zero and a heap.
    pub forbidden: Vec<String>,
}

impl Entry {
    /// How far the bound is above what was seen, as a share of the bound.
    pub fn slack(&self) -> Option<f64> {
        Some((self.bound as f64 - self.mark? as f64) / self.bound.max(1) as f64)
    }

    /// Whether it is a call of a session, whose slack is limited.
    pub fn is_of_session(&self) -> bool {
        ["session", "prefill", "step", "sample", "generate", "classify"]
            .iter()
            .any(|name| self.name.strip_prefix(super::ENTRY) == Some(name))
    }
}

impl Findings {
    /// Its name in a sentence.
    pub fn name(&self) -> String {
        format!("{} ({}) at opt-level {}", self.target, self.cpu, self.opt_level)
    }

    /// Each claim that does not hold.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (claim, found) in [
            ("no panic", &self.panics),
            ("no division by zero", &self.divisions),
            ("no heap", &self.heap),
            ("no recursion", &self.recursion),
            ("every way can be followed", &self.problems),
        ] {
            failures.extend(found.iter().map(|found| format!("{}: {claim}: found {found}", self.name())));
        }
        failures.extend(
            self.float.iter().map(|found| format!("{}: no floating point: found {found}", self.name())),
        );
        for entry in &self.entries {
            let Some((mark, slack)) = entry.mark.zip(entry.slack()) else { continue };
            if mark > entry.bound {
                failures.push(format!(
                    "{}: {}: found {mark} bytes, wanted at most {}",
                    self.name(),
                    entry.name,
                    entry.bound
                ));
            } else if entry.is_of_session() && slack > SLACK {
                failures.push(format!(
                    "{}: {}: a bound of {} is {:.1} % above the {mark} bytes of the run, wanted at most {:.0} %",
                    self.name(),
                    entry.name,
                    entry.bound,
                    100.0 * slack,
                    100.0 * SLACK
                ));
            }
        }
        failures
    }
}
