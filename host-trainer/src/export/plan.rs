//! The bits of a model that is still to be trained with them.

use super::parts::source_name;
use super::sensitivity::is_rounded;
use super::{Bits, Input, Options, Weights, export};
use crate::checkpoint::Info;
use crate::model::Model;
use anyhow::{Context, Result};
use thumbformer::format::InputWidth;

/// What the metadata of a file will say more when the model has been trained.
const MORE_METADATA: usize = 160;

/// The names of the tensors that get four bits, so that the file keeps a budget of bytes: those that cost the least before
/// the model learns to bear them. What was measured for that is returned, too.
pub fn plan(model: &Model, tokenizer: &[u8], info: &Info, budget: usize) -> Result<(Vec<String>, Bits)> {
    let options = Options {
        input: Input::All(InputWidth::A16),
        weights: Weights::Mixed,
        flash_budget: Some(budget.saturating_sub(MORE_METADATA)),
        ..Options::default()
    };
    let bits = export(model, tokenizer, &info.metadata(), &[], &options)?.bits;
    let bits = bits.context("mixed bits: found no choice, wanted one")?;
    let config = &model.config().config;
    let four = config.tensors().zip(&bits.int4).filter(|&(spec, &int4)| int4 && is_rounded(config, spec));
    let names = four.map(|(spec, _)| source_name(model, spec)).collect();
    Ok((names, bits))
}
