//! A file before it is known how many bits its tensors have.

use super::Target;
use super::parts::{Part, emit};
use anyhow::{Context, Result};
use thumbformer::Config;
use thumbformer::format::{Emitter, InputWidth, TensorKind, TensorPlan, TensorSpec};

/// All of a file but its tensors.
pub struct Draft<'a> {
    /// The shape, with the context of the file.
    pub config: Config,
    /// Fraction bits of the residual stream.
    pub frac: u8,
    /// The epsilon of the norms.
    pub epsilon: (u32, i32),
    /// The tokenizer section.
    pub tokenizer: &'a [u8],
    /// Lines of metadata.
    pub metadata: String,
}

/// The input widths of matrices, by kind.
pub type InputOf<'a> = dyn Fn(TensorKind) -> InputWidth + 'a;

impl Draft<'_> {
    /// The file with these tensors.
    pub fn file(&self, parts: &[&Part], input: &InputOf<'_>, target: Target) -> Result<Vec<u8>> {
        let plans = self.plans(parts, input, target);
        let (config, epsilon) = (self.config, self.epsilon);
        let (tokenizer_len, metadata_len) = (self.tokenizer.len(), self.metadata.len());
        let mut file = vec![0; Emitter::file_len(&config, &plans, tokenizer_len, metadata_len)];
        let mut emitter =
            Emitter::new(&mut file, config, self.frac, epsilon, &plans, tokenizer_len, metadata_len)
                .context("the model does not fit the format")?;
        emitter.tokenizer().copy_from_slice(self.tokenizer);
        emitter.metadata().copy_from_slice(self.metadata.as_bytes());
        emit(emitter, parts)?;
        thumbformer::Model::from_bytes(&file).context("no runtime would take the model")?;
        Ok(file)
    }

    /// The length of the file with these tensors, which does not depend on input widths.
    pub fn len(&self, parts: &[&Part], target: Target) -> usize {
        let plans = self.plans(parts, &|_| InputWidth::A16, target);
        Emitter::file_len(&self.config, &plans, self.tokenizer.len(), self.metadata.len())
    }

    fn plans(&self, parts: &[&Part], input: &InputOf<'_>, target: Target) -> Vec<TensorPlan> {
        let plan = |(spec, part): (TensorSpec, &&Part)| {
            part.plan(input(spec.kind), target.layout(&self.config, spec.kind))
        };
        self.config.tensors().zip(parts).map(plan).collect()
    }
}
