//! What a run is told: the model's shape and how to train it.

use super::distill::DistillationConfig;
use crate::corpus::{Documents, Split};
use crate::model::{ModelConfig, Quantization};
use crate::optimizer::{Finetune, Method};
use crate::prepare::Vocabulary;
use crate::schedule::Decay;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use thumbformer::NormKind;

/// The configuration of a run, in TOML a `[model]`, a `[training]`, a `[finetune]`, a `[data]`, a `[quantization]` and a
/// `[distillation]` section. Each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The shape; sequences are `seq_len` tokens long.
    pub model: ModelConfig,
    /// How to train it. Every field has a default.
    pub training: TrainingConfig,
    /// What of the model learns, and how fast: everything, equally, unless this says otherwise.
    #[serde(skip_serializing_if = "Finetune::is_default")]
    pub finetune: Finetune,
    /// What it learns from. Every field has a default.
    pub data: DataConfig,
    /// Where numbers are rounded as on the device; without it, nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// The model to learn from, beside the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distillation: Option<DistillationConfig>,
    /// How it shows itself; no part of the file.
    #[serde(skip)]
    pub view: View,
}

/// How a run shows itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Whether there may be a dashboard on a terminal; else plain lines.
    pub dashboard: bool,
    /// What samples continue; without it, the start of the held-out text.
    pub prompt: Option<String>,
}

/// What to learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The text's files and folders, a list or one alone; without any, The Rust Programming Language.
    #[serde(with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub corpus: Vec<PathBuf>,
    /// A file of prompts and answers, in the place of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PathBuf>,
    /// A file of texts with labels, in the place of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labelled: Option<PathBuf>,
    /// Tokens of a row; runs on pairs note it. Sequences of a text are `seq_len` long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_len: Option<usize>,
    /// What becomes a token.
    pub tokenizer: Vocabulary,
    /// Where a file is cut into documents.
    pub split_documents: Documents,
    /// Whether documents that say the same as one before them are left out.
    pub deduplicate: bool,
    /// Whether the documents of each part are put in a random order. Sequences of a text reach across documents: where
    /// these are sorted, one tells of the next.
    pub shuffle: bool,
    /// Part of the text that is held out for validation.
    pub held_out: f64,
    /// Part of the text that is kept for the end: the run writes its tokens, and reads them no more.
    pub test: f64,
    /// How these parts are chosen; without it, by document where there are several. Runs note what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// With the hash of a document, decides whether it is held out; and the order of documents that are shuffled. Apart from the seed of training, so that runs of
    /// several seeds are examined by the same text.
    pub split_seed: u64,
    /// The licence of the weights; without one, that of the text, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// CRC-32 of the text; runs note it, so that they go on with the same one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            corpus: Vec::new(),
            pairs: None,
            labelled: None,
            row_len: None,
            tokenizer: Vocabulary::default(),
            split_documents: Documents::default(),
            deduplicate: false,
            shuffle: false,
            held_out: 0.05,
            test: 0.0,
            split: None,
            split_seed: 42,
            licence: None,
            crc32: None,
        }
    }
}

impl DataConfig {
    /// Refuses what no text has.
    pub fn check_text(&self) -> Result<()> {
        if let Some(pairs) = &self.pairs {
            bail!("data: pairs: found {}, wanted a text; `finetune --pairs` learns answers", pairs.display());
        }
        if let Some(found) = self.row_len {
            bail!(
                "data: row_len: found {found}, wanted none: sequences of a text fill the context (seq_len)"
            );
        }
        Ok(())
    }

    /// Refuses data that is prepared in another way than that of the run to go on with.
    pub fn check_same(&self, run: &Self) -> Result<()> {
        let settings = |data: &Self| -> Result<toml::Table> {
            let mut table = toml::Table::try_from(data)?;
            // Texts are compared by their checksum, wherever they are now.
            ["corpus", "pairs", "labelled", "licence", "crc32"]
                .iter()
                .for_each(|key| drop(table.remove(*key)));
            Ok(table)
        };
        let wanted = settings(run)?;
        for (key, found) in settings(self)? {
            let wanted = wanted.get(&key).map_or_else(|| "none".into(), ToString::to_string);
            ensure!(found.to_string() == wanted, "{key}: found {found}, wanted {wanted} as in the run");
        }
        Ok(())
    }
}

fn is_zero(part: &f32) -> bool {
    *part == 0.0
}

/// A list that may be written as its only value.
mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::path::PathBuf;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "wanted a path or a list of paths")]
    enum OneOrMany {
        One(PathBuf),
        Many(Vec<PathBuf>),
    }

    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        match paths {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(path) => vec![path],
            OneOrMany::Many(paths) => paths,
        })
    }
}

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Length of the run in optimizer steps; this or `minutes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Length of the run in minutes, interruptions not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Sequences per batch.
    pub batch: usize,
    /// Batches per step; their gradients are added up. Our own engine takes one sequence at a time, so this is one number
    /// with `batch` to it; PyTorch's memory grows with `batch` alone.
    pub accumulate: usize,
    /// Who takes the steps.
    pub optimizer: Method,
    /// Highest learning rate.
    pub learning_rate: f32,
    /// How the learning rate falls.
    pub schedule: Decay,
    /// Learning rate at the end, as a fraction of the highest.
    pub final_rate: f32,
    /// Fraction of the run during which the learning rate rises.
    pub warmup: f32,
    /// Fraction of the run during which the rate of `schedule = "wsd"` falls.
    pub cooldown: f32,
    /// AdamW's decay rate of the gradient's mean.
    pub beta1: f32,
    /// AdamW's decay rate of its mean square.
    pub beta2: f32,
    /// Muon's momentum.
    pub momentum: f32,
    /// Decay of matrices, but not of learned positions.
    pub weight_decay: f32,
    /// Largest norm of a gradient; longer ones are scaled down.
    pub clip: f32,
    /// Fraction of values that dropout takes.
    pub dropout: f32,
    /// What of a target's probability is spread over all outputs evenly.
    #[serde(skip_serializing_if = "is_zero")]
    pub label_smoothing: f32,
    /// What an exponential moving average of the parameters keeps at each step, such as 0.999; 0: there is none.
    pub ema: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Threads; zero takes one for each core. Results do not depend on it.
    pub threads: usize,
    /// Steps between two evaluations.
    pub eval_interval: u64,
    /// Most tokens that an evaluation during the run takes; the last one takes all.
    pub eval_tokens: usize,
    /// Evaluations without a new lowest loss after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Seconds between two checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: None,
            minutes: None,
            batch: 8,
            accumulate: 1,
            optimizer: Method::AdamW,
            learning_rate: 4e-3,
            schedule: Decay::Cosine,
            final_rate: 0.05,
            warmup: 0.05,
            cooldown: 0.2,
            beta1: 0.9,
            beta2: 0.95,
            momentum: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            dropout: 0.0,
            label_smoothing: 0.0,
            ema: 0.0,
            seed: 42,
            threads: 0,
            eval_interval: 250,
            eval_tokens: 16_384,
            patience: None,
            checkpoint_seconds: 60.0,
        }
    }
}

/// Sequences of a step at most; far more than any memory has room for.
const MOST_SEQUENCES: usize = 1 << 24;

/// How long a run lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Optimizer steps.
    Steps(u64),
    /// Seconds of training.
    Seconds(f64),
}

impl Budget {
    /// The fraction that is used after so many steps and seconds, up to one.
    pub fn fraction(self, steps: u64, seconds: f64) -> f64 {
        match self {
            Self::Steps(all) => steps as f64 / all as f64,
            Self::Seconds(all) => seconds / all,
        }
        .min(1.0)
    }
}

impl TrainConfig {
    /// Reads a TOML file; what is wrong with it is told in one line.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).map_err(|error| {
            let line = text[..error.span().map_or(0, |span| span.start)].matches('\n').count() + 1;
            anyhow!("{}, line {line}: {}", path.display(), error.message().replace('\n', ", "))
        })
    }

    /// Says what is wrong with a configuration that cannot be run.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        let t = &self.training;
        self.budget()?;
        let counts = [
            ("batch", t.batch),
            ("accumulate", t.accumulate),
            ("eval_interval", t.eval_interval as usize),
            ("patience", t.patience.map_or(1, |patience| patience as usize)),
            ("row_len", self.data.row_len.unwrap_or(1)),
        ];
        for (name, found) in counts {
            ensure!(found > 0, "{name}: found 0, wanted at least 1");
        }
        ensure!(
            t.batch.checked_mul(t.accumulate).is_some_and(|sequences| sequences <= MOST_SEQUENCES),
            "batch, accumulate: found {} and {}, wanted at most {MOST_SEQUENCES} sequences in a step",
            t.batch,
            t.accumulate
        );
        let (found, wanted) = (self.sequence(), self.model.config.seq_len);
        ensure!(found <= wanted, "row_len: found {found}, wanted at most {wanted} (seq_len)");
        let batch_norm = self.model.config.norm == NormKind::Batch;
        ensure!(
            !batch_norm || found > 1,
            "norm: found batch with sequences of one token, wanted two or more"
        );
        for (name, found) in [("learning_rate", t.learning_rate), ("clip", t.clip)] {
            let usable = found > 0.0 && found.is_finite();
            ensure!(usable, "{name}: found {found}, wanted a positive number");
        }
        for (name, found) in [
            ("final_rate", t.final_rate),
            ("warmup", t.warmup),
            ("cooldown", t.cooldown),
            ("weight_decay", t.weight_decay),
        ] {
            let usable = (0.0..=1.0).contains(&found);
            ensure!(usable, "{name}: found {found}, wanted 0 to 1");
        }
        for (name, found) in [
            ("dropout", t.dropout),
            ("label_smoothing", t.label_smoothing),
            ("ema", t.ema),
            ("beta1", t.beta1),
            ("beta2", t.beta2),
            ("momentum", t.momentum),
        ] {
            ensure!((0.0..1.0).contains(&found), "{name}: found {found}, wanted 0 to less than 1");
        }
        let rest = 1.0 - t.warmup;
        ensure!(
            t.schedule != Decay::Wsd || t.cooldown <= rest,
            "cooldown: found {}, wanted at most the {rest} that the warm-up leaves",
            t.cooldown
        );
        self.finetune.validate(t.optimizer).context("finetune")?;
        ensure!(
            [!self.data.corpus.is_empty(), self.data.pairs.is_some(), self.data.labelled.is_some()]
                .into_iter()
                .filter(|given| *given)
                .count()
                < 2,
            "data: found more than one of corpus, pairs and labelled, wanted one of them"
        );
        let usable = t.checkpoint_seconds >= 0.0;
        ensure!(usable, "checkpoint_seconds: found {}, wanted 0 or more", t.checkpoint_seconds);
        if let Some(quantization) = &self.quantization {
            quantization.validate(&self.model.config)?;
        }
        if let Some(distillation) = &self.distillation {
            let n_classes = self.model.config.n_classes;
            ensure!(
                n_classes == 0,
                "distillation: found a classifier of {n_classes} classes, wanted a model of tokens"
            );
            distillation.validate()?;
        }
        let held_out = self.data.held_out;
        let usable = held_out > 0.0 && held_out < 1.0;
        ensure!(usable, "held_out: found {held_out}, wanted more than 0 and less than 1");
        let (test, rest) = (self.data.test, 1.0 - held_out);
        ensure!(
            (0.0..rest).contains(&test),
            "test: found {test}, wanted 0 to less than the {rest} that held_out leaves"
        );
        ensure!(
            test == 0.0 || self.data.pairs.is_none(),
            "data: found pairs and test = {test}, wanted no test"
        );
        Ok(())
    }

    /// Tokens of a sequence.
    pub fn sequence(&self) -> usize {
        self.data.row_len.unwrap_or(self.model.config.seq_len)
    }

    /// The length of the run.
    pub fn budget(&self) -> Result<Budget> {
        match (self.training.steps, self.training.minutes) {
            (Some(steps), None) if steps > 0 => Ok(Budget::Steps(steps)),
            (None, Some(minutes)) if minutes > 0.0 && minutes.is_finite() => {
                Ok(Budget::Seconds(minutes * 60.0))
            }
            (None, None) => bail!("training: found neither steps nor minutes, wanted one of them"),
            (Some(_), Some(_)) => bail!("training: found steps and minutes, wanted one of them"),
            (Some(steps), None) => bail!("steps: found {steps}, wanted at least 1"),
            (None, Some(minutes)) => bail!("minutes: found {minutes}, wanted a positive number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "[model]\ndim = 8\nhidden_dim = 16\nn_layers = 1\nn_heads = 2\n\
                         n_kv_heads = 1\nvocab_size = 10\nseq_len = 4\n";

    fn parse(training: &str) -> TrainConfig {
        toml::from_str(&format!("{MODEL}[training]\n{training}")).unwrap()
    }

    #[test]
    fn defaults_and_round_trip() {
        let config = parse("minutes = 3\n");
        config.validate().unwrap();
        assert_eq!(config.budget().unwrap(), Budget::Seconds(180.0));
        assert_eq!(config.training.batch, 8);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
    }

    #[test]
    fn unusable_values_are_named() {
        let cases = [
            ("", "found neither steps nor minutes"),
            ("steps = 1\nminutes = 1.0", "found steps and minutes"),
            ("steps = 0", "steps: found 0, wanted at least 1"),
            ("minutes = -1.0", "minutes: found -1, wanted a positive number"),
            ("steps = 1\nbatch = 0", "batch: found 0"),
            ("steps = 1\ndropout = 1.0", "dropout: found 1, wanted 0 to less than 1"),
            ("steps = 1\nlearning_rate = nan", "learning_rate: found NaN"),
            ("steps = 1\nwarmup = 1.5", "warmup: found 1.5, wanted 0 to 1"),
            ("steps = 1\nema = 1.0", "ema: found 1, wanted 0 to less than 1"),
            ("steps = 1\naccumulate = 0", "accumulate: found 0, wanted at least 1"),
            (
                "steps = 1\nbatch = 4294967296\naccumulate = 4294967296",
                "batch, accumulate: found 4294967296 and 4294967296, wanted at most 16777216 sequences",
            ),
            ("steps = 1\npatience = 0", "patience: found 0, wanted at least 1"),
            (
                "steps = 1\nschedule = \"wsd\"\ncooldown = 0.99",
                "cooldown: found 0.99, wanted at most the 0.95",
            ),
            ("steps = 1\n[data]\nrow_len = 9", "row_len: found 9, wanted at most 4 (seq_len)"),
            (
                "steps = 1\n[data]\ncorpus = \"a\"\npairs = \"b\"",
                "data: found more than one of corpus, pairs",
            ),
            ("steps = 1\n[finetune]\nlayer_decay = 0.0", "layer_decay: found 0, wanted more than 0"),
        ];
        for (training, message) in cases {
            let error = format!("{:#}", parse(training).validate().unwrap_err());
            assert!(error.contains(message), "{error}");
        }
    }
}
