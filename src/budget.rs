//! Budgets of [`include_model!`](crate::include_model), checked while rustc runs, and what it says where one is exceeded.

use crate::format::TensorKind;
use crate::model::Model;

/// Bytes that a model may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    ram: Option<usize>,
    flash: Option<usize>,
}

/// What takes bytes, and how many.
type Part = (&'static str, usize);

impl Budget {
    /// No limits.
    pub const NONE: Self = Self { ram: None, flash: None };

    /// Limits the workspace.
    #[track_caller]
    pub const fn max_ram(self, bytes: usize) -> Self {
        assert!(self.ram.is_none(), "max_ram is given twice");
        Self { ram: Some(bytes), ..self }
    }

    /// Limits the model file.
    #[track_caller]
    pub const fn max_flash(self, bytes: usize) -> Self {
        assert!(self.flash.is_none(), "max_flash is given twice");
        Self { flash: Some(bytes), ..self }
    }

    /// What to say where the model takes more.
    pub const fn exceeded(&self, model: &Model<'_>) -> Option<Message> {
        let (ram, flash) = (model.workspace_len(), model.file().len());
        match (self.ram, self.flash) {
            (Some(budget), _) if ram > budget => {
                Some(Message::new("max_ram: the workspace", ram, budget, largest(&ram_parts(model))))
            }
            (_, Some(budget)) if flash > budget => {
                Some(Message::new("max_flash: the model", flash, budget, largest(&flash_parts(model))))
            }
            _ => None,
        }
    }
}

/// All of the workspace.
const fn ram_parts(model: &Model<'_>) -> [Part; 6] {
    let plan = model.plan();
    [
        ("keys and values (seq_len)", plan.cache_bytes()),
        ("outputs of matrices (vocab_size, dim, hidden_dim)", 4 * plan.scratch),
        ("inputs of matrices (dim, hidden_dim)", 4 * plan.operand + 2 * plan.vector),
        ("softmax weights (seq_len)", 2 * plan.weights),
        ("residual stream (dim)", 4 * plan.hidden),
        ("tokens in the window (seq_len)", 2 * plan.history),
    ]
}

/// All of the file but header, directory, metadata, norms and gaps.
const fn flash_parts(model: &Model<'_>) -> [Part; 6] {
    let (mut embedding, mut positions, mut attention, mut mlp, mut head) = (0, 0, 0, 0, 0);
    let (mut index, mut embedded) = (0, 0);
    while let Ok(tensor) = model.tensor(index) {
        let weights = tensor.data_len() + tensor.scales_len();
        match tensor.spec.kind {
            TensorKind::Embedding => {
                embedding += weights;
                embedded = tensor.data;
            }
            TensorKind::RopeTable | TensorKind::PositionEmbedding => positions += weights,
            TensorKind::Wq | TensorKind::Wk | TensorKind::Wv | TensorKind::Wo => {
                attention += weights + tensor.bias_len();
            }
            TensorKind::W1 | TensorKind::W2 | TensorKind::W3 => mlp += weights + tensor.bias_len(),
            // Tied weights are in the file once.
            TensorKind::Head if tensor.data == embedded => head += tensor.bias_len(),
            TensorKind::Head => head += weights + tensor.bias_len(),
            TensorKind::AttentionNorm | TensorKind::MlpNorm | TensorKind::FinalNorm => {}
        }
        index += 1;
    }
    [
        ("embedding", embedding),
        ("table of positions", positions),
        ("attention's matrices", attention),
        ("MLPs' matrices", mlp),
        ("head", head),
        ("tokenizer", model.header().tokenizer.len),
    ]
}

const fn largest(parts: &[Part]) -> Part {
    let (mut largest, mut index) = (parts[0], 1);
    while index < parts.len() {
        if parts[index].1 > largest.1 {
            largest = parts[index];
        }
        index += 1;
    }
    largest
}

/// A text that is put together while rustc runs.
#[derive(Debug)]
pub struct Message {
    bytes: [u8; 192],
    len: usize,
}

impl Message {
    const fn new(what: &str, need: usize, budget: usize, largest: Part) -> Self {
        Self { bytes: [0; 192], len: 0 }
            .text(what)
            .text(" needs ")
            .number(need)
            .text(" bytes, the budget is ")
            .number(budget)
            .text("; the largest part: ")
            .text(largest.0)
            .text(", ")
            .number(largest.1)
            .text(" bytes")
    }

    const fn text(mut self, text: &str) -> Self {
        let (text, mut index) = (text.as_bytes(), 0);
        while index < text.len() {
            self.bytes[self.len] = text[index];
            self.len += 1;
            index += 1;
        }
        self
    }

    const fn number(mut self, number: usize) -> Self {
        if number >= 10 {
            self = self.number(number / 10);
        }
        self.bytes[self.len] = b'0' + (number % 10) as u8;
        self.len += 1;
        self
    }

    /// The text.
    pub const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}
