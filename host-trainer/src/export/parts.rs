//! The tensors of a file: rounded, planned and written.

use super::fold::Norms;
use super::int4;
use super::quantize::{Matrix, gains, rope_table, rounded_bias};
use crate::model::Model;
use anyhow::{Context, Result};
use std::borrow::Cow;
use thumbformer::format::{Dtype, Emitter, InputWidth, Layout, TensorKind, TensorPlan, TensorSpec};

/// Writes the tensors of a file.
pub fn emit(mut emitter: Emitter<'_>, parts: &[&Part]) -> Result<()> {
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Folded => {}
            Part::Values { values, .. } => write(emitter.data(index)?, values, |v| v.to_le_bytes()),
            Part::Matrix { matrix, factors, bias } => {
                // A tied head has the data of the embedding, which are written already.
                emitter.weights(index, &matrix.weights)?;
                if let Some(factors) = factors {
                    emitter.factors(index, factors)?;
                }
                write(emitter.scales(index)?, &matrix.scales, |v| v.to_le_bytes());
                write(emitter.bias(index)?, bias.as_deref().unwrap_or_default(), |v| v.to_le_bytes());
            }
        }
    }
    emitter.finish();
    Ok(())
}

/// A tensor, rounded.
#[derive(Debug)]
pub enum Part {
    Folded,
    Values {
        values: Vec<i16>,
        exponent: i8,
    },
    /// int4 where there are factors of groups, else int8.
    Matrix {
        matrix: Matrix,
        factors: Option<Vec<u8>>,
        bias: Option<Vec<i32>>,
    },
}

impl Part {
    /// `layout` is that of int8.
    pub fn plan(&self, input: InputWidth, layout: Layout) -> TensorPlan {
        let (dtype, exponent, bias) = match self {
            Self::Folded => (Dtype::Folded, 0, false),
            Self::Values { exponent, .. } => (Dtype::I16, *exponent, false),
            Self::Matrix { matrix, factors, bias } => {
                let dtype = if factors.is_some() { Dtype::I4 } else { Dtype::I8 };
                (dtype, matrix.exponent, bias.is_some())
            }
        };
        let layout = if dtype == Dtype::I4 { Layout::Nibbles } else { layout };
        TensorPlan { dtype, layout, input, exponent, bias }
    }
}

impl Part {
    /// Bits of a weight.
    pub fn bits(&self) -> u8 {
        match self {
            Self::Matrix { factors: Some(_), .. } => 4,
            Self::Matrix { .. } => 8,
            _ => 16,
        }
    }

    /// Bytes in a file, with scales and biases; `layout` is that of int8.
    pub fn bytes(&self, spec: TensorSpec, layout: Layout) -> usize {
        match self {
            Self::Folded => 0,
            Self::Values { values, .. } => 2 * values.len(),
            Self::Matrix { matrix, bias, .. } => {
                let layout = self.plan(InputWidth::A16, layout).layout;
                layout.len(spec.rows, spec.cols)
                    + 2 * matrix.scales.len()
                    + 4 * bias.as_ref().map_or(0, Vec::len)
            }
        }
    }

    /// The weights of a matrix as real numbers.
    pub fn real(&self, cols: usize) -> Option<Vec<f64>> {
        let Self::Matrix { matrix, factors, .. } = self else {
            return None;
        };
        let unit = libm::exp2(f64::from(matrix.exponent));
        let weight = |(i, &weight): (usize, &i8)| {
            let (row, column) = (i / cols, i % cols);
            let factor = factors
                .as_ref()
                .map_or(1, |factors| factors[row * int4::groups(cols) + int4::group(cols, column)]);
            f64::from(weight) * f64::from(factor) * f64::from(matrix.scales[row]) * unit
        };
        Some(matrix.weights.iter().enumerate().map(weight).collect())
    }
}

/// A tensor's weights to integers, with the factors of groups where these are int4.
pub type RoundMatrix<'a> = dyn Fn(TensorSpec, &[f32]) -> (Matrix, Option<Vec<u8>>) + 'a;

/// Rounds a tensor, the weights of a matrix by `matrix`; biases get `frac` fraction bits.
pub fn round(
    model: &Model,
    norms: &Norms<'_>,
    spec: TensorSpec,
    frac: u8,
    matrix: &RoundMatrix<'_>,
) -> Result<Part> {
    Ok(match spec.kind {
        TensorKind::RopeTable => {
            let (values, exponent) = rope_table(spec.rows, spec.cols, model.config().rope_theta);
            Part::Values { values, exponent }
        }
        kind if kind.is_norm() => match norms.gain(spec) {
            None => Part::Folded,
            Some(gain) => {
                let (values, exponent) = gains(gain);
                Part::Values { values, exponent }
            }
        },
        _ => {
            let (values, bias) = weights(model, norms, spec)?;
            let (matrix, factors) = matrix(spec, &values);
            Part::Matrix { matrix, factors, bias: bias.map(|bias| rounded_bias(&bias, frac)) }
        }
    })
}

/// Weights, and biases where there are any.
type WeightsAndBias<'m> = (Cow<'m, [f32]>, Option<Vec<f32>>);

/// The weights and biases of a matrix or an embedding as they are rounded.
pub fn weights<'m>(model: &'m Model, norms: &Norms<'_>, spec: TensorSpec) -> Result<WeightsAndBias<'m>> {
    let name = source_name(model, spec);
    let tensor = model.params().get(&name).with_context(|| format!("the model has no tensor {name}"))?;
    match spec.kind {
        TensorKind::Embedding | TensorKind::PositionEmbedding => {
            Ok((Cow::Borrowed(&tensor[..spec.rows * spec.cols]), None))
        }
        _ => Ok(norms.apply(spec, tensor, model.params().get(&name.replace(".weight", ".bias")))),
    }
}

/// The name of the tensor in a checkpoint that a tensor of a file is made from: a tied head's is the embedding.
pub fn source_name(model: &Model, spec: TensorSpec) -> String {
    let config = &model.config().config;
    let tied = spec.kind == TensorKind::Head && config.tied;
    tensor_name(if tied { config.spec(TensorKind::Embedding, 0) } else { spec })
}

/// The name of a tensor in a checkpoint.
pub fn tensor_name(spec: TensorSpec) -> String {
    let place = match spec.kind {
        TensorKind::Embedding => return "tok_embeddings.weight".into(),
        TensorKind::PositionEmbedding => return "pos_embeddings.weight".into(),
        TensorKind::FinalNorm => return "norm.weight".into(),
        TensorKind::Head => return "output.weight".into(),
        TensorKind::RopeTable => return "the rotary table".into(),
        TensorKind::AttentionNorm => "attention_norm",
        TensorKind::Wq => "attention.wq",
        TensorKind::Wk => "attention.wk",
        TensorKind::Wv => "attention.wv",
        TensorKind::Wo => "attention.wo",
        TensorKind::MlpNorm => "ffn_norm",
        TensorKind::W1 => "feed_forward.w1",
        TensorKind::W2 => "feed_forward.w2",
        TensorKind::W3 => "feed_forward.w3",
    };
    format!("layers.{}.{place}.weight", spec.layer)
}

fn write<T: Copy, const N: usize>(out: &mut [u8], values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    for (out, &value) in out.chunks_exact_mut(N).zip(values) {
        out.copy_from_slice(&bytes(value));
    }
}
