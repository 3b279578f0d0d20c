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

/// The two parts of a corpus.
#[derive(Debug)]
pub struct Parts {
    /// To learn from.
    pub train: Vec<Piece>,
    /// Held out.
    pub valid: Vec<Piece>,
}

impl Corpus {
    /// The rule where none is asked for: by document, if there are several.
    pub fn default_split(&self) -> Split {
        if self.documents() > 1 { Split::Documents } else { Split::Tail }
    }

    /// Cuts the corpus in two. By document, about the share `held_out` of them is held out; where chance would take none or
    /// all, the one whose turn is nearest is held out or kept.
    pub fn split(&self, rule: Split, held_out: f64, seed: u64) -> Parts {
        match rule {
            Split::Documents => self.by_document(held_out, seed),
            Split::Tail => self.tail(held_out),
        }
    }

    fn by_document(&self, held_out: f64, seed: u64) -> Parts {
        let chance = |document: usize| {
            let [a, b] = self.fingerprint(document);
            Random::keyed(&[seed, SPLIT_STREAM, a, b]).next_u64()
        };
        // Exact in 53 bits, and the same on every machine.
        let below = |chance: u64| ((chance >> 11) as f64) < held_out * (1u64 << 53) as f64;
        let chances: Vec<u64> = (0..self.documents()).map(chance).collect();
        let (least, most) = (chances.iter().min().copied(), chances.iter().max().copied());
        let held = |chance: u64| (below(chance) || Some(chance) == least) && Some(chance) != most;
        let (valid, train) =
            (0..self.documents()).partition::<Vec<_>, _>(|&document| held(chances[document]));
        let pieces = |documents: Vec<usize>| documents.into_iter().map(|d| self.whole(d)).collect();
        Parts { train: pieces(train), valid: pieces(valid) }
    }

    fn tail(&self, held_out: f64) -> Parts {
        let all: Vec<Piece> = (0..self.documents()).map(|document| self.whole(document)).collect();
        let bytes: usize = all.iter().map(Piece::len).sum();
        let mut left = (bytes as f64 * (1.0 - held_out)) as usize;
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for piece in all {
            let text = self.raw(&piece);
            let mut cut = left.min(text.len());
            // Neither within a character nor within a line end.
            while cut > 0 && cut < text.len() && (text[cut] & 0xc0 == 0x80 || text[cut - 1..=cut] == *b"\r\n")
            {
                cut -= 1;
            }
            left = if cut < text.len() { 0 } else { left - cut };
            for (part, range) in [(&mut train, 0..cut), (&mut valid, cut..text.len())] {
                if !range.is_empty() {
                    part.push(piece.part(range));
                }
            }
        }
        Parts { train, valid }
    }
}
