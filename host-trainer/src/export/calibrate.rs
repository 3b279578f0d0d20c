//! How large the numbers get: the model reads a text in f32 and the largest values decide the binary point.

use super::quantize::{exponent_of, peak};
use crate::device::{Memory, ModelFile};
use crate::model::Model;
use anyhow::Result;
use std::collections::BTreeMap;
use thumbformer::{Config, Token};

/// The largest magnitude seen at each place of the model that the runtime keeps in units of the residual
/// stream, over all blocks.
#[derive(Debug, Default)]
pub struct Peaks(BTreeMap<String, f32>);

impl Peaks {
    /// Place and largest magnitude.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f32)> {
        self.0.iter().map(|(place, &peak)| (place.as_str(), peak))
    }

    /// Where the largest values of another model are larger, those.
    pub fn include(&mut self, other: Self) {
        for (place, peak) in other.0 {
            let largest = self.0.entry(place).or_default();
            *largest = largest.max(peak);
        }
    }

    /// Fraction bits that leave `headroom` bits over the largest magnitude in i32.
    pub fn fraction_bits(&self, headroom: u32) -> u8 {
        let largest = self.0.values().fold(f32::MIN_POSITIVE, |m, &p| m.max(p));
        (30 - exponent_of(f64::from(largest)) - headroom as i32).clamp(4, 24) as u8
    }
}

/// Reads a text, a context window at a time.
pub fn observe(model: &Model, text: &[u16]) -> Result<Peaks> {
    let mut peaks = Peaks::default();
    for window in windows(model, text) {
        model.forward_observed(window, &mut |site, values| {
            let place = site.rsplit('.').next().unwrap_or(site);
            // What matrices read is rounded with its own scale.
            if !["attention_norm", "heads", "ffn_norm", "hidden", "norm"].contains(&place) {
                let largest = peaks.0.entry(place.to_owned()).or_default();
                *largest = largest.max(peak(values));
            }
        })?;
    }
    Ok(peaks)
}

/// The text in windows of the model's context.
pub fn windows<'t>(model: &Model, text: &'t [u16]) -> impl Iterator<Item = &'t [u16]> {
    text.chunks(model.config().config.seq_len)
}

/// The part of a text that is enough to measure on.
pub fn excerpt(text: &[u16]) -> &[u16] {
    &text[..text.len().min(2048)]
}

/// The longest text that a model writes for its own calibration.
const SELF_WRITTEN: usize = 256;

/// A text that the model writes itself: from the begin token on, each token drawn from the distribution by a
/// fixed sequence of quantiles.
///
/// The quick products, whose last digits are the processor's own, only guess; those that are the same everywhere say, for
/// all tokens at once, where a guess is wrong.
pub fn write_text(model: &Model) -> Result<Vec<u16>> {
    let config = model.config().config;
    let len = config.seq_len.min(SELF_WRITTEN);
    let quantiles: Vec<f64> = quantiles().take(len).collect();
    let next = |logits: &[f32], before: usize| {
        draw(&logits[(before - 1) * config.vocab_size..][..config.vocab_size], quantiles[before - 1])
    };
    let mut tokens = vec![first_token(&config)];
    let mut sure = 1;
    loop {
        while tokens.len() < len {
            tokens.push(next(&model.forward(&tokens)?, tokens.len()));
        }
        let logits = model.forward_observed(&tokens, &mut |_, _| ())?;
        let Some(wrong) = (sure..len).find(|&at| next(&logits, at) != tokens[at]) else {
            return Ok(tokens);
        };
        tokens[wrong] = next(&logits, wrong);
        sure = wrong + 1;
        tokens.truncate(sure);
    }
}

/// Measurements go over so many tokens that they take about this many products, within bounds: over 255
/// tokens, the differences are still a matter of chance.
const PRODUCTS: usize = 1 << 30;
const TOKENS: std::ops::RangeInclusive<usize> = 512..=4096;
/// The context starts anew after so many tokens at the latest.
pub const CHUNK: usize = 512;

/// The tokens of such a text.
pub fn wanted(config: &Config) -> usize {
    let products: usize = config.tensors().filter(|s| s.kind.is_matrix()).map(|s| s.rows * s.cols).sum();
    let chunk = config.seq_len.min(CHUNK);
    (PRODUCTS / products).clamp(*TOKENS.start(), *TOKENS.end()).next_multiple_of(chunk) + 1
}

/// A text that is long enough to measure on: the start of the given one, or where that is too short, what the
/// runtime makes of `file` goes on to write.
pub fn lengthen(given: &[u16], file: &[u8]) -> Result<Vec<u16>> {
    let file = ModelFile::new(file);
    let model = file.model()?;
    let (chunk, wanted) = (model.config().seq_len.min(CHUNK), wanted(model.config()));
    let mut text = given[..given.len().min(wanted)].to_vec();
    if text.len() < wanted {
        // Whole chunks only, so that every text begins where a context does.
        text.truncate(text.len() / chunk * chunk);
        match model.config().n_classes {
            0 => text.extend(write_texts(&model, chunk, wanted - text.len())?),
            // A classifier writes nothing: it reads what there is again.
            _ => text = given.iter().copied().cycle().take(wanted).collect(),
        }
    }
    Ok(text)
}

/// As many tokens that the runtime writes, in texts of `chunk` tokens.
fn write_texts(model: &thumbformer::Model<'_>, chunk: usize, len: usize) -> Result<Vec<u16>> {
    let mut tokens = Vec::with_capacity(len);
    let mut quantiles = quantiles();
    let mut memory = Memory::new(model);
    while tokens.len() < len {
        let mut session = memory.session(model)?;
        let mut token = first_token(model.config());
        for _ in 0..chunk.min(len - tokens.len()) {
            tokens.push(token);
            let logits = session.step(Token(token))?;
            let unit = 1.0 / f64::from(1u32 << logits.frac());
            let values: Vec<f32> = logits.values().iter().map(|&v| (f64::from(v) * unit) as f32).collect();
            token = draw(&values, quantiles.next().unwrap_or_default());
        }
    }
    Ok(tokens)
}

fn first_token(config: &Config) -> u16 {
    Token::BOS.0.min(config.vocab_size as u16 - 1)
}

/// The golden ratio spreads the quantiles evenly.
fn quantiles() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(0.5f64), |q| Some((q + 0.618_033_988_749_894_9) % 1.0)).skip(1)
}

fn draw(logits: &[f32], quantile: f64) -> u16 {
    let max = logits.iter().fold(f32::MIN, |m, &l| m.max(l));
    let weights = || logits.iter().map(|&l| libm::exp(f64::from(l - max)));
    let mut left = quantile * weights().sum::<f64>();
    for (token, weight) in weights().enumerate() {
        left -= weight;
        if left < 0.0 {
            return token as u16;
        }
    }
    (logits.len() - 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, Quantization, WeightBits};
    use crate::nn::random::Random;

    #[test]
    fn a_written_text_is_that_of_the_products_that_are_the_same_everywhere() {
        let llama = "dim = 16\nhidden_dim = 48\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\nvocab_size = 32\nseq_len = 70\n";
        let gpt2 = llama.replace("n_kv_heads = 2", "n_kv_heads = 4")
            + "norm = \"layer\"\nactivation = \"gelu\"\ngated = false\npositions = \"learned\"\nbiases = true\n";
        for (shape, quantization) in
            [(llama, None), (&gpt2, None), (llama, Some(Quantization::all(WeightBits::Int8)))]
        {
            let config: ModelConfig = toml::from_str(shape).unwrap();
            let mut model = Model::init(config, 1).unwrap().with_quantization(quantization);
            let mut random = Random::new(2);
            model.params_mut().values.iter_mut().for_each(|value| *value += 0.3 * random.normal());
            // One token after the other, each after a pass of its own.
            let mut tokens = vec![1];
            for quantile in quantiles().take(69) {
                let logits = model.forward_observed(&tokens, &mut |_, _| ()).unwrap();
                tokens.push(draw(&logits[logits.len() - 32..], quantile));
            }
            assert_eq!(write_text(&model).unwrap(), tokens);
        }
    }
}
