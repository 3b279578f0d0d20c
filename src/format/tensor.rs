//! The tensor directory: what a model consists of, in which order, of which type and shape.

use core::ops::Range;

use super::{Config, FormatError, Positions, align, nibbles, nibbles::Nibble};

/// What a tensor is for. Matrices are `[rows = outputs, columns = inputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum TensorKind {
    /// Token embedding `[vocab_size, dim]`.
    Embedding = 0,
    /// Rotary table `[seq_len, head_dim]`: cosine and sine of each pair, Q14.
    RopeTable = 1,
    /// Learned positions `[seq_len, dim]`.
    PositionEmbedding = 2,
    /// Gain of the norm before attention `[1, dim]`.
    AttentionNorm = 3,
    /// Queries `[dim, dim]`; the rows carry the factor log2(e) / sqrt(head_dim) of the attention scores.
    Wq = 4,
    /// Keys `[kv_dim, dim]`.
    Wk = 5,
    /// Values `[kv_dim, dim]`.
    Wv = 6,
    /// Output of attention `[dim, dim]`.
    Wo = 7,
    /// Gain of the norm before the MLP `[1, dim]`.
    MlpNorm = 8,
    /// Gate (or only input) of the MLP `[hidden_dim, dim]`.
    W1 = 9,
    /// Output of the MLP `[dim, hidden_dim]`.
    W2 = 10,
    /// Second input of a gated MLP `[hidden_dim, dim]`.
    W3 = 11,
    /// Gain of the norm before the head `[1, dim]`.
    FinalNorm = 12,
    /// Head `[vocab_size, dim]`, of a classifier `[n_classes, dim]`; where the config says `tied`, its weights are those of the embedding.
    Head = 13,
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Dtype {
    /// No data: a norm whose gain is folded into the matrices that read it.
    Folded = 0,
    /// int8 weights with a scale per row, a positive int16 times `2^exponent`.
    I8 = 1,
    /// int16 values times `2^exponent`.
    I16 = 2,
    /// int4 weights with a scale per row as for int8, and a factor of 0 to 15 for each [group](nibbles) of columns:
    /// `weight * factor` is what int8 has as a weight.
    I4 = 3,
}

/// The order of a matrix in memory. The numbers of a matrix are the same in each, and every machine computes the same
/// with each; a kernel is fastest with its own.
///
/// Tiles are 4 rows by 4 columns, a row of a tile after the other, 16 bytes; the tiles of four rows follow each other
/// over all columns, then those of the next four rows. Rows and columns are padded to multiples of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Layout {
    /// Row after row, each padded with zeros to a multiple of four elements.
    Rows = 0,
    /// Tiles of bytes `weight + 128`, for cores that multiply unsigned bytes best: Cortex-M0, M3, RV32.
    Bytes = 1,
    /// Tiles in which even columns are `weight + 128` and odd columns signed, for the DSP extension: pairs of bytes
    /// are the numbers `256 * odd + (even + 128)`.
    Halves = 2,
    /// Tiles of [`nibbles`], the layout of int4.
    Nibbles = 3,
}

impl Layout {
    /// Bytes of a matrix.
    pub const fn len(self, rows: usize, cols: usize) -> usize {
        match self {
            Self::Rows => rows * align(cols),
            Self::Bytes | Self::Halves => align(rows) * align(cols),
            Self::Nibbles => nibbles::len(rows, cols),
        }
    }

    /// The place of an int8 element of a matrix with so many columns; a [`Nibble`] knows its own.
    pub const fn place(self, cols: usize, row: usize, column: usize) -> usize {
        match self {
            Self::Rows | Self::Nibbles => row * align(cols) + column,
            Self::Bytes | Self::Halves => {
                row / 4 * 4 * align(cols) + column / 4 * 16 + row % 4 * 4 + column % 4
            }
        }
    }

    /// What is added to a weight in this column, modulo 256.
    const fn offset(self, column: usize) -> u8 {
        match self {
            Self::Bytes => 128,
            Self::Halves if column.is_multiple_of(2) => 128,
            Self::Rows | Self::Halves | Self::Nibbles => 0,
        }
    }

    /// The weight that a byte in this column stands for.
    pub const fn decode(self, byte: u8, column: usize) -> i8 {
        byte.wrapping_sub(self.offset(column)) as i8
    }

    /// The byte that stands for a weight in this column.
    pub const fn encode(self, weight: i8, column: usize) -> u8 {
        (weight as u8).wrapping_add(self.offset(column))
    }
}

/// How many bits the input vector of a matrix has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum InputWidth {
    /// At most 127 in magnitude, with a real scale.
    A8 = 8,
    /// At most 14 bits of magnitude, with a power-of-two scale.
    A16 = 16,
}

/// What the configuration asks for at one place of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSpec {
    /// What the tensor is for.
    pub kind: TensorKind,
    /// Its block; 0 for tensors outside of the blocks.
    pub layer: usize,
    /// Rows: outputs of a matrix.
    pub rows: usize,
    /// Columns: inputs of a matrix.
    pub cols: usize,
}

impl TensorKind {
    /// Whether the tensor is a gain of a norm.
    pub const fn is_norm(self) -> bool {
        matches!(self, Self::AttentionNorm | Self::MlpNorm | Self::FinalNorm)
    }

    /// Whether every block has its own.
    pub const fn is_block_part(self) -> bool {
        (self as u8) >= Self::AttentionNorm as u8 && (self as u8) <= Self::W3 as u8
    }

    /// The first of the matrices that read the same vector, and so have inputs of one width and one layout.
    pub const fn first_reader(self) -> Self {
        match self {
            Self::Wq | Self::Wk | Self::Wv => Self::Wq,
            Self::W1 | Self::W3 => Self::W1,
            other => other,
        }
    }

    /// Whether a vector is multiplied by the tensor.
    pub const fn is_matrix(self) -> bool {
        !self.is_norm() && !matches!(self, Self::Embedding | Self::RopeTable | Self::PositionEmbedding)
    }
}

impl Config {
    /// The tensors of a block, in the order of the directory; a plain MLP has no `W3`.
    const BLOCK: [TensorKind; 9] = [
        TensorKind::AttentionNorm,
        TensorKind::Wq,
        TensorKind::Wk,
        TensorKind::Wv,
        TensorKind::Wo,
        TensorKind::MlpNorm,
        TensorKind::W1,
        TensorKind::W2,
        TensorKind::W3,
    ];

    const fn tensors_per_block(&self) -> usize {
        Self::BLOCK.len() - !self.gated as usize
    }

    /// The number of tensors in the directory.
    pub const fn n_tensors(&self) -> usize {
        4 + self.n_layers * self.tensors_per_block()
    }

    /// The tensor at place `index` of the directory, `index < n_tensors()`: embedding, positions, the
    /// blocks, the final norm, the head.
    pub const fn tensor(&self, index: usize) -> TensorSpec {
        let blocks = self.n_layers * self.tensors_per_block();
        let (kind, layer) = match index {
            0 => (TensorKind::Embedding, 0),
            1 => match self.positions {
                Positions::Rope => (TensorKind::RopeTable, 0),
                Positions::Learned => (TensorKind::PositionEmbedding, 0),
            },
            i if i < 2 + blocks => {
                let i = i - 2;
                (Self::BLOCK[i % self.tensors_per_block()], i / self.tensors_per_block())
            }
            i if i == 2 + blocks => (TensorKind::FinalNorm, 0),
            _ => (TensorKind::Head, 0),
        };
        self.spec(kind, layer)
    }

    /// The tensor of a kind in a block (0 outside of the blocks).
    pub const fn spec(&self, kind: TensorKind, layer: usize) -> TensorSpec {
        let (rows, cols) = match kind {
            TensorKind::Embedding => (self.vocab_size, self.dim),
            TensorKind::Head => (self.n_outputs(), self.dim),
            TensorKind::RopeTable => (self.seq_len, self.head_dim()),
            TensorKind::PositionEmbedding => (self.seq_len, self.dim),
            TensorKind::AttentionNorm | TensorKind::MlpNorm | TensorKind::FinalNorm => (1, self.dim),
            TensorKind::Wq | TensorKind::Wo => (self.dim, self.dim),
            TensorKind::Wk | TensorKind::Wv => (self.kv_dim(), self.dim),
            TensorKind::W1 | TensorKind::W3 => (self.hidden_dim, self.dim),
            TensorKind::W2 => (self.dim, self.hidden_dim),
        };
        TensorSpec { kind, layer, rows, cols }
    }

    /// The place of a tensor in the directory.
    pub const fn index_of(&self, kind: TensorKind, layer: usize) -> usize {
        let end = 2 + self.n_layers * self.tensors_per_block();
        let k = kind as usize;
        match kind {
            TensorKind::Embedding => 0,
            TensorKind::RopeTable | TensorKind::PositionEmbedding => 1,
            TensorKind::FinalNorm => end,
            TensorKind::Head => end + 1,
            _ => 2 + layer * self.tensors_per_block() + k - TensorKind::AttentionNorm as usize,
        }
    }

    /// All tensors in the order of the directory.
    pub fn tensors(&self) -> impl Iterator<Item = TensorSpec> {
        let config = *self;
        (0..config.n_tensors()).map(move |i| config.tensor(i))
    }
}

/// An entry of the directory: where a tensor lies and how to read it. Offsets are from the start of the
/// file; 0 means that the part does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// What it is, and its shape.
    pub spec: TensorSpec,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Their order.
    pub layout: Layout,
    /// The width of the input vector, for matrices.
    pub input: InputWidth,
    /// The power of two that the values (I16) or row scales (I8, I4) are relative to.
    pub exponent: i8,
    /// Where the elements are.
    pub data: usize,
    /// Where the int16 row scales are.
    pub scales: usize,
    /// Where the i32 biases are, in units of the residual stream.
    pub bias: usize,
}

/// Where the fields of a directory entry are.
pub(super) mod field {
    crate::format::fields! {
        /// What the tensor is for, see below.
        KIND: "u8" = 0..1;
        /// Its block; 0 for tensors outside of the blocks.
        LAYER: "u8" = 1..2;
        /// 0: no data (a gain that is folded), 1: int8 with a scale per row, 2: int16, 3: int4 with factors and a scale per row.
        DTYPE: "u8" = 2..3;
        /// 0: rows, 1: tiles of bytes, 2: tiles of halves, 3: tiles of nibbles, see below; the same for all that read one vector.
        LAYOUT: "u8" = 3..4;
        /// Bits of the elements that a matrix reads: 8 or 16; the same for all that read one vector.
        INPUT: "u8" = 4..5;
        /// The power of two that values or row scales are relative to.
        EXPONENT: "i8" = 5..6;
        /// Rows: outputs of a matrix.
        ROWS: "u32" = 8..12;
        /// Columns: inputs of a matrix.
        COLS: "u32" = 12..16;
        /// Offset of the elements.
        DATA: "u32" = 16..20;
        /// Offset of the row scales, int16 each, positive.
        SCALES: "u32" = 20..24;
        /// Offset of the biases, i32 each with `frac` fraction bits; 0 where there are none.
        BIAS: "u32" = 24..28;
    }
}

impl Tensor {
    /// Bytes of a directory entry.
    pub const ENTRY: usize = 32;

    /// Bytes of the elements.
    pub const fn data_len(&self) -> usize {
        match self.dtype {
            Dtype::Folded => 0,
            Dtype::I8 | Dtype::I4 => self.layout.len(self.spec.rows, self.spec.cols),
            Dtype::I16 => self.spec.rows * self.spec.cols * 2,
        }
    }

    /// Bytes of the row scales.
    pub const fn scales_len(&self) -> usize {
        match self.dtype {
            Dtype::I8 | Dtype::I4 => self.spec.rows * 2,
            Dtype::Folded | Dtype::I16 => 0,
        }
    }

    /// A weight of a matrix whose elements are `data`: int8, or int4 times the factor of its group.
    pub(crate) fn weight(&self, data: &[u8], row: usize, column: usize) -> i32 {
        let TensorSpec { rows, cols, .. } = self.spec;
        match self.dtype {
            Dtype::I4 => {
                let weight = nibbles::decode(Nibble::weight(cols, row, column).get(data));
                let group = nibbles::group(cols, column);
                i32::from(weight) * i32::from(Nibble::factor(rows, cols, row, group).get(data))
            }
            Dtype::I8 | Dtype::I16 | Dtype::Folded => {
                let byte = data.get(self.layout.place(cols, row, column)).copied().unwrap_or(0);
                i32::from(self.layout.decode(byte, column))
            }
        }
    }

    /// Bytes of the biases, if there are any.
    pub const fn bias_len(&self) -> usize {
        if self.bias == 0 { 0 } else { self.spec.rows * 4 }
    }

    /// Reads the entry at `at`, which must be the tensor that `spec` asks for and lie within the file.
    pub(crate) const fn read(file: &[u8], at: usize, spec: TensorSpec) -> Result<Self, FormatError> {
        let (kind, layer) = (spec.kind, spec.layer as u8);
        macro_rules! bad {
            ($field:literal) => {
                return Err(FormatError::BadTensor { kind, layer, field: $field })
            };
        }
        let entry = match entry(file, at) {
            Some(entry) => entry,
            None => {
                return Err(FormatError::Truncated { need: at + Self::ENTRY, have: file.len() });
            }
        };
        if entry[field::KIND.start] != kind as u8 {
            bad!("kind");
        }
        if entry[field::LAYER.start] != layer {
            bad!("block");
        }
        match entry[field::DTYPE.start] {
            0 if kind.is_norm() => {}
            1 | 3 if !kind.is_norm() && !matches!(kind, TensorKind::RopeTable) => {}
            2 if kind.is_norm() || matches!(kind, TensorKind::RopeTable) => {}
            _ => bad!("dtype"),
        }
        match (entry[field::LAYOUT.start], entry[field::DTYPE.start]) {
            (0, 0..=2) | (1 | 2, 1) | (3, 3) => {}
            _ => bad!("layout"),
        }
        if !matches!(entry[field::INPUT.start], 8 | 16) {
            bad!("input width");
        }
        if word(entry, field::ROWS) != spec.rows {
            bad!("rows");
        }
        if word(entry, field::COLS) != spec.cols {
            bad!("columns");
        }
        let tensor = Self::decode(entry, spec);
        if !inside(file, tensor.data, tensor.data_len()) {
            bad!("data");
        }
        if !inside(file, tensor.scales, tensor.scales_len()) {
            bad!("scales");
        }
        if !inside(file, tensor.bias, tensor.bias_len()) || (tensor.bias != 0 && !kind.is_matrix()) {
            bad!("bias");
        }
        Ok(tensor)
    }

    /// The entry at `at` of a directory that [`Tensor::read`] has checked, so that its shape is the one that the
    /// configuration asks for: this is what a token pays for.
    #[inline(always)]
    pub(crate) const fn find(file: &[u8], at: usize, kind: TensorKind, layer: usize) -> Option<Self> {
        match entry(file, at) {
            Some(entry) => {
                let (rows, cols) = (word(entry, field::ROWS), word(entry, field::COLS));
                Some(Self::decode(entry, TensorSpec { kind, layer, rows, cols }))
            }
            None => None,
        }
    }

    #[inline(always)]
    const fn decode(entry: &[u8; Self::ENTRY], spec: TensorSpec) -> Self {
        Self {
            spec,
            dtype: match entry[field::DTYPE.start] {
                0 => Dtype::Folded,
                1 => Dtype::I8,
                2 => Dtype::I16,
                _ => Dtype::I4,
            },
            layout: match entry[field::LAYOUT.start] {
                0 => Layout::Rows,
                1 => Layout::Bytes,
                2 => Layout::Halves,
                _ => Layout::Nibbles,
            },
            input: if entry[field::INPUT.start] == 8 { InputWidth::A8 } else { InputWidth::A16 },
            exponent: entry[field::EXPONENT.start] as i8,
            data: word(entry, field::DATA),
            scales: word(entry, field::SCALES),
            bias: word(entry, field::BIAS),
        }
    }

    /// Writes the entry.
    pub(crate) fn emit(&self, entry: &mut [u8; Self::ENTRY]) {
        *entry = [0; Self::ENTRY];
        entry[field::KIND.start] = self.spec.kind as u8;
        entry[field::LAYER.start] = self.spec.layer as u8;
        entry[field::DTYPE.start] = self.dtype as u8;
        entry[field::LAYOUT.start] = self.layout as u8;
        entry[field::INPUT.start] = self.input as u8;
        entry[field::EXPONENT.start] = self.exponent as u8;
        let mut word = |at: Range<usize>, v: usize| {
            entry[at].copy_from_slice(&(v as u32).to_le_bytes());
        };
        word(field::ROWS, self.spec.rows);
        word(field::COLS, self.spec.cols);
        word(field::DATA, self.data);
        word(field::SCALES, self.scales);
        word(field::BIAS, self.bias);
    }
}

const fn entry(file: &[u8], at: usize) -> Option<&[u8; Tensor::ENTRY]> {
    match file.split_at_checked(at) {
        Some((_, rest)) => rest.first_chunk(),
        None => None,
    }
}

const fn word(entry: &[u8; Tensor::ENTRY], at: Range<usize>) -> usize {
    let at = at.start;
    u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]) as usize
}

/// Whether `len` bytes at `at` are aligned and within the file; nothing at all is always inside.
const fn inside(file: &[u8], at: usize, len: usize) -> bool {
    len == 0 || (at.is_multiple_of(super::ALIGN) && at != 0 && at <= file.len() && len <= file.len() - at)
}
