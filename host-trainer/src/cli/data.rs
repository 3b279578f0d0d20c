//! `thumbformer data`

use super::print;
use super::text::TextArgs;
use crate::corpus::Corpus;
use crate::data::pairs::{self, Fields};
use crate::data::summary::{PairSummary, TextSummary, WindowSummary};
use crate::data::windows::{Options, Rows, Windows, ending};
use crate::prepare::Vocabulary;
use crate::train::TrainConfig;
use anyhow::{Context, Result, bail};
use std::fmt::Display;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

/// Look at data before training on it
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Inspect(Box<Args>),
}

impl Command {
    pub fn run(self) -> Result<()> {
        let Self::Inspect(args) = self;
        args.run()
    }
}

/// Show what would be read: documents, duplicates, split, tokens and a sample, or windows and classes
///
/// Files that end in .jsonl are pairs of prompt and answer, those in .csv, .ts and .npy are windows of signals; all else is
/// text, as for `train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, or folders of text
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// Tokens of the vocabulary
    #[arg(long, default_value_t = 512)]
    vocab: usize,
    /// What becomes a token, of a text
    #[arg(long, value_enum, default_value_t)]
    tokenizer: Vocabulary,
    /// Positions of the context window, into which pairs are packed
    #[arg(long, default_value_t = 256)]
    context: usize,
    /// Pairs: the field of the prompt
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    prompt_field: String,
    /// Pairs: the field of the answer
    #[arg(long, value_name = "FIELD", default_value = "answer")]
    answer_field: String,
    #[command(flatten)]
    windows: WindowArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How windows are read.
#[derive(Debug, clap::Args)]
struct WindowArgs {
    /// CSV: the column of the label, by name or number from 1 [default: the file's name is the label]
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// CSV: what a row is
    #[arg(long, value_enum, default_value_t)]
    rows: Rows,
    /// CSV whose rows are steps: steps of a window
    #[arg(long, value_name = "STEPS")]
    window: Option<usize>,
    /// CSV whose rows are steps: steps from one window to the next [default: those of a window]
    #[arg(long, value_name = "STEPS")]
    hop: Option<usize>,
    /// CSV: values of each step
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// NPY: the file of the labels
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Steps a second
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
}

impl Args {
    fn run(self) -> Result<()> {
        let mut config = TrainConfig::default();
        config.training.steps = Some(1);
        self.text.apply(&mut config.data);
        config.data.tokenizer = self.tokenizer;
        config.model.config.vocab_size = self.vocab;
        config.model.config.seq_len = self.context;
        config.validate()?;
        let windows = |ending: &str| matches!(ending, "csv" | "ts" | "npy" | "gz");
        let endings: Vec<String> = self.paths.iter().map(|path| ending(path)).collect();
        if endings.iter().all(|ending| ending == "jsonl") {
            let fields = Fields { prompt: self.prompt_field, answer: self.answer_field };
            let mut all = Vec::new();
            for path in &self.paths {
                all.extend(pairs::read(path, &fields)?.0);
            }
            let names =
                || self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return show(&PairSummary::new(&all, &config).with_context(names)?, self.json);
        }
        if endings.iter().all(|ending| windows(ending)) {
            let WindowArgs { label, rows, window, hop, channels, labels, rate } = self.windows;
            let options = Options { label, rows, window, hop, channels, labels, rate };
            return show(&WindowSummary::new(&Windows::read(&self.paths, &options)?), self.json);
        }
        if let Some(at) = endings.iter().position(|ending| ending == "jsonl" || windows(ending)) {
            bail!("{}: found a file of another kind beside text, wanted one kind", self.paths[at].display());
        }
        let data = &config.data;
        let corpus = Corpus::open(&self.paths, &data.split_documents, data.deduplicate)?;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        show(&TextSummary::new(&corpus, &config, threads)?, self.json)
    }
}

fn show<T: Display + serde::Serialize>(summary: &T, json: bool) -> Result<()> {
    match json {
        true => print(&serde_json::to_string_pretty(summary)?),
        false => print(summary.to_string().trim_end()),
    }
}
