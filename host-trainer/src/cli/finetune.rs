//! `thumbformer finetune`

use super::text::{self, TextArgs};
use super::training::{Flags, report};
use super::{quantize, read_checkpoint};
use crate::checkpoint::{Checkpoint, Info};
use crate::corpus::Corpus;
use crate::data::labelled::{self, Labelled};
use crate::data::pairs::{self, Fields};
use crate::data::{TokenFile, rows};
use crate::model::HEAD;
use crate::optimizer::Lora;
use crate::prepare::{Vocabulary, encode, split_in_words, store};
use crate::train::{Begin, Data, Rows, Samples, TOKENS, TrainConfig, check_finetune, check_folder, train_on};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thumbformer::Tokenizer;
use thumbformer::format::tokenizer::TokenizerKind;

/// Train a checkpoint further, on another text, on prompts with answers, on labels or on what a model writes; also for its
/// integers
///
/// The shape and the tokenizer are the checkpoint's; with --classify, the head is one of classes. Writes a run folder as train does; an interrupted run goes on with
/// `thumbformer train --resume`. Every checkpoint in it is a whole model, adapters included.
///
/// PATTERN is a tensor's name as `inspect` shows it, with * for any characters and ? for one: layers.0.*, *norm*,
/// *.wq.weight.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The checkpoint (.safetensors) with its tokenizer
    checkpoint: PathBuf,
    /// A text: a UTF-8 file, or a folder of them; may be given more than once
    #[arg(long, value_name = "PATH", required_unless_present_any = ["pairs", "classify", "teacher_text"], conflicts_with_all = ["pairs", "classify"])]
    corpus: Vec<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// Prompts and answers, a JSON object in each line: {"prompt": "..", "answer": ".."}; only answers are learned, and
    /// the end token behind them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["split_documents", "deduplicate", "split"])]
    pairs: Option<PathBuf>,
    /// The field of the prompt
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    prompt_field: String,
    /// The field of the answer
    #[arg(long, value_name = "FIELD", default_value = "answer")]
    answer_field: String,
    /// Texts with labels, a JSON object in each line, {"text": "..", "label": ".."}, or a table (.csv) with these columns: a
    /// new head learns the class after a text's last token, and the rest with it unless it is frozen
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pairs", "teacher"])]
    classify: Option<PathBuf>,
    /// The field of the text
    #[arg(long, value_name = "FIELD", default_value = "text")]
    text_field: String,
    /// The field of the label
    #[arg(long, value_name = "FIELD", default_value = "label")]
    label_field: String,
    /// Put as many pairs in a row as fit the context: fewer rows, but a pair sees those before it
    #[arg(long, requires = "pairs")]
    pack: bool,
    /// The run folder
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// A TOML file with the tables "training", "finetune", "quantization", "distillation" and "data", or some of them; flags
    /// override it, and name what is learned from
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The licence of the weights, for the metadata [default: that of the checkpoint]
    #[arg(long)]
    licence: Option<String>,
    #[command(flatten)]
    learns: Learns,
    #[command(flatten)]
    quantize: quantize::Flags,
    #[command(flatten)]
    training: Flags,
}

/// Flags over the table `[finetune]`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What learns")]
struct Learns {
    /// Leave these tensors as they are; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Multiply the learning rate from each block to the one below it, down to the embeddings [default: 1]
    #[arg(long, value_name = "FACTOR")]
    layer_decay: Option<f32>,
    /// Multiply the learning rate of these tensors; may be given more than once
    #[arg(long, value_name = "PATTERN=FACTOR", value_parser = rate_of)]
    rate: Vec<(String, f32)>,
    /// Learn adapters of this rank, and nothing else
    #[arg(long, value_name = "RANK")]
    lora: Option<usize>,
    /// Weight of the adapters, times the rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "lora")]
    lora_alpha: Option<f32>,
    /// Matrices that get an adapter; may be given more than once [default: layers.*.w?.weight, all of the blocks]
    #[arg(long, value_name = "PATTERN", requires = "lora")]
    lora_on: Vec<String>,
}

/// A learning rate for fine-tuning: the default of a first training would undo it.
const LEARNING_RATE: f32 = 1e-3;

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        check_folder(&self.output, false)?;
        let Checkpoint { mut model, info, tokenizer } = read_checkpoint(&self.checkpoint)?;
        let mut config = self.config()?;
        let texts = self.classify.as_ref().map(|path| labelled::read(path, &self.fields())).transpose()?;
        let labels = texts.as_ref().map_or(Vec::new(), |(texts, _)| labelled::labels(texts));
        match &self.classify {
            // A classifier of the same classes goes on with its head.
            Some(_) if labels == info.labels => {}
            Some(path) => {
                ensure!(
                    labels.len() > 1,
                    "{}: found one label, {}, wanted two or more",
                    path.display(),
                    labels[0]
                );
                model = model.with_classes(labels.len(), config.training.seed)?;
            }
            None => ensure!(
                info.labels.is_empty(),
                "{}: found a classifier of {} classes, wanted --classify",
                self.checkpoint.display(),
                info.labels.len()
            ),
        }
        config.model = *model.config();
        let bytes = tokenizer
            .with_context(|| format!("{}: found no tokenizer, wanted one", self.checkpoint.display()))?;
        config.data.tokenizer = match Tokenizer::from_bytes(&bytes)?.kind() {
            TokenizerKind::Characters => Vocabulary::Characters,
            TokenizerKind::ByteBpe | TokenizerKind::LlamaBpe => Vocabulary::Bpe,
        };
        self.quantize.plan(&mut config, &model, &bytes, &info)?;
        config.validate()?;
        check_finetune(&config, &model)?;
        let source = match (&self.classify, &texts) {
            (Some(path), Some((texts, crc32))) => {
                classes(path, texts, *crc32, &labels, &mut config, Tokenizer::from_bytes(&bytes)?)?
            }
            _ => self.source(&mut config, &bytes)?,
        };
        eprintln!("seed      {}", config.training.seed);
        let info = Info {
            name: self.output.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned()),
            licence: config.data.licence.clone().unwrap_or(info.licence),
            provenance: format!("{}; fine-tuned on {}", info.provenance, source.name),
            labels,
        };
        let data = Data { train: source.train.samples(), valid: source.valid.samples() };
        let outcome = train_on(&self.output, config, info, data, Some(bytes.clone()), Begin::With(&model))?;
        report(&outcome, &self.output, "")
    }

    /// The file's configuration, or the defaults, overridden by flags.
    fn config(&self) -> Result<TrainConfig> {
        let (mut config, mut has_rate) = (TrainConfig::default(), false);
        if let Some(path) = &self.config {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            // What is no table is told by the reader of the whole.
            let table = text.parse::<toml::Table>().unwrap_or_default();
            ensure!(
                !table.contains_key("model"),
                "{}: found [model], wanted none: the shape is the checkpoint's",
                path.display()
            );
            has_rate = table.get("training").is_some_and(|training| training.get("learning_rate").is_some());
            config = TrainConfig::read(path)?;
        }
        if !has_rate {
            config.training.learning_rate = LEARNING_RATE;
        }
        self.training.apply(&mut config.training);
        config.view = self.training.view();
        self.quantize.apply(&mut config)?;
        let (flags, finetune) = (&self.learns, &mut config.finetune);
        finetune.freeze.extend(flags.freeze.iter().cloned());
        finetune.layer_decay = flags.layer_decay.unwrap_or(finetune.layer_decay);
        finetune.rates.extend(flags.rate.iter().cloned());
        if let Some(rank) = flags.lora {
            let tensors = match flags.lora_on.as_slice() {
                [] => Lora::everywhere(),
                patterns => patterns.to_vec(),
            };
            let head = self.classify.as_ref().map(|_| HEAD.to_owned());
            let tensors = tensors.into_iter().chain(head).collect();
            finetune.lora = Some(Lora { rank, alpha: flags.lora_alpha, tensors });
        }
        let data = &mut config.data;
        self.text.apply(data);
        ensure!(
            data.test == 0.0 || !self.corpus.is_empty(),
            "test: found {} without --corpus, wanted a text to take it from",
            data.test
        );
        data.licence = self.licence.clone().or(data.licence.take());
        data.corpus = self.corpus.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
        data.pairs = self.pairs.as_ref().map(std::path::absolute).transpose()?;
        data.labelled = self.classify.as_ref().map(std::path::absolute).transpose()?;
        Ok(config)
    }

    fn fields(&self) -> labelled::Fields {
        labelled::Fields { text: self.text_field.clone(), label: self.label_field.clone() }
    }

    fn source(&self, config: &mut TrainConfig, tokenizer: &[u8]) -> Result<Source> {
        match &self.pairs {
            Some(path) => self.pairs(path, config, Tokenizer::from_bytes(tokenizer)?),
            None => self.texts(config, tokenizer),
        }
    }

    fn pairs(&self, path: &Path, config: &mut TrainConfig, tokenizer: Tokenizer<'_>) -> Result<Source> {
        let (seq_len, held_out) = (config.model.config.seq_len, config.data.held_out);
        let fields = Fields { prompt: self.prompt_field.clone(), answer: self.answer_field.clone() };
        let (pairs, crc32) = pairs::read(path, &fields)?;
        let make = if self.pack { rows::pack } else { rows::encode };
        let encoded =
            make(&pairs, tokenizer, seq_len, held_out).with_context(|| path.display().to_string())?;
        let rows::Encoded { train, valid, too_long } = encoded;
        if too_long > 0 {
            eprintln!("left out, longer than the context of {seq_len}: {too_long} pairs");
        }
        let count = |rows: &Rows| rows.tokens.len() / rows.len;
        eprintln!(
            "pairs     {}: {} rows to learn, {} held out, of {} tokens",
            pairs.len(),
            count(&train),
            count(&valid),
            train.len
        );
        config.data.row_len = Some(train.len);
        config.data.crc32 = Some(crc32);
        let name = format!("{}, {} pairs, crc32 {crc32:08x}", file_name(path), pairs.len());
        Ok(Source { name, train: Part::Rows(train), valid: Part::Rows(valid) })
    }

    fn texts(&self, config: &mut TrainConfig, tokenizer: &[u8]) -> Result<Source> {
        let folder = self.output.join(TOKENS);
        if let Some((name, mut tokens)) = self.quantize.text(config)? {
            let held_out = (tokens.len() as f64 * config.data.held_out) as usize;
            let valid = tokens.split_off(tokens.len() - held_out);
            eprintln!("tokens    {} to learn, {} held out", tokens.len(), valid.len());
            let [train, valid] = store(&folder, tokenizer, [&tokens, &valid])?;
            return Ok(Source { name, train: Part::Text(train), valid: Part::Text(valid) });
        }
        let data = &mut config.data;
        data.check_text()?;
        let corpus = Corpus::open(&self.corpus, &data.split_documents, data.deduplicate)?;
        let split = *data.split.get_or_insert(corpus.default_split());
        data.crc32 = Some(corpus.provenance.crc32);
        let encoded = encode(&corpus, tokenizer.to_vec(), config, &folder, text::progress())?;
        text::tell(&corpus);
        if corpus.documents() > 1 {
            eprintln!("split     {}", split_in_words(split, encoded.held_out, corpus.documents()));
        }
        eprintln!("tokens    {} to learn, {} held out", encoded.train.len(), encoded.valid.len());
        let about = &corpus.provenance;
        let name = format!("{}, {} bytes, crc32 {:08x}", about.name, about.bytes, about.crc32);
        Ok(Source { name, train: Part::Text(encoded.train), valid: Part::Text(encoded.valid) })
    }
}

/// Rows of labelled texts.
fn classes(
    path: &Path,
    texts: &[Labelled],
    crc32: u32,
    labels: &[String],
    config: &mut TrainConfig,
    tokenizer: Tokenizer<'_>,
) -> Result<Source> {
    let (seq_len, data) = (config.model.config.seq_len, &mut config.data);
    let encoded = labelled::encode(texts, labels, tokenizer, seq_len, data.held_out, data.split_seed)
        .with_context(|| path.display().to_string())?;
    let labelled::Encoded { train, valid, cut } = encoded;
    if cut > 0 {
        eprintln!("cut, longer than the context of {seq_len}: {cut} texts");
    }
    let count = |rows: &Rows| rows.tokens.len() / rows.len;
    let (learned, examined) = (count(&train), count(&valid));
    eprintln!("classes   {}: {}", labels.len(), labels.join(", "));
    eprintln!("texts     {learned} to learn, {examined} held out, of at most {} tokens", train.len);
    data.row_len = Some(train.len);
    data.crc32 = Some(crc32);
    let name = format!("{}, {} labelled texts, crc32 {crc32:08x}", file_name(path), texts.len());
    Ok(Source { name, train: Part::Rows(train), valid: Part::Rows(valid) })
}

/// What a fine-tuning reads, and what that is called.
struct Source {
    name: String,
    train: Part,
    valid: Part,
}

enum Part {
    Text(TokenFile),
    Rows(Rows),
}

impl Part {
    fn samples(&self) -> Samples<'_> {
        match self {
            Self::Text(tokens) => Samples::Text(tokens),
            Self::Rows(rows) => rows.samples(),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// `PATTERN=FACTOR`
fn rate_of(text: &str) -> Result<(String, f32), String> {
    let (pattern, factor) = text.rsplit_once('=').ok_or("wanted PATTERN=FACTOR, such as *norm*=0.1")?;
    let factor = factor.parse().map_err(|_| format!("found factor {factor:?}, wanted a number"))?;
    Ok((pattern.to_owned(), factor))
}
