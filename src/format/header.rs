//! The header: version, configuration, and where everything else is.

use super::{
    Activation, Config, FormatError, MAGIC, NUMERICS, NormKind, Positions, Tensor, TensorKind, TensorSpec,
    VERSION, read_u16, read_u32,
};

/// Where the fields of the header are, in bytes from the start of the file.
pub mod field {
    crate::format::fields! {
        /// `THMB`.
        MAGIC: "4 bytes" = 0..4;
        /// Version of the layout of the file.
        VERSION: "u16" = 4..6;
        /// Version of the arithmetic.
        NUMERICS: "u16" = 6..8;
        /// Features that a reader must know, a bit each. Bit 0: the head tells classes apart.
        FEATURES: "u32" = 8..12;
        /// Bytes of the whole file.
        FILE_LEN: "u32" = 12..16;
        /// CRC-32 of all bytes behind this field.
        CRC: "u32" = 16..20;
        /// Width of the residual stream.
        DIM: "u32" = 20..24;
        /// Width of the MLP.
        HIDDEN_DIM: "u32" = 24..28;
        /// Number of transformer blocks.
        N_LAYERS: "u32" = 28..32;
        /// Number of query heads.
        N_HEADS: "u32" = 32..36;
        /// Number of key and value heads.
        N_KV_HEADS: "u32" = 36..40;
        /// Number of tokens in the vocabulary.
        VOCAB_SIZE: "u32" = 40..44;
        /// Number of positions in the context window.
        SEQ_LEN: "u32" = 44..48;
        /// 0: RMSNorm, 1: LayerNorm, 2: BatchNorm.
        NORM: "u8" = 48..49;
        /// 0: SiLU, 1: GELU, 2: GELU (tanh form), 3: ReLU, 4: ReLU squared.
        ACTIVATION: "u8" = 49..50;
        /// 1 where the MLP is `w2(act(w1 x) * w3 x)`, 0 where it is `w2(act(w1 x))`.
        GATED: "u8" = 50..51;
        /// 0: rotary, 1: learned.
        POSITIONS: "u8" = 51..52;
        /// 1 where the head's weights are those of the embedding. For information: the
        /// head's entry says where they are.
        TIED: "u8" = 52..53;
        /// 1 where the linear layers were trained with biases. For information: each entry says
        /// whether it has some.
        BIASES: "u8" = 53..54;
        /// Fraction bits of the residual stream, of all outputs of matrices and of the logits.
        FRAC: "u8" = 54..55;
        /// Mantissa of the norms' epsilon, which is `mantissa * 2^exponent`.
        EPSILON_MANTISSA: "u32" = 56..60;
        /// Its exponent.
        EPSILON_EXPONENT: "i32" = 60..64;
        /// Entries of the tensor directory.
        N_TENSORS: "u32" = 64..68;
        /// Offset of the tensor directory.
        DIRECTORY: "u32" = 68..72;
        /// Offset and bytes of the tokenizer section.
        TOKENIZER: "u32, u32" = 72..80;
        /// Offset and bytes of the metadata.
        METADATA: "u32, u32" = 80..88;
        /// Number of classes; 0 where feature bit 0 is not set.
        N_CLASSES: "u32" = 88..92;
    }
}

/// Bytes of the header.
pub const LEN: usize = 96;

/// The feature bit of a classifier.
pub const CLASSIFIER: u32 = 1;

/// The fraction bits that a residual stream may have.
pub const FRAC: core::ops::RangeInclusive<u8> = 4..=24;

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Bytes from the start of the file.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
}

/// The header of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The shape of the model.
    pub config: Config,
    /// Fraction bits of the residual stream, of all matrix outputs and of the logits.
    pub frac: u8,
    /// The norms' epsilon is `epsilon.0 * 2^epsilon.1`.
    pub epsilon: (u32, i32),
    /// Bytes of the whole file.
    pub file_len: usize,
    /// CRC-32 of all bytes behind the field.
    pub crc: u32,
    /// Offset of the tensor directory.
    pub directory: usize,
    /// The tokenizer.
    pub tokenizer: Section,
    /// Name, licence, source: UTF-8, a line `key = value` each.
    pub metadata: Section,
}

const fn u32_at(file: &[u8], at: core::ops::Range<usize>) -> u32 {
    match read_u32(file, at.start) {
        Some(v) => v,
        None => 0,
    }
}

const fn usize_at(file: &[u8], at: core::ops::Range<usize>) -> usize {
    u32_at(file, at) as usize
}

const fn u8_at(file: &[u8], at: core::ops::Range<usize>) -> u8 {
    if at.start < file.len() { file[at.start] } else { 0 }
}

const fn section(file: &[u8], at: core::ops::Range<usize>) -> Result<Section, FormatError> {
    let offset = usize_at(file, at.start..at.start + 4);
    let len = usize_at(file, at.start + 4..at.end);
    if offset > file.len() || len > file.len() - offset {
        return Err(FormatError::Truncated { need: offset.saturating_add(len), have: file.len() });
    }
    if !offset.is_multiple_of(super::ALIGN) {
        return Err(FormatError::Misaligned);
    }
    Ok(Section { offset, len })
}

impl Header {
    /// Reads and checks the header and the whole tensor directory. The checksum is not computed.
    ///
    /// # Errors
    /// A [`FormatError`] that names the first thing that is wrong. Any bytes are safe to give.
    pub const fn read(file: &[u8]) -> Result<Self, FormatError> {
        macro_rules! ok {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(e) => return Err(e),
                }
            };
        }
        macro_rules! variant {
            ($field:literal, $at:expr, $($value:literal => $variant:expr),+) => {
                match u8_at(file, $at) {
                    $($value => $variant,)+
                    found => return Err(FormatError::BadConfig { field: $field, found: found as usize }),
                }
            };
        }
        if file.len() >= MAGIC.len() {
            let found = [file[0], file[1], file[2], file[3]];
            if u32::from_le_bytes(found) != u32::from_le_bytes(MAGIC) {
                return Err(FormatError::BadMagic { found });
            }
        }
        if file.len() < LEN {
            return Err(FormatError::Truncated { need: LEN, have: file.len() });
        }
        match read_u16(file, field::VERSION.start) {
            Some(VERSION) => {}
            Some(found) => return Err(FormatError::UnsupportedVersion { found, wanted: VERSION }),
            None => return Err(FormatError::Truncated { need: LEN, have: file.len() }),
        }
        match read_u16(file, field::NUMERICS.start) {
            Some(NUMERICS) => {}
            Some(found) => return Err(FormatError::UnsupportedNumerics { found, wanted: NUMERICS }),
            None => return Err(FormatError::Truncated { need: LEN, have: file.len() }),
        }
        let bits = u32_at(file, field::FEATURES);
        if bits & !CLASSIFIER != 0 {
            return Err(FormatError::UnsupportedFeatures { bits: bits & !CLASSIFIER });
        }
        let file_len = usize_at(file, field::FILE_LEN);
        if file.len() < file_len {
            return Err(FormatError::Truncated { need: file_len, have: file.len() });
        }
        if file.len() > file_len {
            return Err(FormatError::TrailingBytes { expected: file_len, have: file.len() });
        }
        let config = Config {
            dim: usize_at(file, field::DIM),
            hidden_dim: usize_at(file, field::HIDDEN_DIM),
            n_layers: usize_at(file, field::N_LAYERS),
            n_heads: usize_at(file, field::N_HEADS),
            n_kv_heads: usize_at(file, field::N_KV_HEADS),
            vocab_size: usize_at(file, field::VOCAB_SIZE),
            seq_len: usize_at(file, field::SEQ_LEN),
            norm: variant!("norm", field::NORM, 0 => NormKind::Rms, 1 => NormKind::Layer,
                2 => NormKind::Batch),
            activation: variant!("activation", field::ACTIVATION, 0 => Activation::Silu,
                1 => Activation::Gelu, 2 => Activation::GeluTanh, 3 => Activation::Relu,
                4 => Activation::ReluSquared),
            gated: variant!("gated", field::GATED, 0 => false, 1 => true),
            positions: variant!("positions", field::POSITIONS, 0 => Positions::Rope, 1 => Positions::Learned),
            tied: variant!("tied", field::TIED, 0 => false, 1 => true),
            biases: variant!("biases", field::BIASES, 0 => false, 1 => true),
            n_classes: usize_at(file, field::N_CLASSES),
        };
        if (bits & CLASSIFIER != 0) != (config.n_classes > 0) {
            return Err(FormatError::BadConfig { field: "n_classes", found: config.n_classes });
        }
        ok!(config.check());
        let frac = u8_at(file, field::FRAC);
        if frac < *FRAC.start() || frac > *FRAC.end() {
            return Err(FormatError::BadConfig { field: "frac", found: frac as usize });
        }
        let epsilon = (u32_at(file, field::EPSILON_MANTISSA), u32_at(file, field::EPSILON_EXPONENT) as i32);
        if epsilon.0 >= 1 << 24 || epsilon.1 < -200 || epsilon.1 > 0 {
            return Err(FormatError::BadConfig { field: "epsilon", found: epsilon.0 as usize });
        }
        let n_tensors = usize_at(file, field::N_TENSORS);
        if n_tensors != config.n_tensors() {
            return Err(FormatError::BadConfig { field: "n_tensors", found: n_tensors });
        }
        let directory = usize_at(file, field::DIRECTORY);
        if !directory.is_multiple_of(super::ALIGN) || directory > file.len() {
            return Err(FormatError::BadConfig { field: "directory", found: directory });
        }
        let header = Self {
            config,
            frac,
            epsilon,
            file_len,
            crc: u32_at(file, field::CRC),
            directory,
            tokenizer: ok!(section(file, field::TOKENIZER)),
            metadata: ok!(section(file, field::METADATA)),
        };
        let mut i = 0;
        while i < n_tensors {
            let tensor = ok!(header.tensor(file, i));
            let TensorSpec { kind, layer, .. } = tensor.spec;
            let first = ok!(header.tensor(file, config.index_of(kind.first_reader(), layer)));
            if tensor.input as u8 != first.input as u8 {
                return Err(FormatError::BadTensor { kind, layer: layer as u8, field: "input width" });
            }
            if tensor.layout as u8 != first.layout as u8 {
                return Err(FormatError::BadTensor { kind, layer: layer as u8, field: "layout" });
            }
            i += 1;
        }
        Ok(header)
    }

    /// Entry `index` of the tensor directory of `file`, to which this header belongs.
    pub(crate) const fn tensor(&self, file: &[u8], index: usize) -> Result<Tensor, FormatError> {
        Tensor::read(file, self.directory + index * Tensor::ENTRY, self.config.tensor(index))
    }

    /// The entry of a tensor in the directory, which was checked when the header was read.
    #[inline(always)]
    pub(crate) const fn find(&self, file: &[u8], kind: TensorKind, layer: usize) -> Option<Tensor> {
        let at = self.directory + self.config.index_of(kind, layer) * Tensor::ENTRY;
        Tensor::find(file, at, kind, layer)
    }

    /// Writes the header to the first [`LEN`] bytes of `file`.
    pub(crate) fn emit(&self, file: &mut [u8; LEN]) {
        *file = [0; LEN];
        let c = &self.config;
        file[field::MAGIC].copy_from_slice(&MAGIC);
        file[field::VERSION].copy_from_slice(&VERSION.to_le_bytes());
        file[field::NUMERICS].copy_from_slice(&NUMERICS.to_le_bytes());
        file[field::NORM.start] = c.norm as u8;
        file[field::ACTIVATION.start] = c.activation as u8;
        file[field::GATED.start] = c.gated as u8;
        file[field::POSITIONS.start] = c.positions as u8;
        file[field::TIED.start] = c.tied as u8;
        file[field::BIASES.start] = c.biases as u8;
        file[field::FRAC.start] = self.frac;
        let mut word = |at: core::ops::Range<usize>, v: usize| {
            file[at.start..at.start + 4].copy_from_slice(&(v as u32).to_le_bytes());
        };
        word(field::FEATURES, if c.n_classes > 0 { CLASSIFIER as usize } else { 0 });
        word(field::N_CLASSES, c.n_classes);
        word(field::FILE_LEN, self.file_len);
        word(field::CRC, self.crc as usize);
        word(field::DIM, c.dim);
        word(field::HIDDEN_DIM, c.hidden_dim);
        word(field::N_LAYERS, c.n_layers);
        word(field::N_HEADS, c.n_heads);
        word(field::N_KV_HEADS, c.n_kv_heads);
        word(field::VOCAB_SIZE, c.vocab_size);
        word(field::SEQ_LEN, c.seq_len);
        word(field::EPSILON_MANTISSA, self.epsilon.0 as usize);
        word(field::EPSILON_EXPONENT, self.epsilon.1 as u32 as usize);
        word(field::N_TENSORS, c.n_tensors());
        word(field::DIRECTORY, self.directory);
        for (at, section) in [(field::TOKENIZER, self.tokenizer), (field::METADATA, self.metadata)] {
            word(at.start..at.end, section.offset);
            word(at.start + 4..at.end, section.len);
        }
    }
}
