//! A trained model to a `.thumb` file: equalise, calibrate, round, choose bits and widths, emit, check.
//!
//! Mathematics at export comes from `libm` and from plain arithmetic, never from the platform's library, so
//! that one checkpoint gives the same bytes on every host.

mod auto;
mod budget;
mod calibrate;
mod compensate;
mod draft;
mod equalize;
mod fold;
pub(crate) mod grid;
mod group;
pub(crate) mod int4;
mod limit;
mod measure;
mod parts;
mod plan;
pub(crate) mod quantize;
mod scores;
mod sensitivity;
mod source;
mod target;

pub use auto::{Group, Widths};
pub use budget::Bits;
pub use calibrate::Peaks;
pub use group::Zeros;
pub use int4::Weights;
pub(crate) use parts::tensor_name;
pub use plan::plan;
pub use sensitivity::{Row, Sensitivity};
pub use target::Target;

use crate::model::Model;
use anyhow::{Result, anyhow, ensure};
use compensate::Inputs;
use draft::{Draft, InputOf};
use measure::Measure;
use parts::Part;
use sensitivity::{Cost, is_rounded};
use source::Source;
use std::borrow::Cow;
use std::cell::LazyCell;
use thumbformer::NormKind;
use thumbformer::format::{InputWidth, TensorKind, TensorSpec};

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
    /// Bytes that the file may take; [`Weights::Mixed`] chooses by it.
    pub flash_budget: Option<usize>,
    /// How far, in nats per token, the loss may be above that in f32; otherwise there is no file.
    pub max_loss_increase: Option<f64>,
    /// Whether to measure what the rounding of each tensor costs.
    pub sensitivity: bool,
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
            flash_budget: None,
            max_loss_increase: None,
            sensitivity: false,
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
    /// What was measured and chosen, where bits of weights were to be chosen.
    pub bits: Option<Bits>,
    /// What the rounding of each tensor costs, where it was asked for.
    pub sensitivity: Option<Sensitivity>,
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
    // A model that was trained to be rounded goes to the very numbers that it was trained with; all that is asked of it is
    // asked of these.
    let learned = model;
    let model = &*learned.rounded();
    let quantization = learned.quantization();
    let trained = quantization.filter(|quantization| quantization.weights.is_some());
    let mixed = options.weights == Weights::Mixed && trained.is_none();
    grid::check(learned, options)?;
    let mut config = model.config().config;
    if let Some(seq_len) = options.seq_len {
        ensure!(
            seq_len >= 1 && seq_len <= config.seq_len,
            "context: found {seq_len} positions, wanted 1 to {} (what the model was trained for)",
            config.seq_len
        );
        config.seq_len = seq_len;
    }
    ensure!(
        !mixed || options.flash_budget.is_some(),
        "mixed bits: found no flash budget to choose by, wanted one"
    );
    let classifies = config.n_classes > 0;
    ensure!(
        !classifies || !calibration.is_empty(),
        "calibration: found none for a classifier, which writes no text of its own; wanted texts that it will meet"
    );
    // As much again as is read for rounding is held out, to check the result on.
    let wanted = calibrate::wanted(&config);
    let (calibration, held_out) = calibration.split_at(calibration.len().min(wanted));
    let held_out = &held_out[..held_out.len().min(wanted)];
    let calibration = match calibration {
        [] => Cow::Owned(calibrate::write_text(model)?),
        text => Cow::Borrowed(text),
    };
    let (mut grouped, mut zeros) = (Cow::Borrowed(model), None);
    // Another order would put the columns into other groups.
    if config.activation.is_sparse() && trained.is_none() {
        (options.progress)("ordering the hidden units");
        zeros = Some(group::group(grouped.to_mut(), &calibration)?);
    }
    let model = &*grouped;
    // What keys gain, four bits of queries' weights lose many times over.
    let equalize = options.equalize && options.weights != Weights::Int4 && trained.is_none();
    // A BatchNorm is to vanish; but a model that was trained to be rounded was so with its gains apart.
    let fold = options.fold_gains || config.norm == NormKind::Batch && trained.is_none();
    let source = Source::new(model, equalize.then(|| calibrate::excerpt(&calibration)), fold)?;
    let peaks = source.peaks(&calibration)?;
    let draft = Draft {
        config,
        frac: peaks.fraction_bits(options.headroom),
        epsilon: quantize::mantissa_and_exponent(model.config().norm_eps),
        tokenizer,
        metadata: lines(metadata)?,
    };

    let specs: Vec<TensorSpec> = config.tensors().collect();
    let rounded = |bits: &dyn Fn(TensorSpec) -> u8, inputs: Option<&Inputs>| -> Result<Vec<Part>> {
        let round = |&spec: &TensorSpec| match trained {
            Some(trained) => grid::part(learned, trained, spec, draft.frac),
            None => source.round(spec, bits(spec), draft.frac, inputs),
        };
        specs.iter().map(round).collect()
    };
    let plain_bits = |spec: TensorSpec| if options.weights.are_int4(spec.kind) { 4 } else { 8 };
    let wide: &InputOf<'_> = &|_| InputWidth::A16;
    let rows = |parts: &[&Part], input: &InputOf<'_>, costs: &[Cost]| -> Vec<Row> {
        let tensors = specs.iter().zip(parts).zip(costs);
        let tensors = tensors.filter(|((spec, _), _)| is_rounded(&config, **spec));
        tensors
            .map(|((&spec, part), &cost)| {
                let tied = spec.kind == TensorKind::Embedding && config.tied;
                let reads = input(if tied { TensorKind::Head } else { spec.kind });
                Row::new(&config, spec, part, reads, options.target, cost)
            })
            .collect()
    };
    // A model that no file can hold, or none within its budget, is refused before any progress is told.
    let nearest = rounded(&plain_bits, None)?;
    let nearest = draft.file(&nearest.iter().collect::<Vec<_>>(), wide, Target::Any)?;
    if let Some(budget) = options.flash_budget {
        let least = rounded(&|spec| if mixed { 4 } else { plain_bits(spec) }, None)?;
        let least: Vec<&Part> = least.iter().collect();
        let bytes = draft.len(&least, options.target);
        if bytes > budget {
            let rows = rows(&least, wide, &vec![Cost::default(); specs.len()]);
            return Err(limit::too_large(bytes, budget, rows, mixed, trained.is_some()));
        }
    }
    (options.progress)("reading or writing a text to round by");
    let text = calibrate::lengthen(&calibration, &nearest)?;
    (options.progress)(&format!("rounding by the inputs of {} tokens", text.len()));
    let inputs = source.inputs(&text)?;
    let plain = rounded(&plain_bits, Some(&inputs))?;

    // Every tensor alone takes a pass over the text, so that a part of it must do.
    let chunk = config.seq_len.min(calibrate::CHUNK);
    let probe = || Measure::new(model, &text[..text.len().min((2048 / chunk).max(1) * chunk + 1)], chunk);
    let measure = LazyCell::new(|| Measure::new(model, &text, chunk));
    let measure = || measure.as_ref().map_err(|error| anyhow!("{error:#}"));
    let (fours, mut bits) = match mixed {
        true => (rounded(&|_| 4, Some(&inputs))?, None),
        false => (Vec::new(), None),
    };
    let mut parts: Vec<&Part> = plain.iter().collect();
    if let (true, Some(budget)) = (mixed, options.flash_budget) {
        (options.progress)("choosing the bits of the weights");
        let probe = probe()?;
        let cost = |(i, &spec)| -> Result<(Cost, Cost)> {
            let cost = |part| source.cost(&probe, &inputs, spec, part);
            Ok((cost(&plain[i])?, cost(&fours[i])?))
        };
        let costs = specs.iter().enumerate().map(cost).collect::<Result<Vec<_>>>()?;
        let mixture = |int4: &[bool]| -> Vec<&Part> {
            let pairs = plain.iter().zip(&fours).zip(int4);
            pairs.map(|((eight, four), &int4)| if int4 { four } else { eight }).collect()
        };
        let found = budget::choose(
            &config,
            budget,
            &costs,
            &|int4| draft.len(&mixture(int4), options.target),
            &|int4| Ok(measure()?.file(&draft.file(&mixture(int4), wide, Target::Any)?)?.kl),
        )?;
        parts = mixture(&found.int4);
        bits = Some(found);
    }

    let chosen = match (options.input, quantization.and_then(|quantization| quantization.activations)) {
        (Input::Auto, Some(width)) => Input::All(width.into()),
        (input, _) => input,
    };
    let widths = match chosen {
        Input::All(_) => None,
        Input::Auto => {
            (options.progress)("choosing the widths of the inputs");
            let candidate = |wide: &[Group]| draft.file(&parts, &|kind| auto::width(wide, kind), Target::Any);
            Some(auto::choose(&config, measure()?, &candidate)?)
        }
    };
    let input = |kind| match (&widths, chosen) {
        (Some(widths), _) => auto::width(&widths.wide, kind),
        (None, Input::All(width)) => width,
        (None, Input::Auto) => InputWidth::A16,
    };
    let file = draft.file(&parts, &input, options.target)?;

    let sensitivity = || -> Result<Sensitivity> {
        (options.progress)("measuring what the rounding of each tensor costs");
        let probe = probe()?;
        let costs = specs.iter().zip(&parts).map(|(&spec, part)| source.cost(&probe, &inputs, spec, part));
        let costs = costs.collect::<Result<Vec<_>>>()?;
        Ok(Sensitivity { tokens: probe.tokens(), tensors: rows(&parts, &input, &costs) })
    };
    if let Some(limit) = options.max_loss_increase {
        // Rows are the fastest layout here, and every layout gives the same integers.
        let rows = draft.file(&parts, &input, Target::Any)?;
        let found = match held_out {
            held_out if held_out.len() > chunk && !classifies => {
                let measure = Measure::new(model, held_out, chunk)?;
                let increase = measure.file(&rows)?.loss - measure.loss;
                limit::Increase { nats: increase, text: format!("{} held-out tokens", measure.tokens()) }
            }
            // On text that f32 would write, and on classes, the divergence is what the loss can be expected to grow by.
            _ => {
                let (nats, tokens) = (measure()?.file(&rows)?.kl, measure()?.tokens());
                limit::Increase {
                    nats,
                    text: match classifies {
                        true => format!("{tokens} tokens of calibration text, as the divergence"),
                        false => format!("{tokens} tokens of the model's own, as the divergence"),
                    },
                }
            }
        };
        (options.progress)(&found.to_string());
        if found.nats > limit {
            return Err(limit::too_lossy(&found, limit, &sensitivity()?, trained.is_some()));
        }
    }
    let sensitivity = options.sensitivity.then(sensitivity).transpose()?;
    Ok(Exported { file, peaks, widths, zeros, bits, sensitivity })
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
