//! `thumbformer run`

use super::{note_packing, print, put, read_model};
use crate::data::labelled;
use crate::device::Memory;
use crate::tokenizer::TextEncoder;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use thumbformer::{Digest, Error, Model, Sampler, Utf8Stream};

/// Generate text on the host, or say the class of a text, with the runtime and the arithmetic of the device
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The model file
    model: PathBuf,
    /// The text to continue; for a classifier, the text to classify
    #[arg(short, long, default_value = "")]
    prompt: String,
    /// Tokens to write at most
    #[arg(short = 'n', long, default_value_t = 128, value_name = "N")]
    max_tokens: usize,
    /// 0 takes the likeliest token each time
    #[arg(short, long, default_value_t = 0.8, value_name = "T")]
    temperature: f32,
    /// Draw among the K likeliest tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the likeliest tokens that have this share of the probability together
    #[arg(long, default_value_t = 0.9, value_name = "P")]
    top_p: f32,
    /// Draw among tokens that have at least this share of the likeliest one's probability
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Make tokens of the last 64 less likely; 1 does nothing
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    repetition_penalty: f32,
    /// The seed of the random numbers
    #[arg(short, long, default_value_t = 42)]
    seed: u64,
    /// When the context window is full, keep the first N tokens and the last half of it, and go on
    #[arg(long, value_name = "N")]
    keep_going: Option<usize>,
    /// Print JSON at the end: {"prompt": ids, "tokens": ids, "text": .., "digest": ..}; the digest is
    /// that of the logits by which each token was chosen. Of a classifier: {"prompt": ids, "label": .., "probability": ..,
    /// "classes": {..}, "digest": ..}
    #[arg(long)]
    json: bool,
}

impl Args {
    fn sampler(&self) -> Sampler {
        if self.temperature == 0.0 {
            return Sampler::greedy().repetition_penalty(self.repetition_penalty);
        }
        let mut sampler = Sampler::new(self.seed)
            .temperature(self.temperature)
            .top_p(self.top_p)
            .repetition_penalty(self.repetition_penalty);
        if let Some(k) = self.top_k {
            sampler = sampler.top_k(k);
        }
        if let Some(p) = self.min_p {
            sampler = sampler.min_p(p);
        }
        sampler
    }

    /// Refuses what no sampler can do.
    fn check(&self) -> Result<()> {
        let t = self.temperature;
        ensure!(t.is_finite() && t >= 0.0, "--temperature: found {t}, wanted 0 or more");
        for (name, share) in [("--top-p", Some(self.top_p)), ("--min-p", self.min_p)] {
            let share = share.unwrap_or(0.0);
            ensure!((0.0..=1.0).contains(&share), "{name}: found {share}, wanted 0 to 1");
        }
        let penalty = self.repetition_penalty;
        ensure!(
            penalty.is_finite() && penalty > 0.0,
            "--repetition-penalty: found {penalty}, wanted a positive number"
        );
        ensure!(self.top_k != Some(0), "--top-k: found 0, wanted at least 1");
        Ok(())
    }

    pub fn run(self) -> Result<()> {
        self.check()?;
        let file = read_model(&self.model)?;
        let model = file.model()?;
        note_packing(&self.model, &model);
        let tokenizer = model.tokenizer();
        let seq_len = model.config().seq_len;
        // Half of the window stays, and the next token needs a place.
        let room = seq_len - seq_len / 2;
        if let Some(first) = self.keep_going {
            ensure!(first < room, "--keep-going: found {first}, wanted less than {room}");
        }
        if model.config().n_classes > 0 {
            return self.classify(&model);
        }
        let prompt = TextEncoder::new(tokenizer).encode(self.prompt.as_bytes());
        ensure!(
            prompt.len() <= seq_len,
            "the prompt is longer than the context: found {} tokens, wanted at most {seq_len}",
            prompt.len()
        );
        if !self.json && self.temperature > 0.0 {
            eprintln!("seed {}", self.seed);
        }

        let mut out = Output { stream: !self.json, text: String::new(), has_reader: true };
        let mut decoder = Utf8Stream::new(&tokenizer);
        for &token in &prompt {
            out.write(decoder.push(token).parts())?;
        }
        let mut memory = Memory::new(&model);
        let mut session = memory.session(&model)?;
        let mut sampler = self.sampler();
        let mut digest = Digest::new();
        let mut tokens = Vec::new();
        session.prefill(&prompt)?;
        while tokens.len() < self.max_tokens && out.has_reader {
            let mut generate = session.generate(&mut sampler);
            if let Some(first) = self.keep_going {
                generate = generate.keep_going(first);
            }
            let token = match generate.next() {
                Some(Err(Error::ContextFull { .. })) => break,
                next => next.transpose()?,
            };
            digest.update(session.logits().map_or(&[], |logits| logits.values()));
            let Some(token) = token else { break };
            tokens.push(token.0);
            out.write(decoder.push(token).parts())?;
        }
        out.write(std::iter::once(decoder.finish()))?;
        if !self.json {
            return print("");
        }
        let prompt: Vec<u16> = prompt.iter().map(|t| t.0).collect();
        let digest = digest.to_string();
        let json =
            serde_json::json!({ "prompt": prompt, "tokens": tokens, "text": out.text, "digest": digest });
        print(&json.to_string())
    }

    /// The class of the prompt, and how likely it is.
    fn classify(&self, model: &Model<'_>) -> Result<()> {
        let seq_len = model.config().seq_len;
        let mut encoder = TextEncoder::new(model.tokenizer());
        let (tokens, cut) = labelled::tokens(&mut encoder, &self.prompt, seq_len);
        if cut {
            eprintln!("the text is longer than the context: only its first {seq_len} tokens are read");
        }
        let mut memory = Memory::new(model);
        let mut classifier = memory.classifier(model)?;
        let found = classifier.classify(&tokens)?;
        let share = |probability: u32| f64::from(probability) / 65536.0;
        if !self.json {
            return print(&format!("{} {:.1} %", found.label(), 100.0 * share(found.probability())));
        }
        let mut digest = Digest::new();
        digest.update(found.logits().values());
        let prompt: Vec<u16> = tokens.iter().map(|token| token.0).collect();
        let classes: serde_json::Map<String, serde_json::Value> =
            found.classes().map(|(label, p)| (label.to_owned(), share(p).into())).collect();
        let json = serde_json::json!({
            "prompt": prompt,
            "label": found.label(),
            "probability": share(found.probability()),
            "classes": classes,
            "digest": digest.to_string(),
        });
        print(&json.to_string())
    }
}

/// Text, as it comes or all at once.
struct Output {
    stream: bool,
    text: String,
    /// Nobody waits for what comes after a reader has left.
    has_reader: bool,
}

impl Output {
    fn write<'a>(&mut self, parts: impl Iterator<Item = &'a str>) -> Result<()> {
        for part in parts {
            self.text += part;
            if self.stream {
                self.has_reader &= put(part)?;
            }
        }
        Ok(())
    }
}
