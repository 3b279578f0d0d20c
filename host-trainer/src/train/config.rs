//! What a run is told: the model's shape and how to train it.

use crate::corpus::{Documents, Split};
use crate::model::ModelConfig;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The configuration of a run, in TOML a `[model]`, a `[training]` and a `[data]` section. Each has a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The shape; sequences are `seq_len` tokens long.
    pub model: ModelConfig,
    /// How to train it. Every field has a default.
    pub training: TrainingConfig,
    /// What it learns from. Every field has a default.
    pub data: DataConfig,
}

/// What to learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The text's files and folders, a list or one alone; without any, The Rust Programming Language.
    #[serde(with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub corpus: Vec<PathBuf>,
    /// Where a file is cut into documents.
    pub split_documents: Documents,
    /// Whether documents that say the same as one before them are left out.
    pub deduplicate: bool,
    /// Part of the text that is held out for validation.
    pub held_out: f64,
    /// How that part is chosen; without it, by document where there are several. Runs note what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// With the hash of a document, decides whether it is held out. Apart from the seed of training, so that runs of
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
            split_documents: Documents::default(),
            deduplicate: false,
            held_out: 0.05,
            split: None,
            split_seed: 42,
            licence: None,
            crc32: None,
        }
    }
}

impl DataConfig {
    /// Refuses data that is prepared in another way than that of the run to go on with.
    pub fn check_same(&self, run: &Self) -> Result<()> {
        let settings = |data: &Self| -> Result<toml::Table> {
            let mut table = toml::Table::try_from(data)?;
            // Texts are compared by their checksum, wherever they are now.
            ["corpus", "licence", "crc32"].iter().for_each(|key| drop(table.remove(*key)));
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
    /// Sequences per step.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f32,
    /// Learning rate at the end, as a fraction of the highest.
    pub final_rate: f32,
    /// Fraction of the run during which the learning rate rises.
    pub warmup: f32,
    /// Decay of matrices.
    pub weight_decay: f32,
    /// Largest norm of a gradient; longer ones are scaled down.
    pub clip: f32,
    /// Fraction of values that dropout takes.
    pub dropout: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Threads; zero takes one for each core. Results do not depend on it.
    pub threads: usize,
    /// Steps between two evaluations.
    pub eval_interval: u64,
    /// Most tokens that an evaluation during the run takes; the last one takes all.
    pub eval_tokens: usize,
    /// Seconds between two checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: None,
            minutes: None,
            batch: 8,
            learning_rate: 4e-3,
            final_rate: 0.05,
            warmup: 0.05,
            weight_decay: 0.1,
            clip: 1.0,
            dropout: 0.0,
            seed: 42,
            threads: 0,
            eval_interval: 250,
            eval_tokens: 16_384,
            checkpoint_seconds: 60.0,
        }
    }
}

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
        ensure!(t.batch > 0, "batch: found 0, wanted at least 1");
        ensure!(t.eval_interval > 0, "eval_interval: found 0, wanted at least 1");
        for (name, found) in [("learning_rate", t.learning_rate), ("clip", t.clip)] {
            let usable = found > 0.0 && found.is_finite();
            ensure!(usable, "{name}: found {found}, wanted a positive number");
        }
        for (name, found) in
            [("final_rate", t.final_rate), ("warmup", t.warmup), ("weight_decay", t.weight_decay)]
        {
            let usable = (0.0..=1.0).contains(&found);
            ensure!(usable, "{name}: found {found}, wanted 0 to 1");
        }
        let usable = (0.0..1.0).contains(&t.dropout);
        ensure!(usable, "dropout: found {}, wanted 0 to less than 1", t.dropout);
        let usable = t.checkpoint_seconds >= 0.0;
        ensure!(usable, "checkpoint_seconds: found {}, wanted 0 or more", t.checkpoint_seconds);
        let held_out = self.data.held_out;
        let usable = held_out > 0.0 && held_out < 1.0;
        ensure!(usable, "held_out: found {held_out}, wanted more than 0 and less than 1");
        Ok(())
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
        ];
        for (training, message) in cases {
            let error = parse(training).validate().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
