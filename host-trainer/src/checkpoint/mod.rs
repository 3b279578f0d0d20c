//! Checkpoints: f32 models as safetensors, and the state of a training run beside them.
//!
//! Tensors have PyTorch's names and shapes (those of llama2.c's `model.py`). The metadata holds the [`ModelConfig`] as JSON
//! under `config`, how the model was trained to be rounded, if it was, under `quantization`, `name`, `licence` and
//! `provenance`, and a classifier's `labels` as a list in JSON. A tokenizer travels as the bytes of a `U8` tensor named
//! `tokenizer`.

mod container;
mod state;

pub use container::{check_output, check_outputs, write_atomically};
pub use state::State;

use crate::model::{Model, ModelConfig, Params};
use anyhow::{Context, Result, bail, ensure};
use container::{Container, Data, Entry};
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

const TOKENIZER: &str = "tokenizer";

/// What a model is, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// A short name.
    pub name: String,
    /// The licence of the weights.
    pub licence: String,
    /// What it was made from, and how.
    pub provenance: String,
    /// The names of a classifier's classes, in their order; none of another model.
    pub labels: Vec<String>,
}

impl Info {
    /// The metadata of a model file.
    pub fn metadata(&self) -> Vec<(&str, &str)> {
        let about = [("name", self.name.as_str()), ("licence", &self.licence), ("source", &self.provenance)];
        about.into_iter().chain(self.labels.iter().map(|label| ("label", label.as_str()))).collect()
    }
}

/// A model with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The decoder.
    pub model: Model,
    /// What it is.
    pub info: Info,
    /// The bytes of its tokenizer.
    pub tokenizer: Option<Vec<u8>>,
}

/// Writes a model; an existing file is replaced only by a complete one.
pub fn save(path: &Path, model: &Model, info: &Info, tokenizer: Option<&[u8]>) -> Result<()> {
    let params = model.params();
    let mut entries: Vec<Entry<'_>> = params
        .tensors()
        .iter()
        .map(|tensor| Entry {
            name: &tensor.name,
            shape: tensor.shape.clone(),
            data: Data::F32(&params.values[tensor.range.clone()]),
        })
        .collect();
    entries.extend(tokenizer.map(|bytes| Entry {
        name: TOKENIZER,
        shape: vec![bytes.len()],
        data: Data::U8(bytes),
    }));
    let mut metadata = BTreeMap::from([
        ("config", serde_json::to_string(model.config())?),
        ("name", info.name.clone()),
        ("licence", info.licence.clone()),
        ("provenance", info.provenance.clone()),
    ]);
    if let Some(quantization) = model.quantization() {
        metadata.insert("quantization", serde_json::to_string(&quantization)?);
    }
    if !info.labels.is_empty() {
        metadata.insert("labels", serde_json::to_string(&info.labels)?);
    }
    container::write(path, &entries, metadata)
}

/// Reads a model.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let container = Container::read(path)?;
    parse(&container).with_context(|| format!("{}: not a checkpoint", path.display()))
}

fn parse(container: &Container) -> Result<Checkpoint> {
    let (tensors, mut metadata) = container.parse()?;
    let config = config(&metadata)?;
    let params = params(&config, &tensors)?;
    let tokenizer = match tensors.tensor(TOKENIZER) {
        Err(_) => None,
        Ok(tensor) => {
            ensure!(tensor.dtype() == Dtype::U8, "tensor {TOKENIZER}: found {:?}, wanted U8", tensor.dtype());
            Some(tensor.data().to_vec())
        }
    };
    let quantization = metadata.get("quantization").map(|json| serde_json::from_str(json));
    let quantization = quantization.transpose().context("metadata: quantization")?;
    let labels: Vec<String> = match metadata.get("labels") {
        Some(json) => serde_json::from_str(json).context("metadata: labels")?,
        None => Vec::new(),
    };
    let (found, wanted) = (labels.len(), config.config.n_classes);
    ensure!(found == wanted, "metadata: labels: found {found}, wanted {wanted} (n_classes)");
    let mut text = |key: &str| metadata.remove(key).unwrap_or_default();
    let info = Info { name: text("name"), licence: text("licence"), provenance: text("provenance"), labels };
    let model = Model::from_params(config, params)?.with_quantization(quantization);
    Ok(Checkpoint { model, info, tokenizer })
}

fn config(metadata: &BTreeMap<String, String>) -> Result<ModelConfig> {
    let Some(json) = metadata.get("config") else {
        bail!("metadata: found no config, wanted the model's shape as JSON");
    };
    let config: ModelConfig = serde_json::from_str(json).context("metadata: config")?;
    config.validate().context("metadata: config")?;
    Ok(config)
}

fn params(config: &ModelConfig, tensors: &SafeTensors<'_>) -> Result<Params> {
    // Shapes are compared before memory is taken: a header may claim anything.
    let wanted = Params::tensors_of(config);
    for name in tensors.names() {
        ensure!(
            name == TOKENIZER || wanted.iter().any(|tensor| tensor.name == name),
            "tensor {name}: found, but the config wants none of this name"
        );
    }
    for tensor in &wanted {
        container::read_f32(tensors, &tensor.name, &tensor.shape, &mut [])?;
    }
    let mut params = Params::zeros(config);
    for tensor in wanted {
        let values = &mut params.values[tensor.range];
        container::read_f32(tensors, &tensor.name, &tensor.shape, values)?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "tensor {}: found a value that is not finite",
            tensor.name
        );
    }
    Ok(params)
}
