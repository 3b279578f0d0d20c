//! Logits to a token.

use crate::fixed::{LOG2_E_Q30, exp2_neg};
use crate::random::Xoroshiro64;
use crate::{Logits, Token};

/// How many of the last tokens [`Sampler::repetition_penalty`] looks at.
pub const PENALTY_WINDOW: usize = 64;

/// Chooses the next token from its logits: the most probable one, or by chance with a seed.
///
/// The builders are `const fn` that turn their arguments into integers (Q16, rounded half up) without a
/// float instruction; NaN leaves a setting off. Everything else is exact integer arithmetic, too: the same
/// seed and logits give the same tokens on every machine. [`Sampler::sample`] does, in this order:
///
/// 1. *Repetition penalty* `p`: the logit of every token among the last [`PENALTY_WINDOW`] of the history,
///    once, is divided by `p` (times 1/p in Q16, rounded down) where it is positive, else multiplied by it
///    (CTRL, Keskar et al. 2019, section 4.1, as in llama.cpp). Products are rounded down.
/// 2. *Greedy* (temperature 0): the token of the largest logit, the lowest of equals. The end.
/// 3. *Temperature* `T`: the distance to the largest logit, `d = (max - logit) * log2(e) / T` in Q16, by a
///    16-bit multiplier (relative error below 2^-15; the difference is first rounded up to 16 bits or so, so
///    that only the largest has distance 0). The weight is [`exp2_neg(d)`](exp2_neg), Q16. Tokens 16 or
///    further away, less than 2^-16 as probable as the best, drop out. The rest are ordered by distance,
///    the lower id first among equals; every filter keeps the first of them, at least one.
/// 4. *Top-k*: the first `k`.
/// 5. *Min-p*: those of at least `min_p` times the largest weight.
/// 6. *Top-p*: the fewest whose weights sum up to at least `top_p` times the sum of those left.
/// 7. *Draw*: one 32-bit random number (xoroshiro64**, seeded by SplitMix64) times the sum of the weights,
///    high word; the token, in the order of ids, in whose share of the sum it falls.
///
/// The memory is bounded, whatever the size of the vocabulary: about 700 bytes of stack. Each of top-k and
/// top-p walks over the logits four more times.
///
/// ```
/// use thumbformer::{Logits, Sampler, Token};
///
/// let logits = Logits::new(&[1 << 16, 3 << 16, 2 << 16], 16);
/// assert_eq!(Sampler::greedy().sample(logits, &[]), Token(1));
///
/// const CREATIVE: Sampler = Sampler::new(42).temperature(0.8).top_p(0.9);
/// let token = CREATIVE.clone().sample(logits, &[Token(1)]);
/// assert!(token == Token(1) || token == Token(2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sampler {
    random: Xoroshiro64,
    /// None is greedy.
    base_2: Option<Base2>,
    /// 0 is off.
    top_k: usize,
    /// Q16, [`ONE`] is off.
    top_p: u32,
    /// Q16, 0 is off.
    min_p: u32,
    /// Q16, [`ONE`] is off.
    penalty: u32,
    /// 1 / penalty, Q16, rounded down.
    reciprocal: u32,
}

/// 1.0 in Q16.
const ONE: u32 = 1 << 16;

impl Sampler {
    /// Always the most probable token.
    pub const fn greedy() -> Self {
        Sampler { base_2: None, ..Sampler::new(0) }
    }

    /// By chance, at temperature 1, without filters.
    pub const fn new(seed: u64) -> Self {
        Sampler {
            random: Xoroshiro64::new(seed),
            base_2: Some(Base2::new(ONE)),
            top_k: 0,
            top_p: ONE,
            min_p: 0,
            penalty: ONE,
            reciprocal: ONE,
        }
    }

    /// Divides the logits: below 1 is more certain, above 1 more varied. 0 and less is greedy; else clamped
    /// to 1/64..=64.
    pub const fn temperature(mut self, temperature: f32) -> Self {
        self.base_2 = match q16(temperature) {
            Some(0) => None,
            Some(t) => Some(Base2::new(clamp(t, ONE / 64, ONE * 64))),
            None => Some(Base2::new(ONE)),
        };
        self
    }

    /// Keeps the `k` most probable tokens; 0 keeps all.
    pub const fn top_k(mut self, k: usize) -> Self {
        self.top_k = k;
        self
    }

    /// Keeps the most probable tokens that together have at least this probability, clamped to 0..=1
    /// (Holtzman et al. 2020, section 3.1); 1 keeps all, 0 one.
    pub const fn top_p(mut self, p: f32) -> Self {
        self.top_p = match q16(p) {
            Some(p) => clamp(p, 0, ONE),
            None => ONE,
        };
        self
    }

    /// Keeps the tokens that are at least this times as probable as the most probable one, clamped to
    /// 0..=1 (Nguyen et al. 2024, section 3); 0 keeps all.
    pub const fn min_p(mut self, p: f32) -> Self {
        self.min_p = match q16(p) {
            Some(p) => clamp(p, 0, ONE),
            None => 0,
        };
        self
    }

    /// Makes tokens of the recent history less probable (above 1) or more (below 1); 1 is off, clamped to
    /// 1/16..=16.
    pub const fn repetition_penalty(mut self, penalty: f32) -> Self {
        self.penalty = match q16(penalty) {
            Some(p) => clamp(p, ONE / 16, ONE * 16),
            None => ONE,
        };
        self.reciprocal = ((1 << 32) / self.penalty as u64) as u32;
        self
    }

    /// The next token. `history` are the tokens so far, the latest last; only the repetition penalty reads
    /// it. Token 0 if there are no logits.
    pub fn sample(&mut self, logits: Logits<'_>, history: &[Token]) -> Token {
        if self.base_2.is_none() && self.penalty == ONE {
            return logits.argmax();
        }
        let scores = Scores::new(logits, history, [self.penalty, self.reciprocal]);
        let best = scores.best();
        let Some(base_2) = self.base_2 else { return best.0 };
        let scale = Scale::new(base_2, best.1, logits.frac());
        let candidates = Candidates { scores: &scores, scale };

        let mut cut = Cut { distance: farthest(self.min_p), ties: usize::MAX };
        if self.top_k > 0 {
            let k = u32::try_from(self.top_k).unwrap_or(u32::MAX);
            cut = candidates.narrow(cut, k, Measure::Number);
        }
        let mut sum = candidates.sum(cut);
        if self.top_p < ONE {
            let share = (u64::from(sum) * u64::from(self.top_p)).div_ceil(u64::from(ONE)) as u32;
            cut = candidates.narrow(cut, share.max(1), Measure::Weight);
            sum = candidates.sum(cut);
        }
        let mut left = self.random.below(sum);
        for (token, distance) in candidates.kept(cut) {
            match left.checked_sub(exp2_neg(distance)) {
                Some(rest) => left = rest,
                None => return token,
            }
        }
        best.0
    }
}

/// The logits after the repetition penalty.
struct Scores<'a> {
    logits: Logits<'a>,
    /// Tokens that have another value, in the order of ids.
    penalised: heapless::Vec<(Token, i32), PENALTY_WINDOW>,
}

impl<'a> Scores<'a> {
    fn new(logits: Logits<'a>, history: &[Token], penalty: [u32; 2]) -> Self {
        let mut penalised = heapless::Vec::new();
        let window = if penalty == [ONE; 2] { 0 } else { PENALTY_WINDOW };
        for token in history.iter().rev().take(window) {
            let place = penalised.binary_search_by_key(token, |(token, _)| *token);
            if let (Err(at), Some(value)) = (place, logits.get(*token)) {
                // the window has room for as many tokens as are looked at
                let _ = penalised.push((*token, penalise(value, penalty)));
                for place in (at + 1..penalised.len()).rev() {
                    if let Some([before, after]) = penalised.get_mut(place - 1..place + 1) {
                        core::mem::swap(before, after);
                    }
                }
            }
        }
        Scores { logits, penalised }
    }

    fn iter(&self) -> impl Iterator<Item = (Token, i32)> {
        let mut penalised = self.penalised.iter().peekable();
        self.logits
            .iter()
            .map(move |entry| *penalised.next_if(|(token, _)| *token == entry.0).unwrap_or(&entry))
    }

    /// The token of the largest value, the lowest of equals.
    fn best(&self) -> (Token, i32) {
        if self.penalised.is_empty() {
            let best = self.logits.argmax();
            return (best, self.logits.get(best).unwrap_or_default());
        }
        self.iter().reduce(|best, other| if other.1 > best.1 { other } else { best }).unwrap_or_default()
    }
}

/// A value after the penalty (itself and its reciprocal, Q16): see [`Sampler`], rule 1.
fn penalise(value: i32, [penalty, reciprocal]: [u32; 2]) -> i32 {
    let factor = if value > 0 { reciprocal } else { penalty };
    let product = (i64::from(value) * i64::from(factor)) >> 16;
    product.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// `log2(e) / temperature` as `mantissa * 2^(bits - 48)`; the mantissa has 16 bits, the first is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Base2 {
    mantissa: u32,
    bits: u32,
}

impl Base2 {
    /// The temperature is in Q16, 1/64..=64.
    const fn new(temperature: u32) -> Self {
        let quotient = (LOG2_E_Q30 << 18) / temperature as u64; // Q32, 27 to 39 bits
        let bits = 64 - quotient.leading_zeros();
        Base2 { mantissa: (quotient >> (bits - 16)) as u32, bits }
    }
}

/// From a value to its distance from the largest, `((max - value) >> shrink) * factor >> shift`.
#[derive(Clone, Copy)]
struct Scale {
    max: i32,
    shrink: u32,
    /// The largest shrunken difference whose product fits 32 bits; further away is out of reach.
    reach: u32,
    factor: u32,
    shift: u32,
}

impl Scale {
    fn new(base_2: Base2, max: i32, frac: u32) -> Self {
        // In all, difference * mantissa is shifted to the right by frac + 32 - bits, -7..=36. The last 10 of
        // these follow the product: then a difference of 16 bits reaches a distance of 32 at least.
        let right = (frac + 32).saturating_sub(base_2.bits);
        let left = base_2.bits.saturating_sub(frac + 32);
        Scale {
            max,
            shrink: right.saturating_sub(10),
            reach: 0xffff >> left,
            factor: base_2.mantissa << left,
            shift: right.min(10),
        }
    }

    /// The distance in Q16; 0 for the largest value only.
    #[inline(always)]
    fn distance(self, value: i32) -> Option<u32> {
        let difference = self.max.wrapping_sub(value) as u32;
        let rest = difference & ((1 << self.shrink) - 1);
        let difference = (difference >> self.shrink) + u32::from(rest != 0);
        (difference <= self.reach).then(|| (difference * self.factor) >> self.shift)
    }
}

/// Bits of the distances that matter: below 16 in Q16.
const DISTANCE_BITS: u32 = 20;

/// The largest distance, below 16, of a weight of at least `min_p` (Q16): by bisection.
fn farthest(min_p: u32) -> u32 {
    let mut distance = 0;
    for bit in (0..DISTANCE_BITS).rev() {
        if exp2_neg(distance | 1 << bit) >= min_p {
            distance |= 1 << bit;
        }
    }
    distance
}

/// Where the ordered candidates end: all nearer than `distance` are kept, and the first `ties` at it.
#[derive(Clone, Copy)]
struct Cut {
    distance: u32,
    ties: usize,
}

/// What candidates are counted by.
#[derive(Clone, Copy)]
enum Measure {
    /// One each.
    Number,
    /// The weight, Q16.
    Weight,
}

impl Measure {
    /// Of a candidate at a distance.
    #[inline(always)]
    fn of(self, distance: u32) -> u32 {
        match self {
            Self::Number => 1,
            Self::Weight => exp2_neg(distance),
        }
    }
}

struct Candidates<'a> {
    scores: &'a Scores<'a>,
    scale: Scale,
}

impl Candidates<'_> {
    /// The tokens that a cut keeps, in the order of ids, with their distances.
    fn kept(&self, cut: Cut) -> impl Iterator<Item = (Token, u32)> {
        let mut ties = cut.ties;
        self.scores.iter().filter_map(move |(token, value)| {
            let distance = self.scale.distance(value)?;
            if distance == cut.distance {
                ties = ties.checked_sub(1)?;
            }
            (distance <= cut.distance).then_some((token, distance))
        })
    }

    /// The sum of the weights, Q16: fewer than 2^16 of at most 2^16.
    fn sum(&self, cut: Cut) -> u32 {
        self.kept(cut).map(|(_, distance)| exp2_neg(distance)).sum()
    }

    /// The fewest candidates, nearest first, whose measures sum up to `budget`; all where they do not.
    ///
    /// A radix selection: each pass finds five more bits of the last one's distance.
    #[inline(never)]
    fn narrow(&self, cut: Cut, budget: u32, measure: Measure) -> Cut {
        const DIGIT: u32 = 5;
        let (mut distance, mut left) = (0, budget);
        for shift in (0..DISTANCE_BITS / DIGIT).rev().map(|pass| pass * DIGIT) {
            let mut buckets = [0u32; 1 << DIGIT];
            for (_, d) in self.kept(cut) {
                if d >> (shift + DIGIT) == distance >> (shift + DIGIT)
                    && let Some(bucket) = buckets.get_mut((d >> shift & 31) as usize)
                {
                    *bucket += measure.of(d);
                }
            }
            let digit = buckets.iter().position(|bucket| match left.checked_sub(*bucket) {
                Some(rest) if rest > 0 => {
                    left = rest;
                    false
                }
                _ => true,
            });
            let Some(digit) = digit else { return cut };
            distance |= (digit as u32) << shift;
        }
        let ties = left.div_ceil(measure.of(distance).max(1)) as usize;
        if distance == cut.distance {
            Cut { distance, ties: ties.min(cut.ties) }
        } else {
            Cut { distance, ties }
        }
    }
}

/// `x` in Q16, rounded half up; 0 below 0, `u32::MAX` where it does not fit, nothing for NaN.
const fn q16(x: f32) -> Option<u32> {
    let bits = x.to_bits();
    let exponent = (bits >> 23) & 0xff;
    let mantissa = (bits & 0x7f_ffff) | 0x80_0000;
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        // NaN, without a float instruction
        return None;
    }
    if bits >> 31 != 0 {
        return Some(0);
    }
    // x = mantissa * 2^(exponent - 150)
    Some(match exponent {
        143.. => u32::MAX,
        134..=142 => mantissa << (exponent - 134),
        109..=133 => (mantissa + (1 << (133 - exponent))) >> (134 - exponent),
        _ => 0,
    })
}

const fn clamp(x: u32, low: u32, high: u32) -> u32 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

#[cfg(test)]
mod tests;
