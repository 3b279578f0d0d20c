//! Section 11: the sampler, by sorting.

use crate::arithmetic::{Int, bits, ceil_div, floor_div, pow2, sat, u32_range};
use crate::tables::Tables;

const ONE: Int = 65536;

/// What a user may set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub seed: u64,
    pub temperature: f32,
    pub top_k: usize,
    pub min_p: f32,
    pub top_p: f32,
    pub penalty: f32,
}

pub struct Sampler {
    settings: Settings,
    state: (u32, u32),
}

fn q16(x: f32, low: Int, high: Int) -> Int {
    ((f64::from(x) * 65536.0 + 0.5).floor() as Int).clamp(low, high)
}

impl Sampler {
    pub fn new(settings: Settings) -> Self {
        let z = settings.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = (z ^ (z >> 31)).max(1);
        Self { settings, state: (z as u32, (z >> 32) as u32) }
    }

    fn random(&mut self) -> Int {
        let (a, b) = self.state;
        let out = a.wrapping_mul(0x9e37_79bb).rotate_left(5).wrapping_mul(5);
        let b = b ^ a;
        self.state = (a.rotate_left(26) ^ b ^ (b << 9), b.rotate_left(13));
        Int::from(out)
    }

    pub fn sample(&mut self, tables: &Tables, logits: &[Int], frac: Int, history: &[u16]) -> u16 {
        let set = self.settings;
        let mut logits = logits.to_vec();
        let penalty = q16(set.penalty, ONE / 16, ONE * 16);
        if penalty != ONE {
            let reciprocal = pow2(32) / penalty;
            let mut seen: Vec<usize> = history.iter().rev().take(64).map(|&t| usize::from(t)).collect();
            seen.sort();
            seen.dedup();
            for token in seen {
                let v = &mut logits[token];
                *v = sat(floor_div(*v * if *v > 0 { reciprocal } else { penalty }, ONE));
            }
        }
        let top = *logits.iter().max().unwrap();
        if q16(set.temperature, 0, pow2(32)) == 0 {
            return logits.iter().position(|&v| v == top).unwrap() as u16;
        }

        let quotient = 1_549_082_005 * pow2(18) / q16(set.temperature, ONE / 64, ONE * 64);
        let n = bits(quotient);
        assert!((27..=39).contains(&n));
        let mantissa = quotient / pow2(n - 16);
        let (right, left) = ((frac + 32 - n).max(0), (n - frac - 32).max(0));
        let shrink = (right - 10).max(0);
        let distance = |v: Int| {
            let shrunk = ceil_div(u32_range(top - v), pow2(shrink));
            (shrunk <= 65535 / pow2(left))
                .then(|| u32_range(shrunk * mantissa * pow2(left)) / pow2(right.min(10)))
        };
        let candidates = logits.iter().enumerate().filter_map(|(token, &v)| Some((distance(v)?, token)));
        let mut candidates: Vec<(Int, usize)> = candidates.filter(|c| c.0 < 16 * ONE).collect();
        candidates.sort();
        let weight = |candidate: &(Int, usize)| tables.exp2(candidate.0);
        let total = |candidates: &[(Int, usize)]| u32_range(candidates.iter().map(weight).sum());

        if set.top_k > 0 {
            candidates.truncate(set.top_k);
        }
        candidates.retain(|c| weight(c) >= q16(set.min_p, 0, ONE));
        let top_p = q16(set.top_p, 0, ONE);
        if top_p < ONE {
            let wanted = ceil_div(total(&candidates) * top_p, ONE).max(1);
            let enough = (1..=candidates.len()).find(|&n| total(&candidates[..n]) >= wanted);
            candidates.truncate(enough.unwrap());
        }
        let mut left = self.random() * total(&candidates) / pow2(32);
        candidates.sort_by_key(|c| c.1);
        for candidate in &candidates {
            if left < weight(candidate) {
                return candidate.1 as u16;
            }
            left -= weight(candidate);
        }
        unreachable!("the number is below the total")
    }
}
