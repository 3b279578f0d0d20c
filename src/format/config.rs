//! The shape of a model.

use super::FormatError;

/// How activations are normalised before each half of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum NormKind {
    /// Root mean square (Zhang and Sennrich 2019, section 3).
    Rms = 0,
    /// Mean and variance (Ba et al. 2016, section 3).
    Layer = 1,
    /// Statistics of batches, gathered in training (Ioffe and Szegedy 2015): in use a factor and a term for each element,
    /// which the matrices behind it contain.
    Batch = 2,
}

/// The non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Activation {
    /// `x * sigmoid(x)` (SiLU, swish).
    Silu = 0,
    /// `x * Phi(x)` with the Gaussian distribution function (Hendrycks and Gimpel 2016).
    Gelu = 1,
    /// The tanh approximation of GELU that GPT-2 uses.
    GeluTanh = 2,
    /// `max(x, 0)`.
    Relu = 3,
    /// `max(x, 0)^2` (So et al. 2021, section 3).
    ReluSquared = 4,
}

impl Activation {
    /// Whether most of what comes out may be 0.
    pub const fn is_sparse(self) -> bool {
        matches!(self, Self::Relu | Self::ReluSquared)
    }
}

/// How a model knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Positions {
    /// Rotary embedding of adjacent pairs `(2i, 2i+1)` (Su et al. 2021, section 3.4).
    Rope = 0,
    /// A learned vector per position, added to the token's embedding.
    Learned = 1,
}

/// The shape of a decoder, or of a classifier made of one. Names are those of llama2.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    /// Width of the residual stream; a multiple of `n_heads`.
    pub dim: usize,
    /// Width of the MLP.
    pub hidden_dim: usize,
    /// Number of transformer blocks.
    pub n_layers: usize,
    /// Number of query heads; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Number of key and value heads.
    pub n_kv_heads: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Number of positions in the context window.
    pub seq_len: usize,
    /// The norm before attention, MLP and head.
    pub norm: NormKind,
    /// The non-linearity of the MLP.
    pub activation: Activation,
    /// Whether the MLP is `w2(act(w1 x) * w3 x)` (SwiGLU) or `w2(act(w1 x))`.
    pub gated: bool,
    /// How positions enter.
    pub positions: Positions,
    /// Whether the head is the transposed token embedding.
    pub tied: bool,
    /// Whether linear layers (but not the head) have biases.
    pub biases: bool,
    /// Number of classes that the head tells apart, after the last token; 0 where it scores the next token instead.
    pub n_classes: usize,
}

impl Config {
    /// Width of a head.
    pub const fn head_dim(&self) -> usize {
        match self.dim.checked_div(self.n_heads) {
            Some(head_dim) => head_dim,
            None => 0,
        }
    }

    /// Width of all key (or value) heads together.
    pub const fn kv_dim(&self) -> usize {
        self.head_dim() * self.n_kv_heads
    }

    /// What the head scores: the classes of a classifier, else the tokens of the vocabulary.
    pub const fn n_outputs(&self) -> usize {
        if self.n_classes == 0 { self.vocab_size } else { self.n_classes }
    }
}

/// The largest context window: softmax weights keep at least eight bits up to here.
pub(crate) const MAX_SEQ_LEN: usize = 32768;
/// The largest width of a head: dot products of attention are proven up to here.
pub(super) const MAX_HEAD_DIM: usize = 256;
/// The largest KV cache in bytes, scales included.
pub(crate) const MAX_CACHE: u64 = 1 << 30;
/// The most outputs that a head may have: tokens and classes have numbers of 16 bits.
pub(super) const MAX_OUTPUTS: usize = 65535;
/// The largest width of a vector: sums of squares and accumulators are proven up to here.
pub(crate) const MAX_WIDTH: usize = 16384;

impl Config {
    /// The numbers, each with the largest that it may be; the smallest is 1.
    pub(super) const fn limits(&self) -> [(&'static str, usize, usize); 7] {
        [
            ("dim", self.dim, MAX_WIDTH),
            ("hidden_dim", self.hidden_dim, MAX_WIDTH),
            ("n_layers", self.n_layers, 255),
            ("n_heads", self.n_heads, self.dim),
            ("n_kv_heads", self.n_kv_heads, self.n_heads),
            ("vocab_size", self.vocab_size, MAX_OUTPUTS),
            ("seq_len", self.seq_len, MAX_SEQ_LEN),
        ]
    }

    /// Checks that every field is in its range and that the heads divide the width.
    ///
    /// # Errors
    /// [`FormatError::BadConfig`] names the first field that is wrong.
    pub const fn check(&self) -> Result<(), FormatError> {
        let limits = self.limits();
        let mut i = 0;
        while i < limits.len() {
            let (field, found, max) = limits[i];
            if found == 0 || found > max {
                return Err(FormatError::BadConfig { field, found });
            }
            i += 1;
        }
        if self.n_classes > MAX_OUTPUTS {
            return Err(FormatError::BadConfig { field: "n_classes", found: self.n_classes });
        }
        if self.n_classes > 0 && self.tied {
            return Err(FormatError::BadConfig {
                field: "tied (a classifier has a head of its own)",
                found: 1,
            });
        }
        if !self.dim.is_multiple_of(self.n_heads) {
            return Err(FormatError::BadConfig { field: "n_heads (must divide dim)", found: self.n_heads });
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(FormatError::BadConfig {
                field: "n_kv_heads (must divide n_heads)",
                found: self.n_kv_heads,
            });
        }
        // In 64 bits, for here it may be too large; without it, no size of a workspace overflows 32.
        let positions = self.n_layers as u64 * self.n_kv_heads as u64 * self.seq_len as u64;
        if 2 * positions * (self.head_dim() as u64 + 1) > MAX_CACHE {
            return Err(FormatError::BadConfig {
                field: "seq_len (the KV cache exceeds 1 GiB)",
                found: self.seq_len,
            });
        }
        if self.head_dim() > MAX_HEAD_DIM {
            return Err(FormatError::BadConfig { field: "head_dim", found: self.head_dim() });
        }
        if matches!(self.positions, Positions::Rope) && !self.head_dim().is_multiple_of(2) {
            return Err(FormatError::BadConfig {
                field: "head_dim (must be even for rotary positions)",
                found: self.head_dim(),
            });
        }
        Ok(())
    }
}
