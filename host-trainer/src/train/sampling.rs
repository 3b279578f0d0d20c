//! Texts that a model writes while it learns.

use super::metrics::Sample;
use crate::model::Model;
use crate::nn::random::Random;
use crate::tokenizer::TextEncoder;
use anyhow::{Context, Result};
use thumbformer::{Token, Tokenizer};

/// Tokens of a sample, the prompt included: enough to see a sentence, and little work beside an evaluation.
const TOKENS: usize = 64;
/// Tokens of the held-out text that are the prompt where none is given.
const PROMPT: usize = 8;
const TEMPERATURE: f32 = 0.8;
/// Keeps samples apart from everything else that is random.
const SAMPLE_STREAM: u64 = 0x5a37;

/// What samples are made with, the same all through a run.
#[derive(Debug)]
pub struct Sampling {
    tokenizer: Vec<u8>,
    prompt: Vec<u16>,
    seed: u64,
}

impl Sampling {
    /// Samples that continue `prompt`, or without one the start of the held-out text; nothing where the run has no
    /// tokenizer, or a classifier, which writes nothing.
    pub fn new(
        tokenizer: Option<&[u8]>,
        classifies: bool,
        prompt: Option<&str>,
        held_out: &[u16],
        seed: u64,
    ) -> Result<Option<Self>> {
        let (Some(section), false) = (tokenizer, classifies) else { return Ok(None) };
        let tokenizer = Tokenizer::from_bytes(section).context("no samples of text: the tokenizer")?;
        let mut prompt: Vec<u16> = match prompt {
            Some(text) => TextEncoder::new(tokenizer).encode(text.as_bytes()).iter().map(|t| t.0).collect(),
            None => held_out.iter().take(PROMPT).copied().collect(),
        };
        if prompt.is_empty() {
            prompt.push(Token::BOS.0);
        }
        Ok(Some(Self { tokenizer: section.to_vec(), prompt, seed }))
    }

    /// What the model writes after so many steps.
    pub fn draw(&self, model: &Model, step: u64) -> Result<Sample> {
        let shape = model.config().config;
        let mut random = Random::keyed(&[self.seed, SAMPLE_STREAM, step]);
        // A window that the prompt would fill leaves no place to write.
        let prompt = &self.prompt[..self.prompt.len().min(shape.seq_len.div_ceil(2))];
        let mut tokens = prompt.to_vec();
        while tokens.len() < TOKENS.max(2 * prompt.len()).min(shape.seq_len) {
            let logits = model.forward(&tokens)?;
            let token = pick(&logits[logits.len() - shape.vocab_size..], random.uniform());
            if token == Token::EOS.0 {
                break;
            }
            tokens.push(token);
        }
        let tokenizer = Tokenizer::from_bytes(&self.tokenizer)?;
        let text = |tokens: &[u16]| text_of(&tokenizer, tokens);
        Ok(Sample { step, prompt: text(prompt), text: text(&tokens[prompt.len()..]) })
    }
}

/// The text that tokens stand for; bytes that are no character become U+FFFD.
pub fn text_of(tokenizer: &Tokenizer<'_>, tokens: &[u16]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|&token| tokenizer.decode(Token(token))).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The token at a quantile of the distribution.
fn pick(logits: &[f32], quantile: f32) -> u16 {
    let max = logits.iter().fold(f32::MIN, |m, &l| m.max(l));
    let weights = || logits.iter().map(|&l| libm::expf((l - max) / TEMPERATURE));
    let mut left = quantile * weights().sum::<f32>();
    let found = weights().position(|weight| {
        left -= weight;
        left < 0.0
    });
    found.unwrap_or(logits.len() - 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::section;
    use thumbformer::format::tokenizer::TokenizerKind;

    #[test]
    fn quantiles_find_their_tokens() {
        let logits = [0.0, 10.0, 10.0];
        assert_eq!([0.0, 0.4, 0.6, 0.999].map(|quantile| pick(&logits, quantile)), [0, 1, 2, 2]);
    }

    #[test]
    fn a_sample_continues_its_prompt_and_depends_on_seed_and_step_alone() {
        let config = toml::from_str(
            "dim = 8\nhidden_dim = 8\nn_layers = 1\nn_heads = 1\nn_kv_heads = 1\nvocab_size = 259\nseq_len = 12\n",
        );
        let model = Model::init(config.unwrap(), 1).unwrap();
        let tokenizer = section(TokenizerKind::ByteBpe, &[]).unwrap();
        let sampling =
            |prompt, seed| Sampling::new(Some(&tokenizer), false, prompt, &[3 + 104, 3 + 105], seed);
        let draw = |prompt, seed, step| sampling(prompt, seed).unwrap().unwrap().draw(&model, step).unwrap();
        assert_eq!(draw(None, 1, 5).prompt, "hi");
        assert_eq!(
            draw(Some("abcdefghijklmnop"), 1, 5).prompt,
            "abcde",
            "half of the window, the begin token first"
        );
        assert_eq!(draw(None, 1, 5).text, draw(None, 1, 5).text);
        assert_ne!(draw(None, 1, 5).text, draw(None, 1, 6).text);
        assert!(Sampling::new(None, false, None, &[], 1).unwrap().is_none());
        assert!(Sampling::new(Some(&tokenizer), true, None, &[], 1).unwrap().is_none());
        assert!(Sampling::new(Some(b"odd"), false, None, &[], 1).is_err());
    }
}
