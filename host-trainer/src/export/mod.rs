//! A trained model to a `.thumb` file: equalise, calibrate, round, choose widths, emit.
//!
//! Mathematics at export comes from `libm` and from plain arithmetic, never from the platform's library, so
//! that one checkpoint gives the same bytes on every host.

mod auto;
mod calibrate;
mod compensate;
mod equalize;
mod fold;
pub(crate) mod grid;
mod group;
pub(crate) mod int4;
pub(crate) mod quantize;
mod target;

pub use auto::{Group, Widths};
pub use calibrate::Peaks;
pub use group::Zeros;
pub use int4::Weights;
pub use target::Target;

use crate::model::Model;
use anyhow::{Context, Result, ensure};
use quantize::{Matrix, gains, rope_table, rounded_bias};
use std::borrow::Cow;
use thumbformer::format::{Dtype, Emitter, InputWidth, Layout, TensorKind, TensorPlan, TensorSpec};

/// The widths of the vectors that matrices read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// 8 bits, but 16 where the calibration text shows that 8 cost too much.
    Auto,
    /// One for all.
    All(InputWidth),
}

/// What an export may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The widths of the matrices' inputs.
    pub input: Input,
    /// The types of the matrices' weights.
    pub weights: Weights,
    /// The core that matrices are packed for.
    pub target: Target,
    /// Whether norms' gains go into the matrices that read them, where that is exact.
    pub fold_gains: bool,
    /// Whether channels of the keys are equalised before rounding to int8.
    pub equalize: bool,
    /// Bits that the residual stream can grow beyond the largest value seen in the calibration text.
    pub headroom: u32,
    /// Positions of the context window; that of the model if it is not given.
    pub seq_len: Option<usize>,
    /// Told what is being done, a line at a time.
    pub progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            input: Input::Auto,
            weights: Weights::Int8,
            target: Target::Any,
            fold_gains: false,
            equalize: true,
            headroom: 8,
            seq_len: None,
            progress: |_| {},
        }
    }
}

/// What was written, beside the file itself.
#[derive(Debug)]
pub struct Exported {
    /// The bytes of the `.thumb` file.
    pub file: Vec<u8>,
    /// The largest values seen in the calibration text.
    pub peaks: Peaks,
    /// What was measured and chosen, where widths were to be chosen.
    pub widths: Option<Widths>,
    /// What was measured when the hidden units were ordered, where the activation leaves zeros.
    pub zeros: Option<Zeros>,
}

/// Rounds `model` to a model file. `calibration` is a text of tokens that the model might meet: it decides
/// the binary point of the residual stream, the sizes of the keys' channels, how weights are rounded and the widths of the
/// inputs; where it is empty or short, the model writes one itself.
pub fn export(
    model: &Model,
    tokenizer: &[u8],
    metadata: &[(&str, &str)],
    calibration: &[u16],
    options: &Options,
) -> Result<Exported> {
    // A model that was trained to be rounded goes to the very numbers that it was trained with, and computes with them
    // wherever it is asked for its numbers.
    let (learned, mut model) = (model, model.rounded().into_owned());
    let trained = learned.quantization().and_then(|quantization| quantization.weights);
    ensure!(
        trained.is_none() || !options.fold_gains,
        "folded norms: found a model that was trained to be rounded without, wanted gains of their own"
    );
    let calibration = match calibration {
        [] => Cow::Owned(calibrate::write_text(&model)?),
        text => Cow::Borrowed(text),
    };
    // What keys gain, four bits of queries' weights lose many times over.
    if options.equalize && options.weights == Weights::Int8 && trained.is_none() {
        equalize::equalize(&mut model, calibrate::excerpt(&calibration))?;
    }
    let peaks = calibrate::observe(&model, &calibration)?;
    let frac = peaks.fraction_bits(options.headroom);
    let mut config = model.config().config;
    if let Some(seq_len) = options.seq_len {
        ensure!(
            seq_len >= 1 && seq_len <= config.seq_len,
            "context: found {seq_len} positions, wanted 1 to {} (what the model was trained for)",
            config.seq_len
        );
        config.seq_len = seq_len;
    }

    let specs = || config.tensors();
    let rounded = |model: &Model, norms: &fold::Norms<'_>, matrix: &RoundMatrix<'_>| -> Result<Vec<Part>> {
        specs().map(|spec| round(model, norms, spec, frac, matrix)).collect()
    };
    let metadata = lines(metadata)?;
    let epsilon = quantize::mantissa_and_exponent(model.config().norm_eps);
    let file = |parts: &[Part], input: &dyn Fn(TensorKind) -> InputWidth, target: Target| {
        let plan = |(spec, part): (TensorSpec, &Part)| {
            part.plan(input(spec.kind), target.layout(&config, spec.kind))
        };
        let plans: Vec<TensorPlan> = specs().zip(parts).map(plan).collect();
        let (tokenizer_len, metadata_len) = (tokenizer.len(), metadata.len());
        let mut file = vec![0; Emitter::file_len(&config, &plans, tokenizer_len, metadata_len)];
        let mut emitter = Emitter::new(&mut file, config, frac, epsilon, &plans, tokenizer_len, metadata_len)
            .context("the model does not fit the format")?;
        emitter.tokenizer().copy_from_slice(tokenizer);
        emitter.metadata().copy_from_slice(metadata.as_bytes());
        emit(emitter, parts)?;
        thumbformer::Model::from_bytes(&file).context("no runtime would take the model")?;
        Ok(file)
    };

    let are_int4 = |spec: TensorSpec| options.weights.are_int4(spec.kind);
    let norms = fold::Norms::new(&model, options.fold_gains);
    let as_trained = |bits| {
        let norms = fold::Norms::new(learned, false);
        rounded(learned, &norms, &|spec, weights| grid::matrix(bits, spec, weights))
    };
    let nearest = match trained {
        Some(bits) => as_trained(bits)?,
        None => rounded(&model, &norms, &|spec, weights| match are_int4(spec) {
            false => (Matrix::round(weights, spec.cols), None),
            true => with_factors(int4::round(weights, spec.cols)),
        })?,
    };
    // A model that no file can hold is refused before any progress is told.
    let nearest = file(&nearest, &|_| InputWidth::A16, Target::Any)?;
    (options.progress)("reading or writing a text to round by");
    let text = calibrate::lengthen(&calibration, &nearest)?;
    let mut zeros = None;
    if config.activation.is_sparse() && trained.is_none() {
        (options.progress)("ordering the hidden units");
        zeros = Some(group::group(&mut model, &text)?);
    }
    let norms = fold::Norms::new(&model, options.fold_gains);
    let parts = if let Some(bits) = trained {
        as_trained(bits)?
    } else {
        (options.progress)(&format!("rounding by the inputs of {} tokens", text.len()));
        let inputs = compensate::Inputs::observe(&model, &norms, &text)?;
        rounded(&model, &norms, &|spec, weights| match are_int4(spec) {
            false => (inputs.round(&model, spec, weights), None),
            true => with_factors(inputs.round_int4(&model, spec, weights)),
        })?
    };

    let widths = learned.quantization().and_then(|quantization| quantization.activations);
    let input = match (options.input, widths) {
        (Input::Auto, Some(width)) => Input::All(width.into()),
        (input, _) => input,
    };
    let (file, widths) = match input {
        Input::All(width) => (file(&parts, &|_| width, options.target)?, None),
        Input::Auto => {
            (options.progress)("choosing the widths of the inputs");
            let candidate = |wide: &[Group]| file(&parts, &|kind| auto::width(wide, kind), Target::Any);
            let widths = auto::choose(&model, &text, config.seq_len, &candidate)?;
            (file(&parts, &|kind| auto::width(&widths.wide, kind), options.target)?, Some(widths))
        }
    };
    Ok(Exported { file, peaks, widths, zeros })
}

/// Writes the tensors of a file.
fn emit(mut emitter: Emitter<'_>, parts: &[Part]) -> Result<()> {
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
enum Part {
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
    fn plan(&self, input: InputWidth, layout: Layout) -> TensorPlan {
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

/// A tensor's weights to integers, with the factors of groups where these are int4.
type RoundMatrix<'a> = dyn Fn(TensorSpec, &[f32]) -> (Matrix, Option<Vec<u8>>) + 'a;

fn with_factors((matrix, factors): (Matrix, Vec<u8>)) -> (Matrix, Option<Vec<u8>>) {
    (matrix, Some(factors))
}

fn round(
    model: &Model,
    norms: &fold::Norms<'_>,
    spec: TensorSpec,
    frac: u8,
    matrix: &RoundMatrix<'_>,
) -> Result<Part> {
    let name = tensor_name(spec);
    let tensor =
        |name: &str| model.params().get(name).with_context(|| format!("the model has no tensor {name}"));
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
        TensorKind::Embedding | TensorKind::PositionEmbedding => {
            let values = &tensor(&name)?[..spec.rows * spec.cols];
            let (matrix, factors) = matrix(spec, values);
            Part::Matrix { matrix, factors, bias: None }
        }
        _ => {
            let config = &model.config().config;
            let tied = spec.kind == TensorKind::Head && config.tied;
            let name = if tied { tensor_name(config.spec(TensorKind::Embedding, 0)) } else { name };
            let bias = model.params().get(&name.replace(".weight", ".bias"));
            let (values, bias) = norms.apply(spec, tensor(&name)?, bias);
            let (matrix, factors) = matrix(spec, &values);
            Part::Matrix { matrix, factors, bias: bias.map(|bias| rounded_bias(&bias, frac)) }
        }
    })
}

/// The name of a tensor in a checkpoint.
fn tensor_name(spec: TensorSpec) -> String {
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

fn lines(metadata: &[(&str, &str)]) -> Result<String> {
    let mut text = String::new();
    for (key, value) in metadata {
        ensure!(
            !key.contains(['=', '\n']) && !value.contains('\n'),
            "metadata: {key:?} = {value:?} has a line break, or '=' in its key"
        );
        text += &format!("{key} = {value}\n");
    }
    Ok(text)
}
