//! What a front end looks up, made while the firmware is compiled.

use super::{
    cosine::{cosine, log2},
    spec::Spec,
};

/// The constants of a [`Spec`], for a `static`: they belong in flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables<const WORDS: usize> {
    spec: Spec,
    words: [i32; WORDS],
}

impl<const WORDS: usize> Tables<WORDS> {
    /// Computes the tables.
    ///
    /// # Panics
    /// Where the spec cannot be computed, or `WORDS` is not its [`Spec::table_words`]: in a `const` or `static`, an error
    /// of the compiler.
    pub const fn new(spec: Spec) -> Self {
        spec.check();
        assert!(WORDS == spec.table_words(), "WORDS: wanted the spec's table_words()");
        let mut words = [0; WORDS];
        let mut at = 0;
        // The window: (1 - cos(2 pi n / frame)) / 2 in Q31.
        let mut n = 0;
        while n < spec.frame {
            let value = (1 << 31) - cosine(n, spec.frame) as i64;
            let half = (value + 1) >> 1;
            words[at] = if half > i32::MAX as i64 { i32::MAX } else { half as i32 };
            (n, at) = (n + 1, at + 1);
        }
        // Roots of unity, cosine and sine.
        let mut k = 0;
        while k < spec.points / 2 {
            words[at] = cosine(k, spec.points);
            words[at + 1] = cosine(k + spec.points * 3 / 4, spec.points);
            (k, at) = (k + 1, at + 2);
        }
        at = bins(&spec, &mut words, at);
        let mut j = 0;
        while j < 4 * spec.bands {
            words[at] = cosine(j, 4 * spec.bands);
            (j, at) = (j + 1, at + 1);
        }
        Self { spec, words }
    }

    /// The parts.
    pub(super) fn view(&self) -> View<'_> {
        let spec = self.spec;
        let (window, rest) = self.words.split_at_checked(spec.frame).unwrap_or_default();
        let (roots, rest) = rest.split_at_checked(spec.points).unwrap_or_default();
        let (counts, rest) = rest.split_at_checked(spec.bands + 1).unwrap_or_default();
        let (weights, cosines) = rest.split_at_checked(spec.points / 2).unwrap_or_default();
        let (first, weights) = weights.split_first().unwrap_or((&0, &[]));
        View { spec, window, roots: roots.as_chunks().0, counts, first: *first as usize, weights, cosines }
    }
}

/// Writes, for each stretch from the middle of a band to that of the next, how many bins it has; the first bin; and of each
/// bin the part that the upper band has, in Q15. The lower band has the rest. Returns where that ends.
const fn bins(spec: &Spec, words: &mut [i32], at: usize) -> usize {
    let points = spec.points as u64;
    // log2 of 1 + f / 700, but for what all of them have in common
    let low = log2((700 + spec.low as u64) * points) as i128;
    let width = log2((700 + spec.high as u64) * points) as i128 - low;
    let weights = at + spec.bands + 1;
    let (mut k, mut next) = (1, weights + 1);
    while k < points / 2 {
        let above = log2(700 * points + k * spec.rate as u64) as i128 - low;
        // How many bands above the lowest edge, in Q15.
        let place = above * ((spec.bands as i128 + 1) << 15) / width;
        if above >= 0 && above < width {
            if next == weights + 1 {
                words[weights] = k as i32;
            }
            words[at + (place >> 15) as usize] += 1;
            words[next] = (place & 0x7fff) as i32;
            next += 1;
        }
        k += 1;
    }
    weights + spec.points / 2
}

/// The parts of the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'t> {
    pub spec: Spec,
    /// Q31.
    pub window: &'t [i32],
    /// `cos` and `sin` of `2 pi k / points`, Q31.
    pub roots: &'t [[i32; 2]],
    /// Bins of each stretch between the middles of two bands.
    pub counts: &'t [i32],
    /// The first bin.
    pub first: usize,
    /// The upper band's part of each bin from the first on, Q15.
    pub weights: &'t [i32],
    /// `cos(2 pi j / (4 bands))`, Q31.
    pub cosines: &'t [i32],
}
