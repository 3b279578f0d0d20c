//! The KV cache: int8 keys and values with a one-byte scale per position and head.

use crate::shift::{bits, keep_rolled, round_shift};

/// Keys (or values) of all heads and positions of one block.
#[derive(Debug)]
pub struct Cache<'a> {
    /// int8 `[n_kv_heads, seq_len, head_dim]`.
    pub rows: &'a mut [i8],
    /// Scales `[n_kv_heads, seq_len]`, see [`step`].
    pub scales: &'a mut [u8],
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
    /// As the keys.
    pub values: &'a mut [i8],
    /// Scales `[n_layers, n_kv_heads, seq_len]`.
    pub key_scales: &'a mut [u8],
    /// As those of the keys.
    pub value_scales: &'a mut [u8],
    /// Heads.
    pub n_kv_heads: usize,
    /// Positions.
    pub seq_len: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl KvCache<'_> {
    /// The keys and the values of a block.
    pub fn block(&mut self, layer: usize) -> (Cache<'_>, Cache<'_>) {
        let (seq_len, head_dim) = (self.seq_len, self.head_dim);
        let positions = self.n_kv_heads * seq_len;
        let cache = |rows, scales| Cache { rows, scales, seq_len, head_dim };
        (
            cache(part(self.keys, layer, positions * head_dim), part(self.key_scales, layer, positions)),
            cache(part(self.values, layer, positions * head_dim), part(self.value_scales, layer, positions)),
        )
    }
}

/// The part of a block.
fn part<T>(all: &mut [T], layer: usize, len: usize) -> &mut [T] {
    all.chunks_exact_mut(len.max(1)).nth(layer).unwrap_or_default()
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
    /// Stores `values * 2^unit` (in last bits of the residual stream) for all heads at a position.
    /// `values` is `[n_kv_heads, head_dim]` of at most 15 bits, `unit` at most 18.
    pub fn store(&mut self, position: usize, values: &[i16], unit: i32) {
        let head_dim = self.head_dim.max(1);
        for (head, values) in values.chunks_exact(head_dim).enumerate() {
            let at = head * self.seq_len + position;
            let row = self.rows.get_mut(at * head_dim..(at + 1) * head_dim);
            if let (Some(row), Some(scale)) = (row, self.scales.get_mut(at)) {
                *scale = store_row(values, unit, row);
            }
        }
    }

    /// The rows `[seq_len, head_dim]` and scales `[seq_len]` of a head, positions `0..len`.
    pub fn head(&self, head: usize, len: usize) -> (&[i8], &[u8]) {
        let rows = self.rows.get(head * self.seq_len * self.head_dim..);
        let scales = self.scales.get(head * self.seq_len..);
        let rows = rows.and_then(|rows| rows.get(..len * self.head_dim)).unwrap_or_default();
        (rows, scales.and_then(|scales| scales.get(..len)).unwrap_or_default())
    }
}

/// Rounds one head to int8 with the smallest step that holds its peak; returns the step's byte.
fn store_row(values: &[i16], unit: i32, row: &mut [i8]) -> u8 {
    let peak = values.iter().fold(0, |m, v| m.max(u32::from(v.unsigned_abs())));
    let scale = step_for(peak, unit);
    let exponent = i32::from(scale >> 4);
    let reciprocal = RECIPROCAL.get((scale & 15) as usize).map_or(0, |&r| i32::from(r));
    // The product is below 2^30: from a shift by 31 on the result is 0.
    let s = (19 + exponent - unit).clamp(1, 31) as u32;
    for (q, &v) in row.iter_mut().zip(values) {
        *q = round_shift(i32::from(v) * reciprocal, s).clamp(-127, 127) as i8;
        keep_rolled();
    }
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
    fn rows_come_back_within_half_a_step() {
        for unit in [-20, -9, -5, -1, 0, 3] {
            for amplitude in [1, 7, 300, 32_767] {
                let values: Vec<i16> = (0..16).map(|i| ((i * 37 % 17 - 8) * amplitude / 8) as i16).collect();
                let (mut rows, mut scales) = (vec![0i8; 2 * 3 * 8], vec![0u8; 6]);
                let mut cache = Cache { rows: &mut rows, scales: &mut scales, seq_len: 3, head_dim: 8 };
                cache.store(1, &values, unit);
                for head in 0..2 {
                    let (rows, scales) = cache.head(head, 3);
                    let (mantissa, exponent) = step(scales[1]);
                    let step = f64::from(mantissa) * 2f64.powi(exponent as i32);
                    let values = &values[head * 8..];
                    let peak = values[..8].iter().map(|v| v.unsigned_abs()).max().unwrap();
                    let peak = f64::from(peak) * 2f64.powi(unit);
                    assert!(step <= (peak / 127.0 * 1.07).max(16.0), "step {step} for a peak of {peak}");
                    for (q, &v) in rows[8..16].iter().zip(values) {
                        let (got, wanted) = (f64::from(*q) * step, f64::from(v) * 2f64.powi(unit));
                        assert!((got - wanted).abs() <= step * 0.51, "{got}, wanted {wanted}, step {step}");
                    }
                }
            }
        }
    }
}
