//! Which part of a corpus is held out.

use super::{Corpus, Piece};
use crate::nn::random::Random;
use serde::{Deserialize, Serialize};

/// Keeps the split apart from any other stream of the same seed.
const SPLIT_STREAM: u64 = 0x5911;

/// How the held-out part is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The hash of each document decides: documents that are added move no other, and equal ones stay together.
    Documents,
    /// The end of the text.
    Tail,
}

/// The parts of a corpus.
#[derive(Debug)]
pub struct Parts {
    /// To learn from.
    pub train: Vec<Piece>,
    /// Held out.
    pub valid: Vec<Piece>,
    /// Kept for the end; nothing, unless it was asked for.
    pub test: Vec<Piece>,
}

impl Corpus {
    /// The rule where none is asked for: by document, if there are several.
    pub fn default_split(&self) -> Split {
        if self.documents() > 1 { Split::Documents } else { Split::Tail }
    }

    /// Cuts the corpus in two, or with a share `test` in three. By document, about the share `held_out` of them is held
    /// out; where chance would take none or all, the one whose turn is nearest is held out or kept. What is held out does
    /// not depend on the test part, which is the end of the text, or those whose turn is next.
    pub fn split(&self, rule: Split, held_out: f64, test: f64, seed: u64) -> Parts {
        match rule {
            Split::Documents => self.by_document(held_out, test, seed),
            Split::Tail => self.tail(held_out, test),
        }
    }

    fn by_document(&self, held_out: f64, test: f64, seed: u64) -> Parts {
        let chance = |document: usize| {
            let [a, b] = self.fingerprint(document);
            Random::keyed(&[seed, SPLIT_STREAM, a, b]).next_u64()
        };
        // Exact in 53 bits, and the same on every machine.
        let below = |chance: u64, share: f64| ((chance >> 11) as f64) < share * (1u64 << 53) as f64;
        let chances: Vec<u64> = (0..self.documents()).map(chance).collect();
        let (least, most) = (chances.iter().min().copied(), chances.iter().max().copied());
        let mut parts = Parts { train: Vec::new(), valid: Vec::new(), test: Vec::new() };
        for (document, chance) in chances.into_iter().enumerate() {
            let part = match Some(chance) {
                chosen if chosen == most => &mut parts.train,
                chosen if chosen == least || below(chance, held_out) => &mut parts.valid,
                _ if below(chance, held_out + test) => &mut parts.test,
                _ => &mut parts.train,
            };
            part.push(self.whole(document));
        }
        parts
    }

    fn tail(&self, held_out: f64, test: f64) -> Parts {
        let all: Vec<Piece> = (0..self.documents()).map(|document| self.whole(document)).collect();
        let bytes: usize = all.iter().map(Piece::len).sum();
        let ends = [1.0 - held_out - test, 1.0 - test].map(|share| (bytes as f64 * share) as usize);
        let mut parts = Parts { train: Vec::new(), valid: Vec::new(), test: Vec::new() };
        let mut before = 0;
        for piece in all {
            let text = self.raw(&piece);
            let [first, second] = ends.map(|end| cut(text, end.saturating_sub(before)));
            before += text.len();
            let ranges = [0..first, first..second, second..text.len()];
            for (part, range) in [&mut parts.train, &mut parts.valid, &mut parts.test].into_iter().zip(ranges)
            {
                if !range.is_empty() {
                    part.push(piece.part(range));
                }
            }
        }
        parts
    }
}

/// The last place up to `at` that is neither within a character nor within a line end.
fn cut(text: &[u8], at: usize) -> usize {
    let mut at = at.min(text.len());
    while at > 0 && at < text.len() && (text[at] & 0xc0 == 0x80 || text[at - 1..=at] == *b"\r\n") {
        at -= 1;
    }
    at
}
