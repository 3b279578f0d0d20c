//! What is rounded: the model with equalised keys to eight bits, the model as it is to four.

use super::compensate::Inputs;
use super::fold::Norms;
use super::measure::Measure;
use super::parts::{self, Part};
use super::quantize::Matrix;
use super::sensitivity::{self, Cost, is_rounded};
use super::{calibrate, equalize, int4};
use crate::model::Model;
use anyhow::Result;
use std::borrow::Cow;
use thumbformer::format::TensorSpec;

/// A model in the two forms that are rounded. Both compute the same.
pub struct Source<'m> {
    eight: Cow<'m, Model>,
    four: &'m Model,
    fold_gains: bool,
}

impl<'m> Source<'m> {
    /// `text` is what keys are equalised over, if they are.
    pub fn new(model: &'m Model, text: Option<&[u16]>, fold_gains: bool) -> Result<Self> {
        let mut eight = Cow::Borrowed(model);
        if let Some(text) = text {
            equalize::equalize(eight.to_mut(), text)?;
        }
        Ok(Self { eight, four: model, fold_gains })
    }

    /// The largest values of both forms over a text.
    pub fn peaks(&self, text: &[u16]) -> Result<calibrate::Peaks> {
        let mut peaks = calibrate::observe(&self.eight, text)?;
        if matches!(self.eight, Cow::Owned(_)) {
            peaks.include(calibrate::observe(self.four, text)?);
        }
        Ok(peaks)
    }

    /// The second moments of what the matrices read.
    pub fn inputs(&self, text: &[u16]) -> Result<Inputs> {
        let four = matches!(self.eight, Cow::Owned(_)).then_some(self.four);
        Inputs::observe(&self.eight, &self.norms(8), four, text)
    }

    /// Rounds a tensor to so many bits, by its inputs where they are known.
    pub fn round(&self, spec: TensorSpec, bits: u8, frac: u8, inputs: Option<&Inputs>) -> Result<Part> {
        let model = self.model(bits);
        parts::round(model, &self.norms(bits), spec, frac, &|spec, weights| match (bits, inputs) {
            (4, None) => with_factors(int4::round(weights, spec.cols)),
            (4, Some(inputs)) => with_factors(inputs.round_int4(model, spec, weights)),
            (_, None) => (Matrix::round(weights, spec.cols), None),
            (_, Some(inputs)) => (inputs.round(model, spec, weights), None),
        })
    }

    /// What the rounding of a tensor costs; nothing where its weights are not rounded.
    pub fn cost(&self, probe: &Measure<'_>, inputs: &Inputs, spec: TensorSpec, part: &Part) -> Result<Cost> {
        let model = self.model(part.bits());
        match is_rounded(&model.config().config, spec) {
            true => sensitivity::cost(model, &self.norms(part.bits()), inputs, probe, spec, part),
            false => Ok(Cost::default()),
        }
    }

    fn model(&self, bits: u8) -> &Model {
        if bits == 4 { self.four } else { &self.eight }
    }

    fn norms(&self, bits: u8) -> Norms<'_> {
        Norms::new(self.model(bits), self.fold_gains)
    }
}

fn with_factors((matrix, factors): (Matrix, Vec<u8>)) -> (Matrix, Option<Vec<u8>>) {
    (matrix, Some(factors))
}
