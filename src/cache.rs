//! The KV cache: int8 keys and values with a one-byte scale per position and head.
//!
//! Keys lie as rows, a position each, for the dot products with a query; values lie transposed, a row for each channel,
//! for the sum over positions: both are matrix-vector products with contiguous rows. Where a core sums all channels at
//! once, values lie as keys do, in the same memory. What is stored is for the core's kernels only: they may add an offset.

use crate::chunks::chunks;
use crate::format::align;
use crate::kernel;
use crate::shift::{bits, keep_rolled};

/// Keys (or values) of all heads and positions of one block.
#[derive(Debug)]
pub struct Cache<'a> {
    /// int8: keys `[n_kv_heads, seq_len, head_dim]`, values `[n_kv_heads, head_dim, align(seq_len)]`.
    pub elements: &'a mut [i8],
    /// Scales `[n_kv_heads, seq_len]`, see [`step`].
    pub scales: &'a mut [u8],
    /// The largest scale of each head, `[n_kv_heads]`, over the positions of all tokens that are finished.
    pub largest: &'a [u8],
    /// How many tokens are finished.
    pub finished: usize,
    /// Whether these are values.
    pub transposed: bool,
    /// Positions.
    pub seq_len: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// Keys and values of all blocks.
#[derive(Debug)]
pub struct KvCache<'a> {
    /// int8 `[n_layers, n_kv_heads, seq_len, head_dim]`.
    pub keys: &'a mut [i8],
    /// int8 `[n_layers, n_kv_heads, head_dim, align(seq_len)]`.
    pub values: &'a mut [i8],
    /// Scales `[n_layers, n_kv_heads, seq_len]`.
    pub key_scales: &'a mut [u8],
    /// As those of the keys.
    pub value_scales: &'a mut [u8],
    /// The largest scales `[n_layers, n_kv_heads]` of the tokens that are finished.
    pub largest_keys: &'a mut [u8],
    /// As those of the keys.
    pub largest_values: &'a mut [u8],
    /// Heads.
    pub n_kv_heads: usize,
    /// Positions.
    pub seq_len: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl KvCache<'_> {
    /// The keys and the values of a block, after so many finished tokens.
    pub fn block(&mut self, layer: usize, finished: usize) -> (Cache<'_>, Cache<'_>) {
        let (seq_len, head_dim, heads) = (self.seq_len, self.head_dim, self.n_kv_heads);
        let keys = Cache {
            elements: part(self.keys, layer, heads * seq_len * head_dim),
            scales: part(self.key_scales, layer, heads * seq_len),
            largest: part(self.largest_keys, layer, heads),
            finished,
            transposed: false,
            seq_len,
            head_dim,
        };
        let values = Cache {
            elements: part(self.values, layer, heads * align(seq_len) * head_dim),
            scales: part(self.value_scales, layer, heads * seq_len),
            largest: part(self.largest_values, layer, heads),
            finished,
            transposed: kernel::VALUES_TRANSPOSED,
            seq_len,
            head_dim,
        };
        (keys, values)
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.largest_keys.fill(0);
        self.largest_values.fill(0);
    }

    /// So many tokens from this position on are finished: their scales count from now on.
    pub fn finish(&mut self, position: usize, count: usize) {
        let seq_len = self.seq_len;
        finish(self.largest_keys, self.key_scales, (seq_len, position, count));
        finish(self.largest_values, self.value_scales, (seq_len, position, count));
    }
}

/// [`KvCache::finish`] of the keys or of the values.
fn finish(largest: &mut [u8], scales: &[u8], (seq_len, position, count): (usize, usize, usize)) {
    let seq_len = seq_len.max(1);
    for newer in position..position + count {
        for (largest, &scale) in largest.iter_mut().zip(scales.iter().skip(newer).step_by(seq_len)) {
            *largest = scale.max(*largest);
            keep_rolled();
        }
    }
}

/// The largest scale of finished tokens and of some newer ones.
#[inline(always)]
fn largest_with(mut largest: u8, newer: Option<&[u8]>) -> u8 {
    // So it is for every token that is written.
    if let Some(&[scale]) = newer {
        return scale.max(largest);
    }
    for &scale in newer.unwrap_or_default() {
        largest = scale.max(largest);
        keep_rolled();
    }
    largest
}

/// The part of a block.
fn part<T>(all: &mut [T], layer: usize, len: usize) -> &mut [T] {
    all.get_mut(layer * len..(layer + 1) * len).unwrap_or_default()
}

/// The step between two int8 values as `mantissa * 2^exponent` in units of the residual stream's last bit:
/// a scale byte holds four bits of mantissa (16 to 31) under four bits of exponent.
#[inline(always)]
pub const fn step(scale: u8) -> (i32, u32) {
    (16 + (scale & 15) as i32, (scale >> 4) as u32)
}

/// `round(2^19 / mantissa)` for the mantissas 16 to 31.
const RECIPROCAL: [u16; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mantissa = 16 + i as u32;
        table[i] = (((1 << 19) + mantissa / 2) / mantissa) as u16;
        i += 1;
    }
    table
};

impl Cache<'_> {
    /// Elements from one row to the next, and of one head.
    fn strides(&self) -> (usize, usize) {
        let row = if self.transposed { align(self.seq_len) } else { self.head_dim };
        let rows = if self.transposed { self.head_dim } else { self.seq_len };
        (row, rows * row)
    }

    /// Stores `values * 2^unit` (in last bits of the residual stream) for all heads at a position.
    /// `values` is `[n_kv_heads, head_dim]`, `unit` at most 17.
    pub fn store(&mut self, position: usize, values: &[i16], unit: i32) {
        let head_dim = self.head_dim.max(1);
        let (stride, head_len) = self.strides();
        let (first, step) = if self.transposed { (position, stride) } else { (position * stride, 1) };
        for (head, values) in chunks(values, head_dim).enumerate() {
            let scale = self.scales.get_mut(head * self.seq_len + position);
            let (Some(scale), Some(elements)) = (scale, self.elements.get_mut(head * head_len + first..))
            else {
                return;
            };
            *scale = store_head(values, unit, elements, step);
        }
    }

    /// A head up to and with `position`, which is not finished, nor need those before it be: what is newer does not count.
    #[inline(always)]
    pub fn head(&self, head: usize, position: usize) -> Option<Head<'_>> {
        let (_, head_len) = self.strides();
        let len = if self.transposed { head_len } else { (position + 1) * self.head_dim };
        let elements = self.elements.get(head * head_len..)?.get(..len)?;
        let scales = self.scales.get(head * self.seq_len..)?.get(..=position)?;
        let largest = largest_with(*self.largest.get(head)?, scales.get(self.finished..));
        Some(Head { elements, scales, exponent: u32::from(largest >> 4) })
    }
}

/// Keys or values of a head.
#[derive(Debug, Clone, Copy)]
pub struct Head<'c> {
    /// `[positions, head_dim]`, values `[head_dim, align(seq_len)]`.
    pub elements: &'c [i8],
    /// `[positions]`, see [`step`].
    pub scales: &'c [u8],
    /// The exponent of the largest of the scales.
    pub exponent: u32,
}

/// Rounds one head to int8 with the smallest step that holds its peak, every `stride`-th of `elements`; returns the step's
/// byte.
fn store_head(values: &[i16], unit: i32, elements: &mut [i8], stride: usize) -> u8 {
    let scale = step_for(kernel::peak(values), unit);
    let exponent = i32::from(scale >> 4);
    let reciprocal = RECIPROCAL.get((scale & 15) as usize).map_or(0, |&r| i32::from(r));
    // The product is at most 2^30: from a shift by 31 on the result is 0.
    let s = (19 + exponent - unit).clamp(1, 31) as u32;
    kernel::store(values, reciprocal, s, elements, stride);
    scale
}

/// The byte of the smallest step that is at least `peak * 2^unit / 127`; the smallest or largest there is
/// where the exponent does not reach.
fn step_for(peak: u32, unit: i32) -> u8 {
    if peak == 0 {
        return 0;
    }
    // 33027 = ceil(2^22 / 127); five leading bits of the product, rounded up.
    let p = peak * 33_027;
    let s = bits(p) - 5;
    let mut mantissa = (p + (1 << s) - 1) >> s;
    let mut exponent = s as i32 + unit - 22;
    if mantissa == 32 {
        (mantissa, exponent) = (16, exponent + 1);
    }
    match exponent {
        ..0 => 0,
        0..16 => (mantissa - 16) as u8 | (exponent as u8) << 4,
        _ => 0xff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_within_half_a_step() {
        for (transposed, unit) in
            [false, true].into_iter().flat_map(|t| [-20, -9, -5, -1, 0, 3].map(|u| (t, u)))
        {
            for amplitude in [1, 7, 300, 32_767] {
                let values: Vec<i16> = (0..16).map(|i| ((i * 37 % 17 - 8) * amplitude / 8) as i16).collect();
                let (mut elements, mut scales) = (vec![0i8; 2 * 4 * 8], vec![0u8; 2 * 4]);
                let mut cache = Cache {
                    elements: &mut elements,
                    scales: &mut scales,
                    largest: &[0, 0],
                    finished: 1,
                    transposed,
                    seq_len: 4,
                    head_dim: 8,
                };
                cache.store(1, &values, unit);
                for head in 0..2 {
                    let Head { elements, scales, exponent: largest } = cache.head(head, 1).unwrap();
                    let (mantissa, exponent) = step(scales[1]);
                    assert_eq!(largest, exponent);
                    let step = f64::from(mantissa) * 2f64.powi(exponent as i32);
                    let values = &values[head * 8..];
                    let peak = values[..8].iter().map(|v| v.unsigned_abs()).max().unwrap();
                    let peak = f64::from(peak) * 2f64.powi(unit);
                    assert!(step <= (peak / 127.0 * 1.07).max(16.0), "step {step} for a peak of {peak}");
                    for c in 0..8 {
                        let q = elements[if transposed { 4 * c + 1 } else { 8 + c }];
                        let (got, wanted) = (f64::from(q) * step, f64::from(values[c]) * 2f64.powi(unit));
                        assert!((got - wanted).abs() <= step * 0.51, "{got}, wanted {wanted}, step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_scale_is_that_of_finished_tokens_and_the_newest() {
        let (mut keys, mut values) = ([0i8; 4 * 2], [0i8; 4 * 2]);
        let (mut key_scales, mut value_scales) = ([0u8; 4], [0u8; 4]);
        let (mut largest_keys, mut largest_values) = ([0xffu8; 1], [0xffu8; 1]);
        let mut cache = KvCache {
            keys: &mut keys,
            values: &mut values,
            key_scales: &mut key_scales,
            value_scales: &mut value_scales,
            largest_keys: &mut largest_keys,
            largest_values: &mut largest_values,
            n_kv_heads: 1,
            seq_len: 4,
            head_dim: 2,
        };
        let mut largest = |position: usize, peak: i16, finish: bool| {
            if position == 0 {
                cache.clear();
            }
            cache.block(0, position).0.store(position, &[peak, 0], 8);
            let largest = cache.block(0, position).0.head(0, position).unwrap().exponent;
            if finish {
                cache.finish(position, 1);
            }
            largest
        };
        let small = largest(0, 100, true);
        let large = largest(1, 30_000, false);
        assert!(large > small);
        // The token at position 1 was given up; another one comes.
        assert_eq!(largest(1, 100, true), small);
        assert_eq!(largest(2, 30_000, true), large);
        assert_eq!(largest(3, 100, true), large);
        // The window starts anew.
        assert_eq!(largest(0, 100, true), small);
        // Three at once: each counts for itself and for those after it.
        for (position, peak) in [(1, 100), (2, 30_000), (3, 100)] {
            cache.block(0, 1).0.store(position, &[peak, 0], 8);
        }
        let seen = [1, 2, 3].map(|position| cache.block(0, 1).0.head(0, position).unwrap().exponent);
        assert_eq!(seen, [small, large, large]);
        cache.finish(1, 3);
        assert_eq!(cache.largest_keys[0] >> 4, large as u8);
    }
}
