//! Learning from another model: its distributions over a text, which may be its own.

use crate::checkpoint;
use crate::device::{Memory as Workspace, ModelFile};
use crate::export::{Input, Options, export};
use crate::model::{Model, Quantization, decoder, quantized_decoder};
use crate::nn::graph::{Frozen, Given, Memory, Network, Recorder, Training};
use crate::nn::random::Random;
use crate::train::TrainConfig;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::thread;
use thumbformer::format::InputWidth;
use thumbformer::{Sampler, Token};

/// The model to learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillationConfig {
    /// Its checkpoint. Its tokens must be those of the model that learns.
    pub teacher: PathBuf,
    /// The temperature at which distributions are compared.
    #[serde(default = "one")]
    pub temperature: f64,
    /// What the teacher's distributions count; the rest is what the text's own tokens count.
    #[serde(default = "one")]
    pub share: f64,
}

const fn one() -> f64 {
    1.0
}

impl DistillationConfig {
    /// A teacher that counts alone.
    pub fn new(teacher: PathBuf) -> Self {
        Self { teacher, temperature: one(), share: one() }
    }

    /// Says what is wrong with values that make no sense.
    pub fn validate(&self) -> Result<()> {
        let Self { temperature, share, .. } = *self;
        ensure!(
            temperature > 0.0 && temperature.is_finite(),
            "distillation: temperature: found {temperature}, wanted a positive number"
        );
        ensure!((0.0..=1.0).contains(&share), "distillation: share: found {share}, wanted 0 to 1");
        Ok(())
    }
}

/// The network of a run, with its loss, for one sequence at a time.
pub fn network(config: &TrainConfig) -> Network<Training, f32> {
    let mut net = Recorder::new(1, config.sequence());
    let quantization = config.quantization.clone().unwrap_or(Quantization::NONE);
    let logits = quantized_decoder(&mut net, &config.model, config.training.dropout, quantization);
    let loss = match &config.distillation {
        Some(d) => net.distillation(d.temperature, d.share, logits),
        None => net.cross_entropy(f64::from(config.training.label_smoothing), logits),
    };
    net.finish(loss)
}

/// Refuses a teacher that is no model in f32.
pub fn check_teacher(model: &Model) -> Result<()> {
    ensure!(
        model.quantization().is_none(),
        "found a teacher that was trained to be rounded, wanted one that was not"
    );
    Ok(())
}

/// A model that is asked for its logits.
#[derive(Debug)]
pub struct Teacher {
    model: Model,
    network: Network<Frozen, f32>,
}

impl Teacher {
    /// Reads a model that knows the tokens of the one that learns, and sequences as long.
    pub fn read(path: &Path, student: &TrainConfig) -> Result<Self> {
        let model = checkpoint::load(path)?.model;
        let named = path.display();
        let (found, wanted) = (&model.config().config, &student.model.config);
        ensure!(
            found.vocab_size == wanted.vocab_size,
            "{named}: found a teacher of {} tokens, wanted {}",
            found.vocab_size,
            wanted.vocab_size
        );
        let len = student.sequence();
        ensure!(
            found.seq_len >= len,
            "{named}: found a teacher with a context of {} positions, wanted at least {len}",
            found.seq_len
        );
        check_teacher(&model).with_context(|| named.to_string())?;
        let mut net = Recorder::new(1, len);
        let logits = decoder(&mut net, model.config(), 0.0);
        let network = net.finish(logits).freeze();
        Ok(Self { model, network })
    }

    /// Memory for a thread.
    pub fn memory(&self) -> Memory<f32> {
        Memory::new(&self.network)
    }

    /// The logits after each token.
    pub fn logits<'m>(&self, tokens: &[u16], memory: &'m mut Memory<f32>) -> &'m [f32] {
        self.network.infer(&self.model.params().values, &Given { tokens, ..Given::default() }, memory);
        self.network.output(memory)
    }
}

/// Keeps the draws of the texts of a run apart from all else that is random.
const TEXT_STREAM: u64 = 0x7e87;

/// So many tokens that a model writes at temperature 1, in texts as long as its context. The runtime writes, with int8
/// weights and 16-bit vectors: that is next to the model in f32, and the same seed gives the same text on every machine
/// and on any number of threads.
pub fn write(model: &Model, tokenizer: &[u8], len: usize, seed: u64, threads: usize) -> Result<Vec<u16>> {
    let options = Options { input: Input::All(InputWidth::A16), ..Options::default() };
    let file = ModelFile::new(&export(model, tokenizer, &[], &[], &options)?.file);
    let device = file.model()?;
    let seq_len = device.config().seq_len;
    let texts = len.div_ceil(seq_len);
    let share = texts.div_ceil(threads.max(1));
    let parts: Vec<Result<Vec<u16>>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..texts)
            .step_by(share.max(1))
            .map(|first| {
                let device = &device;
                scope.spawn(move || {
                    let mut workspace = Workspace::new(device);
                    let mut tokens = Vec::with_capacity(share * seq_len);
                    for text in first..(first + share).min(texts) {
                        let key = Random::keyed(&[seed, TEXT_STREAM, text as u64]).next_u64();
                        let mut sampler = Sampler::new(key).temperature(1.0).top_p(1.0);
                        let mut session = workspace.session(device)?;
                        session.prefill(&[Token::BOS])?;
                        tokens.push(Token::BOS.0);
                        for _ in 1..seq_len {
                            let Some(logits) = session.logits() else { break };
                            let token = sampler.sample(logits, &[]);
                            tokens.push(token.0);
                            session.step(token)?;
                        }
                    }
                    Ok(tokens)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a writer does not panic")).collect()
    });
    let mut tokens = parts.into_iter().collect::<Result<Vec<_>>>()?.concat();
    tokens.truncate(len);
    Ok(tokens)
}
