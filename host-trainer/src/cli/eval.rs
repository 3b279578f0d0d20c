//! `thumbformer eval`

use super::{Kind, kind_of, note_packing, print, read_checkpoint, read_tokens};
use crate::answers::Answers;
use crate::checkpoint::{self, Checkpoint};
use crate::classify::Texts;
use crate::data::labelled::{self, Fields};
use crate::data::pairs;
use crate::device::ModelFile;
use crate::eval::{Cut, compare, loss_device, loss_f32};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use thumbformer::{Token, Tokenizer};

/// Measure the loss of a model on a stream of tokens, in nats per token, or how well a classifier finds classes
///
/// A model file (.thumb) is evaluated by the integer runtime, the same arithmetic as on a device; a checkpoint
/// (.safetensors) in f32.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model file or a checkpoint
    model: PathBuf,
    /// Token ids, u16 little-endian
    #[arg(long, value_name = "FILE", required_unless_present_any = ["labelled", "pairs"])]
    tokens: Option<PathBuf>,
    /// Prompts and answers, as for finetune --pairs: the loss of the answers alone, and how many a greedy model gives to the
    /// letter
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tokens", "labelled", "chunk", "documents", "against"])]
    pairs: Option<PathBuf>,
    /// The field of the prompt
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    prompt_field: String,
    /// The field of the answer
    #[arg(long, value_name = "FIELD", default_value = "answer")]
    answer_field: String,
    /// Texts with labels, as for finetune --classify: accuracy, each class, and which are taken for which
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tokens", "chunk", "documents", "against"])]
    labelled: Option<PathBuf>,
    /// The field of the text
    #[arg(long, value_name = "FIELD", default_value = "text")]
    text_field: String,
    /// The field of the label
    #[arg(long, value_name = "FIELD", default_value = "label")]
    label_field: String,
    /// Tokens after which the context starts anew [default: the model's context window]
    #[arg(long)]
    chunk: Option<usize>,
    /// Let the context start anew at each begin token, too, and count every token, those of short chunks as well
    #[arg(long)]
    documents: bool,
    /// The checkpoint (.safetensors) that a model file was made from: also measures how far the integers are
    /// from it, as the mean divergence KL(f32 || integers) in nats per token and the share of tokens after
    /// which both find the same token likeliest
    #[arg(long, value_name = "F32")]
    against: Option<PathBuf>,
    /// Print JSON: {"loss": .., "tokens": .., "bits_per_byte": .., "kl": .., "agreement": .., "saturations": ..}, or with
    /// --labelled {"accuracy": .., "loss": .., "texts": .., "classes": [..], "confusion": [[..]]}, with --pairs
    /// {"loss": .., "exact": .., "tokens": .., "pairs": ..}
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        match (&self.tokens, &self.labelled, &self.pairs) {
            (_, Some(labelled), _) => self.classify(labelled),
            (_, None, Some(pairs)) => self.answer(pairs),
            (Some(tokens), None, None) => self.measure(tokens),
            (None, None, None) => bail!("found none of --tokens, --labelled and --pairs, wanted one of them"),
        }
    }

    /// What a model answers.
    fn answer(&self, path: &Path) -> Result<()> {
        let fields = pairs::Fields { prompt: self.prompt_field.clone(), answer: self.answer_field.clone() };
        let kind = kind_of(&self.model)?;
        let (pairs, _) = pairs::read(path, &fields)?;
        let name = || format!("{} on {}", self.model.display(), path.display());
        let (too_long, found, seq_len) = match kind {
            Kind::Thumb => {
                let file = ModelFile::read(&self.model)?;
                let model = file.model()?;
                note_packing(&self.model, &model);
                let seq_len = model.config().seq_len;
                let answers = Answers::new(&pairs, model.tokenizer(), seq_len).with_context(name)?;
                (answers.too_long, answers.on_device(&model).with_context(name)?, seq_len)
            }
            Kind::Checkpoint => {
                let Checkpoint { model, tokenizer, .. } = checkpoint::load(&self.model)?;
                let tokenizer = tokenizer
                    .with_context(|| format!("{}: found no tokenizer, wanted one", self.model.display()))?;
                let seq_len = model.config().config.seq_len;
                let answers = Answers::new(&pairs, Tokenizer::from_bytes(&tokenizer)?, seq_len)?;
                (answers.too_long, answers.in_f32(&model).with_context(name)?, seq_len)
            }
        };
        if too_long > 0 {
            eprintln!("left out, longer than the context of {seq_len}: {too_long} pairs");
        }
        print(&if self.json { serde_json::to_string(&found)? } else { found.to_string() })
    }

    /// What a classifier makes of labelled texts.
    fn classify(&self, path: &Path) -> Result<()> {
        let fields = Fields { text: self.text_field.clone(), label: self.label_field.clone() };
        let kind = kind_of(&self.model)?;
        let (texts, _) = labelled::read(path, &fields)?;
        let name = || format!("{} on {}", self.model.display(), path.display());
        let (texts, found, seq_len) = match kind {
            Kind::Thumb => {
                let file = ModelFile::read(&self.model)?;
                let model = file.model()?;
                note_packing(&self.model, &model);
                let seq_len = model.config().seq_len;
                let labels = model.labels().map(str::to_owned).collect();
                let texts = Texts::new(&texts, labels, model.tokenizer(), seq_len).with_context(name)?;
                let found = texts.on_device(&model)?;
                (texts, found, seq_len)
            }
            Kind::Checkpoint => {
                let Checkpoint { model, info, tokenizer } = checkpoint::load(&self.model)?;
                let tokenizer = tokenizer
                    .with_context(|| format!("{}: found no tokenizer, wanted one", self.model.display()))?;
                let seq_len = model.config().config.seq_len;
                let tokenizer = Tokenizer::from_bytes(&tokenizer)?;
                let texts = Texts::new(&texts, info.labels, tokenizer, seq_len).with_context(name)?;
                let found = texts.in_f32(&model)?;
                (texts, found, seq_len)
            }
        };
        if texts.cut > 0 {
            eprintln!("cut, longer than the context of {seq_len}: {} texts", texts.cut);
        }
        print(&if self.json { serde_json::to_string(&found)? } else { found.to_string() })
    }

    /// The loss on a stream of tokens.
    fn measure(&self, tokens: &Path) -> Result<()> {
        let kind = kind_of(&self.model)?;
        let stream = read_tokens(tokens)?;
        let name = || format!("{} on {}", self.model.display(), tokens.display());
        let result = match kind {
            Kind::Thumb => {
                let file = ModelFile::read(&self.model)?;
                let model = file.model()?;
                note_packing(&self.model, &model);
                let cut = self.cut(model.config().seq_len);
                let (result, divergence) = match &self.against {
                    None => (loss_device(&model, &stream, cut).with_context(name)?, None),
                    Some(twin) => {
                        let twin = read_checkpoint(twin)?.model;
                        let (result, divergence) = compare(&model, &twin, &stream, cut).with_context(name)?;
                        (result, Some(divergence))
                    }
                };
                let bytes = target_bytes(&model.tokenizer(), &stream, result.tokens);
                let evaluation = Evaluation::new(result.loss, result.tokens, bytes);
                Evaluation {
                    kl: divergence.map(|d| d.kl),
                    agreement: divergence.map(|d| d.agreement),
                    saturations: Some(result.saturations),
                    ..evaluation
                }
            }
            Kind::Checkpoint => {
                ensure!(
                    self.against.is_none(),
                    "--against: found a checkpoint as the model, {}, wanted a model file",
                    self.model.display()
                );
                let checkpoint = checkpoint::load(&self.model)?;
                let cut = self.cut(checkpoint.model.config().config.seq_len);
                let (loss, tokens) = loss_f32(&checkpoint.model, &stream, cut).with_context(name)?;
                let tokenizer = checkpoint.tokenizer.as_deref().map(Tokenizer::from_bytes).transpose()?;
                let bytes = tokenizer.map_or(0, |t| target_bytes(&t, &stream, tokens));
                Evaluation::new(loss, tokens, bytes)
            }
        };
        print(&if self.json { serde_json::to_string(&result)? } else { result.to_string() })
    }
}

impl Args {
    fn cut(&self, seq_len: usize) -> Cut {
        Cut { chunk: self.chunk.unwrap_or(seq_len), documents: self.documents }
    }
}

/// The bytes of text that the first `count` targets of a stream stand for.
fn target_bytes(tokenizer: &Tokenizer<'_>, stream: &[u16], count: usize) -> usize {
    stream[1..=count].iter().map(|&t| tokenizer.decode(Token(t)).len()).sum()
}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Evaluation {
    /// Nats per token.
    loss: f64,
    tokens: usize,
    /// Known where there is a tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_byte: Option<f64>,
    /// Of the integers from f32, where they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<f64>,
    /// Known of the integer runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    saturations: Option<u32>,
}

impl Evaluation {
    fn new(loss: f64, tokens: usize, bytes: usize) -> Self {
        let bits = loss * tokens as f64 / std::f64::consts::LN_2;
        let bits_per_byte = (bytes > 0).then(|| bits / bytes as f64);
        Self { loss, tokens, bits_per_byte, kl: None, agreement: None, saturations: None }
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arithmetic = if self.saturations.is_some() { "integers" } else { "f32" };
        write!(f, "loss {:.6} nats per token", self.loss)?;
        if let Some(bits) = self.bits_per_byte {
            write!(f, ", {bits:.4} bits per byte")?;
        }
        write!(f, " ({arithmetic}, {} tokens)", self.tokens)?;
        if let (Some(kl), Some(agreement)) = (self.kl, self.agreement) {
            write!(
                f,
                "\nKL(f32 || integers) {kl:.6} nats per token, top-1 agreement {:.2} %",
                100.0 * agreement
            )?;
        }
        match self.saturations {
            None | Some(0) => Ok(()),
            Some(n) => {
                write!(f, "\nthe residual stream saturated {n} times: export with a larger --headroom")
            }
        }
    }
}
