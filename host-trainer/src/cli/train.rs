//! `thumbformer train`

use super::print;
use crate::checkpoint::Info;
use crate::corpus::Corpus;
use crate::model::ModelConfig;
use crate::prepare::prepare;
use crate::train::{TrainConfig, TrainingConfig, check_folder, train};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thumbformer::{Activation, Config, NormKind, Positions};

/// Train a tokenizer and a model on a text
///
/// Writes a run folder: config.toml, metrics.jsonl, model.safetensors (the newest checkpoint),
/// state.safetensors (to go on with --resume) and valid.u16 (the tokens of the held-out tail). Ctrl-C finishes
/// the step, saves, and leaves with exit code 130.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The text: a UTF-8 file, or a folder of them [default: The Rust Programming Language, from rust-docs]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// The run folder
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A TOML file with the tables "model" and "training"; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with an interrupted run, in its own configuration unless --config says otherwise
    #[arg(long)]
    resume: bool,
    /// Length of the run in optimizer steps
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    steps: Option<u64>,
    /// Length of the run in minutes [default: 3]
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Sequences per step
    #[arg(long)]
    batch: Option<usize>,
    /// Highest learning rate
    #[arg(long)]
    learning_rate: Option<f32>,
    /// Share of values that dropout takes while training
    #[arg(long)]
    dropout: Option<f32>,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; 0 takes one for each core
    #[arg(long)]
    threads: Option<usize>,
    /// Width of the residual stream
    #[arg(long)]
    dim: Option<usize>,
    /// Width of the MLP
    #[arg(long)]
    hidden_dim: Option<usize>,
    /// Transformer blocks
    #[arg(long)]
    layers: Option<usize>,
    /// Query heads
    #[arg(long)]
    heads: Option<usize>,
    /// Key and value heads
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Tokens of the vocabulary
    #[arg(long)]
    vocab: Option<usize>,
    /// Positions of the context window
    #[arg(long)]
    context: Option<usize>,
    /// Part of the text that is held out for validation
    #[arg(long, default_value_t = 0.05)]
    held_out: f64,
}

/// The shape of stories260K with half its context.
const DEFAULT_MODEL: ModelConfig = ModelConfig {
    config: Config {
        dim: 64,
        hidden_dim: 172,
        n_layers: 5,
        n_heads: 8,
        n_kv_heads: 4,
        vocab_size: 512,
        seq_len: 256,
        norm: NormKind::Rms,
        activation: Activation::Silu,
        gated: true,
        positions: Positions::Rope,
        tied: true,
        biases: false,
    },
    norm_eps: 1e-5,
    rope_theta: 10000.0,
};

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        check_folder(&self.output, self.resume)?;
        let mut config = self.config()?;
        config.validate()?;
        config.model.config.check().context("no model file can hold this shape")?;
        ensure!(
            self.held_out > 0.0 && self.held_out < 1.0,
            "--held-out: found {}, wanted more than 0 and less than 1",
            self.held_out
        );
        let corpus = match &self.corpus {
            Some(path) => Corpus::from_path(path)?,
            None => Corpus::rust_book()?,
        };
        let shape = config.model.config;
        let data = prepare(&corpus, shape.vocab_size, shape.seq_len, self.held_out, |_| ())?;
        let tokenizer = thumbformer::Tokenizer::from_bytes(&data.tokenizer)?;
        for path in &corpus.skipped {
            eprintln!("left out, not text: {}", path.display());
        }
        eprintln!("corpus    {}, {} bytes", corpus.provenance.name, corpus.provenance.bytes);
        config.model.config.vocab_size = tokenizer.vocab_size();
        eprintln!(
            "tokenizer {} tokens, {:.2} bytes per token; {} tokens to learn, {} held out",
            tokenizer.vocab_size(),
            corpus.provenance.bytes as f64 / (data.train.len() + data.valid.len()) as f64,
            data.train.len(),
            data.valid.len()
        );
        let info = Info {
            name: name_of(&self.output),
            licence: corpus.provenance.licence.clone().unwrap_or_else(|| "unknown".into()),
            provenance: format!(
                "trained on {}, {} bytes, crc32 {:08x}",
                corpus.provenance.name, corpus.provenance.bytes, corpus.provenance.crc32
            ),
        };
        eprintln!("seed      {}", config.training.seed);
        let outcome = train(
            &self.output,
            config,
            info,
            &data.train,
            &data.valid,
            Some(data.tokenizer.clone()),
            self.resume,
        )?;
        if outcome.interrupted {
            eprintln!(
                "interrupted after {} steps; to go on: thumbformer train --resume -o {}",
                outcome.steps,
                self.output.display()
            );
            return Ok(ExitCode::from(130));
        }
        print(&serde_json::to_string(&serde_json::json!({
            "steps": outcome.steps,
            "train_loss": outcome.train_loss,
            "valid_loss": outcome.valid_loss,
            "seconds": outcome.seconds,
            "tokens_per_second": outcome.tokens_per_second,
        }))?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The configuration: defaults or the file (that of the run to resume), overridden by flags.
    fn config(&self) -> Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => TrainConfig::read(path)?,
            None if self.resume => TrainConfig::read(&self.output.join("config.toml"))?,
            None => TrainConfig { model: DEFAULT_MODEL, training: TrainingConfig::default() },
        };
        fn set<T: Copy>(field: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *field = value;
            }
        }
        let shape = &mut config.model.config;
        set(&mut shape.dim, self.dim);
        set(&mut shape.hidden_dim, self.hidden_dim);
        set(&mut shape.n_layers, self.layers);
        set(&mut shape.n_heads, self.heads);
        set(&mut shape.n_kv_heads, self.kv_heads);
        set(&mut shape.vocab_size, self.vocab);
        set(&mut shape.seq_len, self.context);
        let training = &mut config.training;
        set(&mut training.batch, self.batch);
        set(&mut training.learning_rate, self.learning_rate);
        set(&mut training.dropout, self.dropout);
        set(&mut training.seed, self.seed);
        set(&mut training.threads, self.threads);
        if self.steps.is_some() || self.minutes.is_some() {
            (training.steps, training.minutes) = (self.steps, self.minutes);
        }
        if training.steps.is_none() && training.minutes.is_none() {
            training.minutes = Some(3.0);
        }
        Ok(config)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}
