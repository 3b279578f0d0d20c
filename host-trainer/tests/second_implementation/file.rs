//! A reader of docs/format.md.

use crate::arithmetic::Int;
use std::collections::HashMap;

/// Kinds of tensors, by their numbers in the file.
pub mod kind {
    pub const EMBEDDING: u8 = 0;
    pub const ROPE_TABLE: u8 = 1;
    pub const POSITION_EMBEDDING: u8 = 2;
    pub const ATTENTION_NORM: u8 = 3;
    pub const WQ: u8 = 4;
    pub const WK: u8 = 5;
    pub const WV: u8 = 6;
    pub const WO: u8 = 7;
    pub const MLP_NORM: u8 = 8;
    pub const W1: u8 = 9;
    pub const W2: u8 = 10;
    pub const W3: u8 = 11;
    pub const FINAL_NORM: u8 = 12;
    pub const HEAD: u8 = 13;
}

pub struct File {
    pub dim: usize,
    pub n_layers: u8,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub seq_len: usize,
    pub layer_norm: bool,
    pub batch_norm: bool,
    pub activation: u8,
    pub gated: bool,
    pub rotary: bool,
    pub frac: Int,
    pub epsilon: (Int, Int),
    tensors: HashMap<(u8, u8), Tensor>,
}

pub struct Tensor {
    /// Rows of weights, or of values.
    pub rows: Vec<Vec<Int>>,
    /// Of the input: 8 or 16.
    pub width: u8,
    pub exponent: Int,
    /// An int16 per row.
    pub scales: Vec<Int>,
    /// Zero where there are none.
    pub bias: Vec<Int>,
    /// A gain that is a part of the matrices.
    pub folded: bool,
}

impl File {
    pub fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let number = |at: usize| word(at) as usize;
        assert_eq!(&bytes[..8], b"THMB\x02\0\x02\0");
        assert_eq!(number(12), bytes.len());
        let (n_tensors, directory) = (number(64), number(68));
        let entries = bytes[directory..].chunks(32).take(n_tensors);
        Self {
            dim: number(20),
            n_layers: bytes[28],
            n_heads: number(32),
            n_kv_heads: number(36),
            seq_len: number(44),
            layer_norm: bytes[48] == 1,
            batch_norm: bytes[48] == 2,
            activation: bytes[49],
            gated: bytes[50] == 1,
            rotary: bytes[51] == 0,
            frac: Int::from(bytes[54]),
            epsilon: (Int::from(word(56)), Int::from(word(60) as i32)),
            tensors: entries.map(|entry| ((entry[0], entry[1]), Tensor::read(bytes, entry))).collect(),
        }
    }

    pub fn head_dim(&self) -> usize {
        self.dim / self.n_heads
    }

    pub fn tensor(&self, kind: u8, layer: u8) -> &Tensor {
        &self.tensors[&(kind, layer)]
    }
}

impl Tensor {
    fn read(file: &[u8], entry: &[u8]) -> Self {
        let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
        let (rows, cols) = (number(8), number(12));
        let (data, scales, bias) = (&file[number(16)..], &file[number(20)..], number(24));
        let int16 = |at: usize, from: &[u8]| Int::from(i16::from_le_bytes([from[2 * at], from[2 * at + 1]]));
        let matrix = matches!(entry[2], 1 | 3);
        let elements = match (entry[2], entry[3]) {
            (0, 0) => vec![vec![0; cols]; rows],
            (1, 0) => data.chunks(padded(cols)).take(rows).map(|row| signed(&row[..cols])).collect(),
            (1, 1) => tiles(data, rows, cols, |byte, _| Int::from(byte) - 128),
            (1, 2) => tiles(data, rows, cols, |byte, column| match column % 2 {
                0 => Int::from(byte) - 128,
                _ => Int::from(byte as i8),
            }),
            (3, 3) => int4(data, rows, cols),
            (2, 0) => (0..rows).map(|r| (0..cols).map(|c| int16(r * cols + c, data)).collect()).collect(),
            other => panic!("type and layout {other:?}"),
        };
        let bias_of = |r: usize| match bias {
            0 => 0,
            at => Int::from(i32::from_le_bytes(file[at + 4 * r..at + 4 * r + 4].try_into().unwrap())),
        };
        Self {
            rows: elements,
            width: entry[4],
            exponent: Int::from(entry[5] as i8),
            scales: (0..if matrix { rows } else { 0 }).map(|r| int16(r, scales)).collect(),
            bias: (0..rows).map(bias_of).collect(),
            folded: entry[2] == 0,
        }
    }
}

fn padded(n: usize) -> usize {
    n.div_ceil(4) * 4
}

fn signed(bytes: &[u8]) -> Vec<Int> {
    bytes.iter().map(|&byte| Int::from(byte as i8)).collect()
}

/// Weights of four bits times the factors of their groups.
fn int4(data: &[u8], rows: usize, cols: usize) -> Vec<Vec<Int>> {
    let (words, groups) = (cols.div_ceil(8), cols.div_ceil(32));
    let blocks = rows.div_ceil(4);
    let (weights, factors) = data.split_at(blocks * words * 16);
    let bits = |word: u32, from: usize| Int::from(word >> from & 15);
    let row = |r: usize| {
        let mut row = Vec::new();
        for w in 0..words {
            let at = (r / 4 * words + w) * 16 + r % 4 * 4;
            let word = u32::from_le_bytes(weights[at..at + 4].try_into().unwrap());
            row.extend((0..4).flat_map(|pair| [bits(word, 4 * pair) - 8, bits(word, 16 + 4 * pair) - 8]));
        }
        // The first word may begin with four columns that pad.
        row.drain(..8 * words - padded(cols));
        // The first group is the one that may be short.
        let mut from_end: Vec<Int> = row.into_iter().rev().collect();
        for (g, weights) in from_end.chunks_mut(32).enumerate() {
            let at = 2 * (r / 4 * groups + groups - 1 - g);
            let number = u32::from(factors[at]) + 256 * u32::from(factors[at + 1]);
            weights.iter_mut().for_each(|w| *w *= bits(number, r % 4 * 4));
        }
        from_end.reverse();
        from_end.truncate(cols);
        from_end
    };
    (0..rows).map(row).collect()
}

/// Takes the bytes in their order and puts each where it belongs; `weight` is of a byte and its column.
fn tiles(data: &[u8], rows: usize, cols: usize, weight: fn(u8, usize) -> Int) -> Vec<Vec<Int>> {
    let mut matrix = vec![vec![0; padded(cols)]; padded(rows)];
    let mut bytes = data.iter();
    for four_rows in matrix.chunks_mut(4) {
        for first_column in (0..padded(cols)).step_by(4) {
            for row in &mut *four_rows {
                for (column, element) in row.iter_mut().enumerate().skip(first_column).take(4) {
                    *element = weight(*bytes.next().unwrap(), column);
                }
            }
        }
    }
    // What pads takes no part.
    matrix.truncate(rows);
    matrix.iter_mut().for_each(|row| row.truncate(cols));
    matrix
}
