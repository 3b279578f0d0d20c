//! `thumbformer train`

use super::text::{self, TextArgs};
use super::training::{Flags, report};
use crate::checkpoint::Info;
use crate::corpus::Corpus;
use crate::data::Tokens;
use crate::model::ActivationName;
use crate::prepare::{Vocabulary, prepare, split_in_words};
use crate::torch::{self, Environment};
use crate::train::{
    Begin, Data, DataConfig, Samples, Stored, TOKENS, TrainConfig, check_folder, hand_over, train_on,
};
use anyhow::{Context, Result, ensure};
use serde::de::IntoDeserializer;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thumbformer::Activation;

/// Train a tokenizer and a model on a text
///
/// Writes a run folder: config.toml, metrics.jsonl, report.html (to look at), model.safetensors (the newest checkpoint),
/// best.safetensors (that of the lowest validation loss), state.safetensors (to go on with --resume), tokens (what the run
/// reads) and valid.u16 (the tokens of the held-out part). On a terminal there is a dashboard: its key s saves now; q or
/// Ctrl-C finishes the step, saves, and leaves with exit code 130.
///
/// The torch engine is PyTorch, in a virtual environment that it sets up by itself (THUMBFORMER_TORCH_VENV names another
/// place for it). It trains the same network on the same batches; either engine goes on with the other's checkpoints.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The text: a UTF-8 file, or a folder of them; may be given more than once [default: The Rust Programming Language,
    /// from rust-docs]
    #[arg(long, value_name = "PATH")]
    corpus: Vec<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// The run folder
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A TOML file with the tables "model", "training", "data", "finetune", "quantization" and "distillation", or some of
    /// them; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with an interrupted run: with its text, and in its configuration unless --config says otherwise
    #[arg(long)]
    resume: bool,
    /// What computes
    #[arg(long, value_enum, default_value_t = Engine::Rust)]
    engine: Engine,
    /// Processes that share the batches; the torch engine has one for each GPU
    #[arg(long, value_name = "N", default_value_t = 1)]
    nproc: usize,
    /// Only make the run folder, with the tokens and the first weights; --resume begins, or torchrun (see the README)
    #[arg(long, conflicts_with_all = ["resume", "engine", "nproc"])]
    prepare: bool,
    /// Width of the residual stream [default: 64]
    #[arg(long)]
    dim: Option<usize>,
    /// Width of the MLP [default: 172]
    #[arg(long)]
    hidden_dim: Option<usize>,
    /// Non-linearity of the MLP: silu, gelu, gelu_tanh, relu or relu_squared [default: silu]
    #[arg(long, value_name = "NAME", value_parser = activation_of)]
    activation: Option<Activation>,
    /// Whether the MLP has a gate; without one, it has a matrix less [default: true]
    #[arg(long, value_name = "BOOL")]
    gated: Option<bool>,
    /// Transformer blocks [default: 5]
    #[arg(long)]
    layers: Option<usize>,
    /// Query heads [default: 8]
    #[arg(long)]
    heads: Option<usize>,
    /// Key and value heads [default: 4]
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Tokens of the vocabulary [default: 512]
    #[arg(long)]
    vocab: Option<usize>,
    /// What becomes a token [default: bpe]
    #[arg(long, value_enum)]
    tokenizer: Option<Vocabulary>,
    /// Positions of the context window [default: 256]
    #[arg(long)]
    context: Option<usize>,
    /// The licence of the weights, for the metadata [default: that of the text, if it is known]
    #[arg(long)]
    licence: Option<String>,
    #[command(flatten)]
    training: Flags,
}

/// What computes the steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    /// Ours
    Rust,
    /// PyTorch
    Torch,
}

/// What a run reads.
struct Source {
    info: Info,
    train: Tokens,
    valid: Tokens,
    /// Those of both, if they are not the tokens that follow.
    targets: Option<[Vec<u16>; 2]>,
    tokenizer: Option<Vec<u8>>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let torch = self.engine == Engine::Torch;
        ensure!(
            self.nproc == 1 || torch && self.nproc > 1,
            "--nproc: found {}, wanted {}",
            self.nproc,
            if torch { "at least 1" } else { "1, or --engine torch; the Rust engine has --threads" }
        );
        check_folder(&self.output, self.resume)?;
        let mut config = self.config()?;
        config.validate()?;
        config.model.config.check().context("no model file can hold this shape")?;
        ensure!(
            !torch || config.quantization.is_none() && config.distillation.is_none(),
            "[quantization] or [distillation]: found with the torch engine, wanted --engine rust"
        );
        if torch {
            torch::check(&config)?;
        }
        let environment = torch.then(Environment::set_up).transpose()?;
        let source = match self.stored_source(&mut config)? {
            Some(source) => source,
            None => self.source(&mut config)?,
        };
        eprintln!("seed      {}", config.training.seed);
        let Source { info, train: tokens, valid, targets, tokenizer } = source;
        let outcome = if torch || self.prepare {
            let tokenizer = tokenizer.as_deref();
            hand_over(&self.output, config, &info, &tokens, &valid, tokenizer, self.resume)?;
            let Some(environment) = environment else {
                eprintln!("to begin: thumbformer train --resume -o {}", self.output.display());
                return Ok(ExitCode::SUCCESS);
            };
            torch::train(&environment, &self.output, self.nproc)?
        } else {
            let [learned, examined] =
                targets.as_ref().map_or([None; 2], |[a, b]| [Some(&a[..]), Some(&b[..])]);
            let len = config.sequence();
            let data =
                Data { train: Samples::of(&tokens, learned, len), valid: Samples::of(&valid, examined, len) };
            let begin = if self.resume { Begin::Resume } else { Begin::New };
            train_on(&self.output, config, info, data, tokenizer, begin)?
        };
        let engine = if torch { format!(" --engine torch --nproc {}", self.nproc) } else { String::new() };
        report(&outcome, &self.output, &engine)
    }

    /// The text's tokens.
    fn source(&self, config: &mut TrainConfig) -> Result<Source> {
        config.data.check_text()?;
        let corpus = self.corpus(&mut config.data)?;
        let split = *config.data.split.get_or_insert(corpus.default_split());
        let data = prepare(&corpus, config, &self.output.join(TOKENS), text::progress())?;
        let tokenizer = thumbformer::Tokenizer::from_bytes(&data.tokenizer)?;
        text::tell(&corpus);
        if corpus.documents() > 1 {
            eprintln!("split     {}", split_in_words(split, data.held_out, corpus.documents()));
        }
        config.model.config.vocab_size = tokenizer.vocab_size();
        eprintln!(
            "tokenizer {} tokens, {:.2} bytes per token; {} tokens to learn, {} held out{}",
            tokenizer.vocab_size(),
            corpus.provenance.bytes as f64
                / (data.train.len() + data.valid.len() + data.test as usize) as f64,
            data.train.len(),
            data.valid.len(),
            if data.test > 0 { format!(", {} to test", data.test) } else { String::new() }
        );
        let licence = config.data.licence.as_ref().or(corpus.provenance.licence.as_ref());
        let info = Info {
            name: name_of(&self.output),
            licence: licence.map_or_else(|| "unknown".into(), Clone::clone),
            provenance: format!(
                "trained on {}, {} bytes, crc32 {:08x}",
                corpus.provenance.name, corpus.provenance.bytes, corpus.provenance.crc32
            ),
            ..Info::default()
        };
        let tokenizer = Some(data.tokenizer);
        Ok(Source {
            info,
            train: Tokens::Mapped(data.train),
            valid: Tokens::Mapped(data.valid),
            targets: None,
            tokenizer,
        })
    }

    /// The tokens of the run to resume, where its folder has them and no text is named.
    fn stored_source(&self, config: &mut TrainConfig) -> Result<Option<Source>> {
        if !self.resume {
            return Ok(None);
        }
        let Some(Stored { train, valid, targets, tokenizer, mut info }) = Stored::read(&self.output)? else {
            return Ok(None);
        };
        if self.corpus.is_empty() {
            config.data.check_same(&self.stored()?.data)?;
        } else {
            // The text of the run, or refused: its tokens are here.
            self.corpus(&mut config.data)?;
        }
        if let Some(licence) = &config.data.licence {
            info.licence.clone_from(licence);
        }
        eprintln!("tokens    {} to learn, {} held out, of the run folder", train.len(), valid.len());
        Ok(Some(Source { info, train, valid, targets, tokenizer }))
    }

    /// Reads the text; one to go on with must be that of the run.
    fn corpus(&self, data: &mut DataConfig) -> Result<Corpus> {
        let corpus = match data.corpus.is_empty() {
            true => Corpus::rust_book()?,
            false => Corpus::open(&data.corpus, &data.split_documents, data.deduplicate)?,
        };
        data.crc32 = Some(corpus.provenance.crc32);
        for path in &mut data.corpus {
            *path = std::path::absolute(&path)?;
            ensure!(path.to_str().is_some(), "{}: found a name that is not UTF-8", path.display());
        }
        if self.resume {
            let run = self.stored()?.data;
            if let (Some(found), Some(wanted)) = (data.crc32, run.crc32) {
                data.check_same(&run)?;
                ensure!(
                    found == wanted,
                    "{}: found another text (crc32 {found:08x}), wanted that of the run (crc32 {wanted:08x})",
                    corpus.provenance.name
                );
            }
        }
        Ok(corpus)
    }

    /// The configuration of the run to resume.
    fn stored(&self) -> Result<TrainConfig> {
        TrainConfig::read(&self.output.join("config.toml"))
    }

    /// The configuration: defaults or the file (that of the run to resume), overridden by flags.
    fn config(&self) -> Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => TrainConfig::read(path)?,
            None if self.resume => self.stored()?,
            None => TrainConfig::default(),
        };
        if self.resume {
            config.data = self.stored()?.data;
        }
        fn set<T: Copy>(field: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *field = value;
            }
        }
        let shape = &mut config.model.config;
        set(&mut shape.dim, self.dim);
        set(&mut shape.hidden_dim, self.hidden_dim);
        set(&mut shape.activation, self.activation);
        set(&mut shape.gated, self.gated);
        set(&mut shape.n_layers, self.layers);
        set(&mut shape.n_heads, self.heads);
        set(&mut shape.n_kv_heads, self.kv_heads);
        set(&mut shape.vocab_size, self.vocab);
        set(&mut shape.seq_len, self.context);
        self.training.apply(&mut config.training);
        config.view = self.training.view();
        let data = &mut config.data;
        self.text.apply(data);
        set(&mut data.tokenizer, self.tokenizer);
        if !self.corpus.is_empty() {
            data.corpus.clone_from(&self.corpus);
        }
        data.licence = self.licence.clone().or(data.licence.take());
        Ok(config)
    }
}

/// An activation by the name that it has in a configuration.
fn activation_of(name: &str) -> Result<Activation, serde::de::value::Error> {
    ActivationName::deserialize(name.into_deserializer())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}
