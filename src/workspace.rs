//! The memory of a session: how many bytes a model needs, and what lies where in them.

use crate::attention::HEADS;
use crate::cache::KvCache;
use crate::error::Error;
use crate::format::{Config, align};
use crate::kernel::operand_len;
use crate::token::Token;
use crate::vector::Scale;
use zerocopy::{FromBytes, IntoBytes};

/// Memory for a session: `Workspace<{ MODEL.workspace_len() }>` is exact to the byte.
///
/// `Workspace<{ MODEL.workspace_len_for(6) }>` has room for six positions at once: prompts are read faster, with the
/// same result. A `static` of it lies in .bss and costs no flash.
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

/// The most positions that a session works on at once: what the kernels with several positions do best is a multiple of
/// three.
pub const MAX_BLOCK: usize = 6;

/// How many elements each region of the workspace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Positions that are worked on at once.
    pub block: usize,
    /// The residual streams, i32: `[block, dim]`.
    pub hidden: usize,
    /// Scratch, i32, one after the other: queries, keys, values of all positions of the block, then the output and the
    /// scores of two heads of one position; gate and up of the MLP; the logits.
    pub scratch: usize,
    /// The input vectors of a matrix, u32, as a kernel wants them: the widest there are, `block` times.
    pub operand: usize,
    /// The same in their natural order, i16.
    pub vector: usize,
    /// Softmax weights of two heads, i16.
    pub weights: usize,
    /// Keys, int8 `[n_layers, n_kv_heads, seq_len, head_dim]`.
    pub keys: usize,
    /// Values, int8 `[n_layers, n_kv_heads, head_dim, align(seq_len)]`.
    pub values: usize,
    /// Tokens in the context window, u16: `seq_len`.
    pub history: usize,
    /// Scales of the keys, u8 `[n_layers, n_kv_heads, seq_len]`; the values have as many.
    pub scales: usize,
    /// The largest scales of the keys, u8 `[n_layers, n_kv_heads]`; the values have as many.
    pub largest: usize,
}

impl Plan {
    /// The plan for a configuration, with `block` positions at once (at least 1, at most [`MAX_BLOCK`]).
    pub const fn new(config: &Config, block: usize) -> Self {
        const fn max(a: usize, b: usize) -> usize {
            if a > b { a } else { b }
        }
        let block = max(block, 1);
        let block = if block < MAX_BLOCK { block } else { MAX_BLOCK };
        let head = HEADS * align(max(config.seq_len, config.head_dim()));
        let attention = config.dim + 2 * config.kv_dim();
        let mlp = config.hidden_dim * (1 + config.gated as usize);
        let heads = config.n_layers * config.n_kv_heads;
        let widest = max(config.dim, config.hidden_dim);
        Self {
            block,
            hidden: block * config.dim,
            scratch: max(max(block * max(attention, mlp), config.dim + head), config.n_outputs()),
            operand: block * operand_len(widest),
            vector: block * align(widest),
            weights: head,
            keys: heads * config.seq_len * config.head_dim(),
            values: heads * align(config.seq_len) * config.head_dim(),
            history: config.seq_len,
            scales: heads * config.seq_len,
            largest: heads,
        }
    }

    /// Bytes of the KV cache with its scales.
    pub const fn cache_bytes(&self) -> usize {
        self.keys + self.values + 2 * (self.scales + self.largest)
    }

    /// Bytes of the whole workspace.
    pub const fn bytes(&self) -> usize {
        4 * (self.hidden + self.scratch + self.operand)
            + 2 * (self.vector + self.weights + self.history)
            + self.cache_bytes()
    }
}

/// The regions of a workspace.
#[derive(Debug)]
pub(crate) struct Memory<'a> {
    /// Positions that can be worked on at once.
    pub block: usize,
    /// The residual streams, `[block, dim]`.
    pub hidden: &'a mut [i32],
    /// Their [`magnitude`](crate::kernel::magnitude)s.
    pub sizes: [u32; MAX_BLOCK],
    /// The magnitudes of what up to three matrices wrote. Here, and not where they are used, so that nothing clears them.
    pub out_sizes: [[u32; MAX_BLOCK]; 3],
    /// The scales of the inputs of a matrix.
    pub scales: [Scale; MAX_BLOCK],
    /// Outputs of matrices and scores; after the head, the logits.
    pub scratch: &'a mut [i32],
    /// The inputs of a matrix as a kernel wants them.
    pub operand: &'a mut [u32],
    /// The inputs of a matrix in their natural order.
    pub vector: &'a mut [i16],
    /// Softmax weights, `[HEADS, align(seq_len)]`.
    pub weights: &'a mut [i16],
    /// Keys and values of all blocks.
    pub cache: KvCache<'a>,
    /// The tokens at the positions of the cache.
    pub history: &'a mut [Token],
}

impl<'a> Memory<'a> {
    /// Cuts a workspace into its regions, for as many positions at once as it has room for.
    ///
    /// # Errors
    /// It is too small, or its address is not a multiple of four.
    pub fn new(config: &Config, workspace: &'a mut [u8]) -> Result<Self, Error> {
        let mut plan = Plan::new(config, MAX_BLOCK);
        while plan.block > 1 && plan.bytes() > workspace.len() {
            plan = Plan::new(config, plan.block - 1);
        }
        let short = Error::WorkspaceTooSmall { need: plan.bytes(), have: workspace.len() };
        let mut rest = workspace;
        let hidden = take(&mut rest, plan.hidden, short)?;
        let scratch = take(&mut rest, plan.scratch, short)?;
        let operand = take(&mut rest, plan.operand, short)?;
        let vector = take(&mut rest, plan.vector, short)?;
        let weights = take(&mut rest, plan.weights, short)?;
        let history = take(&mut rest, plan.history, short)?;
        let keys = take(&mut rest, plan.keys, short)?;
        let values = take(&mut rest, plan.values, short)?;
        let key_scales = take(&mut rest, plan.scales, short)?;
        let value_scales = take(&mut rest, plan.scales, short)?;
        let largest_keys = take(&mut rest, plan.largest, short)?;
        let largest_values = take(&mut rest, plan.largest, short)?;
        let cache = KvCache {
            keys,
            values,
            key_scales,
            value_scales,
            largest_keys,
            largest_values,
            n_kv_heads: config.n_kv_heads,
            seq_len: config.seq_len,
            head_dim: config.head_dim(),
        };
        let (out_sizes, scales) = ([[0; MAX_BLOCK]; 3], [Scale::power(0); MAX_BLOCK]);
        let (block, sizes) = (plan.block, [0; MAX_BLOCK]);
        Ok(Self {
            block,
            hidden,
            sizes,
            out_sizes,
            scales,
            scratch,
            operand,
            vector,
            weights,
            cache,
            history,
        })
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
