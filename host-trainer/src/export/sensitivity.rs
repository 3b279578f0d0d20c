//! What the rounding of each tensor costs, with all others as they were.

use super::Target;
use super::compensate::Inputs;
use super::fold::Norms;
use super::measure::Measure;
use super::parts::{Part, source_name, tensor_name, weights};
use crate::model::Model;
use anyhow::{Context, Result};
use std::fmt::{Display, Formatter, Result as FmtResult};
use thumbformer::Config;
use thumbformer::format::{InputWidth, TensorKind, TensorSpec};

/// What the rounding of one tensor costs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// The mean squared error of its products.
    pub error: f64,
    /// That, as a part of the products' mean square.
    pub relative: f64,
    /// The divergence KL(f32 || f32 with this tensor rounded), in nats per token.
    pub kl: f64,
}

/// Whether a tensor's weights are rounded: those of matrices and embeddings, a tied head's with its embedding.
pub fn is_rounded(config: &Config, spec: TensorSpec) -> bool {
    match spec.kind {
        TensorKind::Embedding | TensorKind::PositionEmbedding => true,
        TensorKind::Head => !config.tied,
        kind => kind.is_matrix(),
    }
}

/// Measures what the rounding of a tensor of `model` costs.
pub fn cost(
    model: &Model,
    norms: &Norms<'_>,
    inputs: &Inputs,
    measure: &Measure<'_>,
    spec: TensorSpec,
    part: &Part,
) -> Result<Cost> {
    let name = source_name(model, spec);
    let wanted = weights(model, norms, spec)?.0;
    let found = part.real(spec.cols).with_context(|| format!("{name} has no weights"))?;
    let mut errors: Vec<f64> = found.iter().zip(wanted.iter()).map(|(f, &w)| f - f64::from(w)).collect();
    let (error, size) = inputs.mean_squares(model, spec, &errors, &wanted);
    norms.undo(spec, &mut errors);
    let mut changed = model.clone();
    let values = changed.params_mut().get_mut(&name).with_context(|| format!("the model has no {name}"))?;
    values.iter_mut().zip(errors).for_each(|(value, e)| *value = (f64::from(*value) + e) as f32);
    let relative = if size > 0.0 { error / size } else { 0.0 };
    Ok(Cost { error, relative, kl: measure.model(&changed)?.kl })
}

/// The tensors of a file, and what their rounding costs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Sensitivity {
    /// Tokens over which divergences were measured.
    pub tokens: usize,
    /// In the order of the file.
    pub tensors: Vec<Row>,
}

/// One tensor.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// Its name in the checkpoint.
    pub tensor: String,
    /// Bits of its weights.
    pub bits: u8,
    /// Bytes in the file, scales, factors and biases included.
    pub bytes: usize,
    /// Bits of the vector that it multiplies; none of an embedding.
    pub input_bits: Option<u8>,
    /// The mean squared error of its products.
    pub mean_squared_error: f64,
    /// That, as a part of the products' mean square.
    pub relative_error: f64,
    /// The divergence KL(f32 || f32 with this tensor alone rounded), in nats per token.
    pub kl_alone: f64,
}

impl Row {
    /// The row of a tensor.
    pub fn new(
        config: &Config,
        spec: TensorSpec,
        part: &Part,
        input: InputWidth,
        target: Target,
        cost: Cost,
    ) -> Self {
        let multiplied = spec.kind.is_matrix() || (spec.kind == TensorKind::Embedding && config.tied);
        Self {
            tensor: tensor_name(spec),
            bits: part.bits(),
            bytes: part.bytes(spec, target.layout(config, spec.kind)),
            input_bits: multiplied.then_some(if input == InputWidth::A8 { 8 } else { 16 }),
            mean_squared_error: cost.error,
            relative_error: cost.relative,
            kl_alone: cost.kl,
        }
    }
}

impl Sensitivity {
    /// The tensor whose rounding costs most.
    pub fn worst(&self) -> Option<&Row> {
        self.tensors.iter().max_by(|a, b| a.kl_alone.total_cmp(&b.kl_alone))
    }
}

impl Display for Sensitivity {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let longest = self.tensors.iter().map(|row| row.tensor.len()).max().unwrap_or(0);
        write!(
            f,
            "{:<longest$}  bits     bytes  input  squared error  relative  KL alone, {} tokens",
            "tensor", self.tokens
        )?;
        for row in &self.tensors {
            let input = row.input_bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string());
            write!(
                f,
                "\n{:<longest$}  {:>4}  {:>8}  {input:>5}  {:>13.3e}  {:>8.2e}  {:.6}",
                row.tensor, row.bits, row.bytes, row.mean_squared_error, row.relative_error, row.kl_alone
            )?;
        }
        Ok(())
    }
}
