//! What a model file holds, what it needs, and where it fits.

use crate::export::Target;
use crate::model::{ActivationName, NormName, PositionsName};
use boards::{Board, PROGRAM_FLASH, PROGRAM_RAM};
use serde::Serialize;
use std::fmt::{Debug, Display, Formatter, Result as FmtResult};
use thumbformer::format::{Dtype, FormatError, InputWidth, Layout, NUMERICS, Tensor, TensorKind, VERSION};
use thumbformer::{Activation, Config, Model, NormKind, Positions};

/// All that `thumbformer inspect` tells.
#[derive(Debug, Serialize)]
pub struct Inspection {
    version: u16,
    numerics: u16,
    metadata: Vec<(String, String)>,
    #[serde(with = "Shape")]
    config: Config,
    frac: u8,
    parameters: usize,
    /// The names of a classifier's classes.
    labels: Vec<String>,
    /// Bytes of the file.
    pub(crate) bytes: usize,
    pub(crate) tensors: Vec<TensorRow>,
    pub(crate) tokenizer_bytes: usize,
    /// Bytes of a session.
    pub(crate) workspace: usize,
    pub(crate) workspace_parts: Vec<(&'static str, usize)>,
    boards: Vec<Fit>,
}

/// How the configuration is written: by the names of a run's config.toml.
#[derive(Serialize)]
#[serde(remote = "Config")]
struct Shape {
    dim: usize,
    hidden_dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    vocab_size: usize,
    seq_len: usize,
    #[serde(with = "NormName")]
    norm: NormKind,
    #[serde(with = "ActivationName")]
    activation: Activation,
    gated: bool,
    #[serde(with = "PositionsName")]
    positions: Positions,
    tied: bool,
    biases: bool,
    n_classes: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct TensorRow {
    pub(crate) name: String,
    shape: [usize; 2],
    dtype: String,
    /// Bits of the vectors that the matrix multiplies.
    input_bits: Option<u8>,
    /// Bytes in the file; 0 for a tied head.
    pub(crate) bytes: usize,
    /// Share of the file.
    share: f64,
}

#[derive(Debug, Serialize)]
struct Fit {
    board: String,
    core: String,
    fits: bool,
    /// Whether the matrices lie in the order that is fastest there.
    packed: bool,
    /// Bytes of flash: the model and a program around it.
    flash_needed: u64,
    flash: u64,
    /// Bytes of RAM: the workspace and a program's stack and variables.
    ram_needed: u64,
    ram: u64,
}

impl Inspection {
    /// Looks at a model.
    pub fn new(model: &Model<'_>) -> Result<Self, FormatError> {
        let header = model.header();
        let config = &header.config;
        let bytes = model.file().len();
        let tensors: Vec<Tensor> =
            (0..config.n_tensors()).map(|i| model.tensor(i)).collect::<Result<_, _>>()?;
        let plan = model.plan();
        let workspace_parts = vec![
            ("KV cache", plan.cache_bytes()),
            ("scratch (activations, scores, logits)", 4 * plan.scratch),
            ("residual stream", 4 * plan.hidden),
            ("vectors and weights", 4 * plan.operand + 2 * (plan.vector + plan.weights)),
            ("token history", 2 * plan.history),
        ];
        Ok(Self {
            version: VERSION,
            numerics: NUMERICS,
            labels: model.labels().map(str::to_owned).collect(),
            metadata: model
                .metadata()
                .lines()
                .filter_map(|line| line.split_once(" = "))
                .filter(|(key, _)| *key != "label")
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            config: *config,
            frac: header.frac,
            parameters: tensors.iter().map(|t| parameters(config, t)).sum(),
            bytes,
            tensors: tensors.iter().map(|t| row(config, t, bytes)).collect(),
            tokenizer_bytes: header.tokenizer.len,
            workspace: plan.bytes(),
            workspace_parts,
            boards: boards::all().iter().map(|board| fit(board, model)).collect(),
        })
    }
}

/// A variant in a sentence.
fn word(variant: impl Debug) -> String {
    format!("{variant:?}").to_lowercase()
}

/// Whether the tensor's data are those of the embedding.
fn is_shared(config: &Config, tensor: &Tensor) -> bool {
    tensor.spec.kind == TensorKind::Head && config.tied
}

/// Trained numbers: the rotary table is none, a tied head has none of its own.
fn parameters(config: &Config, tensor: &Tensor) -> usize {
    if tensor.spec.kind == TensorKind::RopeTable || is_shared(config, tensor) {
        return 0;
    }
    let bias = tensor.bias_len() / 4;
    bias + if tensor.dtype == Dtype::Folded { 0 } else { tensor.spec.rows * tensor.spec.cols }
}

fn row(config: &Config, tensor: &Tensor, file: usize) -> TensorRow {
    let spec = tensor.spec;
    let in_block = spec.kind.is_block_part();
    let data = if is_shared(config, tensor) { 0 } else { tensor.data_len() + tensor.scales_len() };
    let bytes = data + tensor.bias_len();
    TensorRow {
        name: if in_block { format!("{}.{:?}", spec.layer, spec.kind) } else { format!("{:?}", spec.kind) },
        shape: [spec.rows, spec.cols],
        dtype: match tensor.dtype {
            Dtype::Folded => "folded",
            Dtype::I8 | Dtype::I4 if is_shared(config, tensor) => "(embedding)",
            Dtype::I8 => match tensor.layout {
                Layout::Rows => "int8 rows",
                Layout::Bytes => "int8 bytes",
                Layout::Halves => "int8 halves",
                Layout::Nibbles => "int8",
            },
            Dtype::I4 => "int4",
            Dtype::I16 => "int16",
        }
        .to_owned(),
        input_bits: spec.kind.is_matrix().then_some(match tensor.input {
            InputWidth::A8 => 8,
            InputWidth::A16 => 16,
        }),
        bytes,
        share: bytes as f64 / file as f64,
    }
}

fn fit(board: &Board, model: &Model<'_>) -> Fit {
    let packed = Target::of(board).is_some_and(|target| target.packed(model));
    fit_bytes(board, packed, model.file().len() as u64, model.workspace_len() as u64)
}

/// Where a model file and a workspace of so many bytes fit.
fn fit_bytes(board: &Board, packed: bool, file: u64, workspace: u64) -> Fit {
    let (flash_needed, ram_needed) = (file + PROGRAM_FLASH, workspace + PROGRAM_RAM);
    let (flash, ram) = (board.flash.len(), board.ram.len());
    Fit {
        board: board.name.clone(),
        core: board.core.clone(),
        fits: flash_needed <= flash && ram_needed <= ram,
        packed,
        flash_needed,
        flash,
        ram_needed,
        ram,
    }
}

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let c = &self.config;
        writeln!(f, "format {}, numerics {}, {} bytes", self.version, self.numerics, self.bytes)?;
        for (key, value) in &self.metadata {
            writeln!(f, "{key}: {value}")?;
        }
        writeln!(
            f,
            "{} parameters: dim {}, hidden {}, {} blocks, {} heads ({} KV), vocabulary {}, context {}",
            self.parameters,
            c.dim,
            c.hidden_dim,
            c.n_layers,
            c.n_heads,
            c.n_kv_heads,
            c.vocab_size,
            c.seq_len
        )?;
        writeln!(
            f,
            "{} norm, {}{} MLP, {} positions, {} head, {} fraction bits\n",
            word(c.norm),
            if c.gated { "gated " } else { "" },
            word(c.activation),
            word(c.positions),
            match (c.n_classes, c.tied) {
                (0, true) => "tied".to_owned(),
                (0, false) => "separate".to_owned(),
                (n, _) => format!("{n}-class"),
            },
            self.frac
        )?;
        if !self.labels.is_empty() {
            writeln!(f, "classes: {}\n", self.labels.join(", "))?;
        }
        writeln!(
            f,
            "{:<20} {:>12} {:<12} {:>5} {:>8} {:>6}",
            "tensor", "shape", "type", "input", "bytes", "share"
        )?;
        for t in &self.tensors {
            let shape = format!("{}x{}", t.shape[0], t.shape[1]);
            let input = t.input_bits.map_or(String::new(), |bits| format!("a{bits}"));
            writeln!(
                f,
                "{:<20} {shape:>12} {:<12} {input:>5} {:>8} {:>5.1}%",
                t.name,
                t.dtype,
                t.bytes,
                100.0 * t.share
            )?;
        }
        let share = 100.0 * self.tokenizer_bytes as f64 / self.bytes as f64;
        writeln!(
            f,
            "{:<20} {:>12} {:<12} {:>5} {:>8} {share:>5.1}%\n",
            "Tokenizer", "", "", "", self.tokenizer_bytes
        )?;
        writeln!(f, "workspace: {} bytes", self.workspace)?;
        for (name, bytes) in &self.workspace_parts {
            writeln!(f, "  {bytes:>8}  {name}")?;
        }
        writeln!(
            f,
            "\nfits, with {} KiB of flash and {} KiB of RAM for the program:",
            PROGRAM_FLASH / 1024,
            PROGRAM_RAM / 1024
        )?;
        for fit in &self.boards {
            let verdict = match (fit.flash_needed <= fit.flash, fit.ram_needed <= fit.ram) {
                (true, true) if fit.packed => "yes".to_owned(),
                (true, true) => "yes, but packed for another core: slower".to_owned(),
                (false, true) => format!("no: {} of {} bytes of flash", fit.flash_needed, fit.flash),
                (true, false) => format!("no: {} of {} bytes of RAM", fit.ram_needed, fit.ram),
                (false, false) => "no: neither flash nor RAM".to_owned(),
            };
            writeln!(f, "  {:<14} {:<12} {verdict}", fit.board, fit.core)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// stories260K in int4 with a context of 24, which the microbit runs; more flash or RAM there is not.
    #[test]
    fn the_microbit_has_room_for_what_it_was_seen_to_run() {
        let microbit = boards::find("microbit").unwrap();
        let fits = |file, workspace| fit_bytes(microbit, true, file, workspace).fits;
        assert!(fits(163_500, 12_176));
        assert!(!fits(microbit.flash.len(), 12_176));
        assert!(!fits(163_500, microbit.ram.len() - 3_148));
    }
}
