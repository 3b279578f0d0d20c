//! The memory of a session: how many bytes a model needs, and what lies where in them.

use crate::cache::Cache;
use crate::error::Error;
use crate::format::{Config, align};
use zerocopy::{FromBytes, IntoBytes};

/// Memory for a session: `Workspace<{ MODEL.workspace_len() }>` is exact to the byte.
///
/// A `static` of it lies in .bss and costs no flash.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct Workspace<const N: usize> {
    bytes: [u8; N],
}

impl<const N: usize> Workspace<N> {
    /// An empty workspace.
    pub const fn new() -> Self {
        Self { bytes: [0; N] }
    }
}

impl<const N: usize> Default for Workspace<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> AsMut<[u8]> for Workspace<N> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// How many elements each region of the workspace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The residual stream, i32: `dim`.
    pub hidden: usize,
    /// Scratch, i32, one after the other: queries, keys, values and scores of one head; gate and up of the
    /// MLP; the logits.
    pub scratch: usize,
    /// The input vector of a matrix, i16: the widest there is.
    pub vector: usize,
    /// Keys, int8 `[n_layers, n_kv_heads, seq_len, head_dim]`; the values have as many.
    pub cache: usize,
    /// Tokens in the context window, u16: `seq_len`.
    pub history: usize,
    /// Scales of the keys, u8 `[n_layers, n_kv_heads, seq_len]`; the values have as many.
    pub scales: usize,
}

impl Plan {
    /// The plan for a configuration.
    pub const fn new(config: &Config) -> Self {
        const fn max(a: usize, b: usize) -> usize {
            if a > b { a } else { b }
        }
        let attention = config.dim + max(2 * config.kv_dim(), config.seq_len);
        let attention = max(attention, config.dim + 2 * config.kv_dim());
        let mlp = config.hidden_dim * (1 + config.gated as usize);
        let positions = config.n_layers * config.n_kv_heads * config.seq_len;
        Self {
            hidden: config.dim,
            scratch: max(max(attention, mlp), config.vocab_size),
            vector: align(max(config.dim, config.hidden_dim)),
            cache: positions * config.head_dim(),
            history: config.seq_len,
            scales: positions,
        }
    }

    /// Bytes of the KV cache with its scales.
    pub const fn cache_bytes(&self) -> usize {
        2 * (self.cache + self.scales)
    }

    /// Bytes of the whole workspace.
    pub const fn bytes(&self) -> usize {
        4 * (self.hidden + self.scratch) + 2 * (self.vector + self.history) + self.cache_bytes()
    }
}

/// The regions of a workspace.
#[derive(Debug)]
pub(crate) struct Memory<'a> {
    pub hidden: &'a mut [i32],
    pub scratch: &'a mut [i32],
    pub vector: &'a mut [i16],
    pub history: &'a mut [u16],
    keys: &'a mut [i8],
    values: &'a mut [i8],
    key_scales: &'a mut [u8],
    value_scales: &'a mut [u8],
}

impl<'a> Memory<'a> {
    /// Cuts a workspace into its regions.
    ///
    /// # Errors
    /// It is too small, or its address is not a multiple of four.
    pub fn new(plan: &Plan, workspace: &'a mut [u8]) -> Result<Self, Error> {
        let short = Error::WorkspaceTooSmall { need: plan.bytes(), have: workspace.len() };
        let mut rest = workspace;
        Ok(Self {
            hidden: take(&mut rest, plan.hidden, short)?,
            scratch: take(&mut rest, plan.scratch, short)?,
            vector: take(&mut rest, plan.vector, short)?,
            keys: take(&mut rest, plan.cache, short)?,
            values: take(&mut rest, plan.cache, short)?,
            history: take(&mut rest, plan.history, short)?,
            key_scales: take(&mut rest, plan.scales, short)?,
            value_scales: take(&mut rest, plan.scales, short)?,
        })
    }

    /// Keys and values of a block.
    pub fn cache(&mut self, config: &Config, layer: usize) -> (Cache<'_>, Cache<'_>) {
        let (seq_len, head_dim) = (config.seq_len, config.head_dim());
        let scales = config.n_kv_heads * seq_len;
        fn part<T>(all: &mut [T], layer: usize, len: usize) -> &mut [T] {
            all.chunks_exact_mut(len.max(1)).nth(layer).unwrap_or_default()
        }
        (
            Cache {
                rows: part(self.keys, layer, scales * head_dim),
                scales: part(self.key_scales, layer, scales),
                seq_len,
                head_dim,
            },
            Cache {
                rows: part(self.values, layer, scales * head_dim),
                scales: part(self.value_scales, layer, scales),
                seq_len,
                head_dim,
            },
        )
    }
}

/// The next `len` elements of a workspace.
fn take<'a, T: FromBytes + IntoBytes>(
    rest: &mut &'a mut [u8],
    len: usize,
    short: Error,
) -> Result<&'a mut [T], Error> {
    let all = core::mem::take(rest);
    let (part, after) = all.split_at_mut_checked(len * size_of::<T>()).ok_or(short)?;
    *rest = after;
    <[T]>::mut_from_bytes(part).map_err(|_| Error::WorkspaceMisaligned)
}
