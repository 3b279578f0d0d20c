//! Exports that are refused: too large, or too far from f32.

use super::sensitivity::{Row, Sensitivity};
use anyhow::{Error, anyhow};
use std::fmt::{Display, Formatter, Result as FmtResult};

/// A file above its budget, the smallest of `mixed` bits where that is what was asked for; `rows` are its tensors, and
/// `trained` says whether their bits are those of its training, which no flag changes.
pub fn too_large(bytes: usize, budget: usize, mut rows: Vec<Row>, mixed: bool, trained: bool) -> Error {
    let advice = match (trained, mixed) {
        (true, _) => "these are the bits that it was trained to have, a smaller --context may be enough",
        (false, true) => "four bits everywhere are not enough, a smaller --context may be",
        (false, false) => "--bits mixed chooses by the budget",
    };
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    let largest = rows.iter().take(3).map(|row| format!("{} {} ({} bits)", row.tensor, row.bytes, row.bits));
    anyhow!(
        "flash budget: found a file of {bytes} bytes, wanted at most {budget}; its largest tensors are {}; {advice}",
        largest.collect::<Vec<_>>().join(", ")
    )
}

/// How far a file's loss is above that in f32.
pub struct Increase {
    /// Nats per token.
    pub nats: f64,
    /// What it was measured on.
    pub text: String,
}

impl Display for Increase {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "loss over f32: found {:+.6} nats per token on {}", self.nats, self.text)
    }
}

/// A file whose loss is too far above that in f32; `trained` as above.
pub fn too_lossy(found: &Increase, limit: f64, sensitivity: &Sensitivity, trained: bool) -> Error {
    let narrow = sensitivity.tensors.iter().any(|row| row.input_bits == Some(8));
    let (worst, advice) = match sensitivity.worst() {
        None => (String::new(), "training it with rounded weights"),
        Some(row) => (
            format!("; {} costs most ({} bits, KL {:.6} alone)", row.tensor, row.bits, row.kl_alone),
            match (row.bits, narrow, trained) {
                (_, true, true) => "--activations 16, or longer training with rounded weights",
                (_, false, true) => "longer training with rounded weights",
                (4, _, false) => "more bits for it: --bits 8, or a larger --flash-budget",
                (_, true, false) => "--activations 16",
                _ => "--calibration with text that it will meet, or training it with rounded weights",
            },
        ),
    };
    anyhow!("{found}, wanted at most {limit:+}{worst}; what may help: {advice}")
}
