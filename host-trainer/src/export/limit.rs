//! Exports that are refused: too large, or too far from f32.

use super::measure::Measured;
use super::sensitivity::{Row, Sensitivity};
use anyhow::{Error, anyhow};

/// A file above its budget. `advice` is what would make it smaller, and `rows` are its tensors.
pub fn too_large(bytes: usize, budget: usize, mut rows: Vec<Row>, advice: &str) -> Error {
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    let largest = rows.iter().take(3).map(|row| format!("{} {} ({} bits)", row.tensor, row.bytes, row.bits));
    anyhow!(
        "flash budget: found a file of {bytes} bytes, wanted at most {budget}; its largest tensors are {}; {advice}",
        largest.collect::<Vec<_>>().join(", ")
    )
}

/// A file that is too far above the loss in f32, `loss`. `text` is what it was measured on.
pub fn too_lossy(found: Measured, loss: f64, limit: f64, text: &str, sensitivity: &Sensitivity) -> Error {
    let narrow = sensitivity.tensors.iter().any(|row| row.input_bits == Some(8));
    let (worst, advice) = match sensitivity.worst() {
        None => (String::new(), "training it with rounded weights"),
        Some(row) => (
            format!("; {} ({} bits, KL {:.6} alone) costs most", row.tensor, row.bits, row.kl_alone),
            match (row.bits, narrow) {
                (4, _) => "more bits for it: --bits 8, or a larger --flash-budget",
                (_, true) => "--activations 16",
                _ => "--calibration with text that it will meet, or training it with rounded weights",
            },
        ),
    };
    anyhow!(
        "loss: found {:.6} nats per token on {text}, {:+.6} to f32, wanted at most {limit:+}{worst}; what may help: {advice}",
        found.loss,
        found.loss - loss
    )
}
