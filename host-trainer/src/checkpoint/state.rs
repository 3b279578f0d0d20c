//! The state of a training run: all that it takes to go on as if nothing had happened.

use super::container::{self, Container, Data, Entry};
use anyhow::{Context, Result, bail};
use safetensors::tensor::SafeTensors;
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
    /// Evaluations since the lowest one.
    pub stale: u64,
    /// Whose moments these are.
    pub optimizer: String,
    /// Parameters, flat; where adapters learn, those of the model that they are added to.
    pub params: Vec<f32>,
    /// Adapters of low rank, flat, if they learn in the place of the parameters.
    pub adapters: Option<Vec<f32>>,
    /// First moments of the gradient, flat, of what learns.
    pub m: Vec<f32>,
    /// Second moments, flat.
    pub v: Vec<f32>,
    /// Average of the parameters over the steps, if there is one.
    pub average: Option<Vec<f32>>,
}

impl State {
    /// Writes the file; an existing one is replaced only by a complete one.
    pub fn save(&self, path: &Path) -> Result<()> {
        fn entry<'a>(name: &'a str, values: &'a [f32]) -> Entry<'a> {
            Entry { name, shape: vec![values.len()], data: Data::F32(values) }
        }
        let mut entries =
            vec![entry(PARAMS, &self.params), entry("optimizer.m", &self.m), entry("optimizer.v", &self.v)];
        entries.extend(self.adapters.iter().map(|values| entry(ADAPTERS, values)));
        entries.extend(self.average.iter().map(|values| entry(AVERAGE, values)));
        let metadata = BTreeMap::from([
            ("step", self.step.to_string()),
            ("seed", self.seed.to_string()),
            ("seconds", self.seconds.to_string()),
            ("best_loss", self.best_loss.to_string()),
            ("stale", self.stale.to_string()),
            ("optimizer", self.optimizer.clone()),
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
        let params = vector(&tensors, PARAMS, len)?;
        let adapters = match tensors.tensor(ADAPTERS) {
            Ok(tensor) => Some(vector(&tensors, ADAPTERS, tensor.shape().iter().product())?),
            Err(_) => None,
        };
        let learns = adapters.as_ref().map_or(len, Vec::len);
        let average = tensors.tensor(AVERAGE).is_ok().then(|| vector(&tensors, AVERAGE, len));
        Ok(Self {
            step: number(&metadata, "step")?,
            seed: number(&metadata, "seed")?,
            seconds: number(&metadata, "seconds")?,
            best_loss: number(&metadata, "best_loss")?,
            // States of before there was a choice do not say these.
            stale: if metadata.contains_key("stale") { number(&metadata, "stale")? } else { 0 },
            optimizer: metadata.get("optimizer").map_or("adamw", String::as_str).to_owned(),
            params,
            adapters,
            m: vector(&tensors, "optimizer.m", learns)?,
            v: vector(&tensors, "optimizer.v", learns)?,
            average: average.transpose()?,
        })
    }
}

const PARAMS: &str = "params";
const ADAPTERS: &str = "adapters";
const AVERAGE: &str = "average";

fn vector(tensors: &SafeTensors<'_>, name: &str, len: usize) -> Result<Vec<f32>> {
    // The shape is compared before memory is taken: a header may claim anything.
    container::read_f32(tensors, name, &[len], &mut [])?;
    let mut values = vec![0.0; len];
    container::read_f32(tensors, name, &[len], &mut values)?;
    Ok(values)
}

fn number<T: FromStr>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let found = metadata.get(key).map_or("nothing", String::as_str);
    match found.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("metadata: {key}: found {found}, wanted a number"),
    }
}
