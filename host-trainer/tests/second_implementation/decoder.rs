//! Section 9: a token's way through the model.

use crate::arithmetic::{Int, pow2, sat};
use crate::attention::{Heads, Row, attend};
use crate::file::{File, kind};
use crate::mlp;
use crate::norm::norm;
use crate::tables::Tables;
use crate::vector::quantise;

/// A model, and the keys and values of the tokens that it was fed.
pub struct Decoder {
    pub file: File,
    pub tables: Tables,
    pub history: Vec<u16>,
    /// Blocks that left a token near the limits.
    pub saturations: u32,
    /// `[layer][kv_head][position]`.
    keys: Vec<Vec<Vec<Row>>>,
    values: Vec<Vec<Vec<Row>>>,
}

impl Decoder {
    pub fn new(bytes: &[u8]) -> Self {
        let file = File::read(bytes);
        let empty = vec![vec![Vec::new(); file.n_kv_heads]; usize::from(file.n_layers)];
        let (keys, values) = (empty.clone(), empty);
        Self { file, tables: Tables::new(), history: Vec::new(), saturations: 0, keys, values }
    }

    /// Forgets all tokens.
    pub fn reset(&mut self) {
        self.history.clear();
        for rows in self.keys.iter_mut().chain(&mut self.values).flatten() {
            rows.clear();
        }
    }

    /// Feeds a token; returns the logits of the next one.
    pub fn step(&mut self, token: u16) -> Vec<Int> {
        let position = self.history.len();
        assert!(position < self.file.seq_len);
        let mut hidden = vec![0; self.file.dim];
        self.file.tensor(kind::EMBEDDING, 0).add_row(usize::from(token), self.file.frac, &mut hidden);
        if !self.file.rotary {
            self.file.tensor(kind::POSITION_EMBEDDING, 0).add_row(position, self.file.frac, &mut hidden);
        }
        for layer in 0..self.file.n_layers {
            let y = self.attention(layer, position, &hidden);
            add(&mut hidden, &y);
            let y = self.mlp(layer, &hidden);
            add(&mut hidden, &y);
            self.saturations += u32::from(hidden.iter().any(|h| !(-pow2(30)..pow2(30)).contains(h)));
        }
        self.history.push(token);
        let head = self.file.tensor(kind::HEAD, 0);
        let gain = self.file.tensor(kind::FINAL_NORM, 0);
        head.times(&norm(&self.file, &self.tables, gain, &hidden, head.width), self.file.frac)
    }

    fn attention(&mut self, layer: u8, position: usize, hidden: &[Int]) -> Vec<Int> {
        let (file, tables) = (&self.file, &self.tables);
        let (frac, head_dim) = (file.frac, file.head_dim());
        let wq = file.tensor(kind::WQ, layer);
        let x = norm(file, tables, file.tensor(kind::ATTENTION_NORM, layer), hidden, wq.width);
        let outputs = |kind| file.tensor(kind, layer).times(&x, frac);
        let turned = |heads: Heads| match file.rotary {
            true => heads.rotate(&file.tensor(kind::ROPE_TABLE, 0).rows[position]),
            false => heads,
        };
        let queries = turned(Heads::queries(&outputs(kind::WQ), frac, head_dim));
        let keys = turned(Heads::new(&outputs(kind::WK)));
        let values = Heads::new(&outputs(kind::WV));
        let layer_index = usize::from(layer);
        let (key_rows, value_rows) = (&mut self.keys[layer_index], &mut self.values[layer_index]);
        for kv_head in 0..file.n_kv_heads {
            let part = kv_head * head_dim..(kv_head + 1) * head_dim;
            key_rows[kv_head].push(Row::new(tables, &keys.x[part.clone()], keys.unit));
            value_rows[kv_head].push(Row::new(tables, &values.x[part], values.unit));
        }
        let mut out = Vec::new();
        for (head, query) in queries.x.chunks(head_dim).enumerate() {
            let kv_head = head / (file.n_heads / file.n_kv_heads);
            let cache = (&key_rows[kv_head][..], &value_rows[kv_head][..]);
            out.extend(attend(tables, query, queries.unit, frac, cache, file.seq_len));
        }
        let wo = file.tensor(kind::WO, layer);
        wo.times(&quantise(&out, -frac, wo.width), frac)
    }

    fn mlp(&self, layer: u8, hidden: &[Int]) -> Vec<Int> {
        let (file, tables) = (&self.file, &self.tables);
        let w1 = file.tensor(kind::W1, layer);
        let x = norm(file, tables, file.tensor(kind::MLP_NORM, layer), hidden, w1.width);
        let gate = w1.times(&x, file.frac);
        let up = file.gated.then(|| file.tensor(kind::W3, layer).times(&x, file.frac));
        let (product, exponent) = mlp::hidden(tables, file.activation, &gate, up.as_deref(), file.frac);
        let w2 = file.tensor(kind::W2, layer);
        w2.times(&quantise(&product, exponent, w2.width), file.frac)
    }
}

fn add(hidden: &mut [Int], y: &[Int]) {
    for (h, y) in hidden.iter_mut().zip(y) {
        *h = sat(*h + y);
    }
}
