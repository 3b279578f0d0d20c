//! The state of a training run: all that it takes to go on as if nothing had happened.

use super::container::{self, Container, Data, Entry};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// State between two steps. It has its own copy of the parameters, so that one file, written at
/// once, is consistent whatever happened to the model's. Random numbers follow from the seed and
/// the step alone.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// The run's seed.
    pub seed: u64,
    /// Time spent so far.
    pub seconds: f64,
    /// Lowest validation loss so far, infinite before the first.
    pub best_loss: f64,
    /// Parameters, flat.
    pub params: Vec<f32>,
    /// First moments of the gradient, flat.
    pub m: Vec<f32>,
    /// Second moments, flat.
    pub v: Vec<f32>,
}

impl State {
    /// Writes the file; an existing one is replaced only by a complete one.
    pub fn save(&self, path: &Path) -> Result<()> {
        let entry = |name, values| Entry { name, shape: vec![self.params.len()], data: Data::F32(values) };
        let entries =
            [entry("params", &self.params), entry("optimizer.m", &self.m), entry("optimizer.v", &self.v)];
        let metadata = BTreeMap::from([
            ("step", self.step.to_string()),
            ("seed", self.seed.to_string()),
            ("seconds", self.seconds.to_string()),
            ("best_loss", self.best_loss.to_string()),
        ]);
        container::write(path, &entries, metadata)
    }

    /// Reads the file of a model with `len` parameters.
    pub fn load(path: &Path, len: usize) -> Result<Self> {
        let container = Container::read(path)?;
        Self::parse(&container, len).with_context(|| format!("{}: not the state of this run", path.display()))
    }

    fn parse(container: &Container, len: usize) -> Result<Self> {
        let (tensors, metadata) = container.parse()?;
        let values = |name| {
            container::read_f32(&tensors, name, &[len], &mut [])?;
            let mut values = vec![0.0; len];
            container::read_f32(&tensors, name, &[len], &mut values)?;
            anyhow::Ok(values)
        };
        Ok(Self {
            step: number(&metadata, "step")?,
            seed: number(&metadata, "seed")?,
            seconds: number(&metadata, "seconds")?,
            best_loss: number(&metadata, "best_loss")?,
            params: values("params")?,
            m: values("optimizer.m")?,
            v: values("optimizer.v")?,
        })
    }
}

fn number<T: FromStr>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let found = metadata.get(key).map_or("nothing", String::as_str);
    match found.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("metadata: {key}: found {found}, wanted a number"),
    }
}
