//! Section 10: probabilities.

use crate::arithmetic::{Int, ln, pow2, round_shift, u32_range, within};
use crate::tables::Tables;

pub fn log_prob(tables: &Tables, logits: &[Int], frac: Int, token: usize) -> Int {
    let top = *logits.iter().max().unwrap();
    let base_2 = |v: Int| {
        let product = within(pow2(63), u32_range(top - v) * 1_549_082_005);
        ((product + pow2(13 + frac)) / pow2(14 + frac)).min(pow2(32) - 1)
    };
    let sum = within(pow2(46), logits.iter().map(|&v| tables.exp2_q30(base_2(v))).sum());
    let below = round_shift((top - logits[token]) * pow2(16), frac);
    (-below - (ln(sum) - 1_362_783).max(0)).max(-pow2(31))
}
