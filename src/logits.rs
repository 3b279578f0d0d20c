//! The scores of the next token.

use crate::Token;
use crate::fixed::{LOG2_E_Q30, exp2_neg_q30, ln};
use crate::shift::keep_rolled;

/// Scores (natural logarithms, up to a constant) of all tokens, or all classes, in fixed point: `values[i] * 2^-frac`.
///
/// ```
/// use thumbformer::{Logits, Token};
/// let logits = Logits::new(&[0, 3 << 8, -256, 3 << 8], 8);
/// assert_eq!(logits.argmax(), Token(1));
/// assert_eq!(logits.get(Token(2)), Some(-256)); // -1.0
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Logits<'a> {
    values: &'a [i32],
    frac: u32,
}

impl<'a> Logits<'a> {
    /// The score of token `i` is `values[i] * 2^-frac`. Values past 65535 have no token and are left out;
    /// `frac` is at most 31, more counts as 31.
    pub const fn new(values: &'a [i32], frac: u32) -> Self {
        let values = match values.split_at_checked(u16::MAX as usize) {
            Some((values, _)) => values,
            None => values,
        };
        Logits { values, frac: if frac > 31 { 31 } else { frac } }
    }

    /// The number of tokens, at most 65535.
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no tokens.
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values, one per token.
    pub const fn values(&self) -> &'a [i32] {
        self.values
    }

    /// Fraction bits of the values, `0..=31`.
    pub const fn frac(&self) -> u32 {
        self.frac
    }

    /// The value of a token.
    pub fn get(&self, token: Token) -> Option<i32> {
        self.values.get(usize::from(token.0)).copied()
    }

    /// Tokens and their values, in the order of tokens.
    pub fn iter(&self) -> impl Iterator<Item = (Token, i32)> + 'a {
        (0..u16::MAX).map(Token).zip(self.values.iter().copied())
    }

    /// The token of the largest value, the lowest of equals; token 0 if there are none.
    #[inline(never)]
    pub fn argmax(&self) -> Token {
        // Eight at a time: a new largest one is rare.
        let (eights, rest) = self.values.as_chunks::<8>();
        let (mut top, mut first) = (i32::MIN, 0);
        for (i, eight) in eights.iter().enumerate() {
            if eight.iter().any(|&value| value > top) {
                top = eight.iter().fold(top, |top, &value| top.max(value));
                first = 8 * i;
            }
            keep_rolled();
        }
        if rest.iter().any(|&value| value > top) {
            top = rest.iter().fold(top, |top, &value| top.max(value));
            first = 8 * eights.len();
        }
        let within = self.values.get(first..).unwrap_or_default();
        Token((first + within.iter().position(|&value| value == top).unwrap_or(0)) as u16)
    }

    /// The natural logarithm of a token's probability in Q16, never above 0 and within 2/65536 of the true
    /// value above -20; `i32::MIN` for a token out of range.
    ///
    /// ```
    /// use thumbformer::{Logits, Token};
    /// let even = Logits::new(&[7, 7], 16);
    /// assert_eq!(even.log_prob(Token(0)), -45_426); // ln(1/2)
    /// ```
    pub fn log_prob(&self, token: Token) -> i32 {
        let (Some(value), Some(max)) = (self.get(token), self.values.iter().copied().max()) else {
            return i32::MIN;
        };
        let sum = self.sum(max);
        const LN_2_30_Q16: i64 = 1_362_783; // 30 ln(2)
        let half = 1 << self.frac >> 1;
        let below_max = (((u64::from(max.abs_diff(value)) << 16) + half) >> self.frac) as i64;
        let log = -below_max - (i64::from(ln(sum)) - LN_2_30_Q16).max(0);
        i32::try_from(log).unwrap_or(i32::MIN)
    }

    /// A token's probability in Q16, 0 to 65536, within 2/65536 of the true value; 0 for a token out of range.
    ///
    /// ```
    /// use thumbformer::{Logits, Token};
    /// let even = Logits::new(&[7, 7], 16);
    /// assert_eq!(even.probability(Token(0)), 1 << 15);
    /// ```
    pub fn probability(&self, token: Token) -> u32 {
        let (Some(value), Some(max)) = (self.get(token), self.values.iter().copied().max()) else {
            return 0;
        };
        let sum = self.sum(max);
        let rounded = (self.exp(max, value) << 16) + sum / 2; // below 2^47
        rounded.checked_div(sum).unwrap_or(0) as u32
    }

    /// `exp(v - max)` in Q30.
    fn exp(&self, max: i32, v: i32) -> u64 {
        // distance to the largest in base 2, Q16: the product is below 2^63
        let shift = 14 + self.frac;
        let base_2 = (u64::from(max.abs_diff(v)) * LOG2_E_Q30 + (1 << (shift - 1))) >> shift;
        u64::from(exp2_neg_q30(u32::try_from(base_2).unwrap_or(u32::MAX)))
    }

    /// The sum of these over all values: Q30, at least 1.0 where `max` is the largest.
    fn sum(&self, max: i32) -> u64 {
        self.values.iter().map(|v| self.exp(max, *v)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn no_tokens_are_no_trouble() {
        let none = Logits::new(&[], 16);
        assert!(none.is_empty());
        assert_eq!(none.argmax(), Token(0));
        assert_eq!(none.log_prob(Token(0)), i32::MIN);
        let low = Logits::new(&[i32::MIN, i32::MIN], 99);
        assert_eq!((low.argmax(), low.frac()), (Token(0), 31));
        let far = Logits::new(&[i32::MIN, i32::MAX], 0);
        assert_eq!(far.log_prob(Token(0)), i32::MIN);
        assert_eq!(far.log_prob(Token(1)), 0);
    }

    proptest! {
        #[test]
        fn log_prob_is_near_the_true_value(
            values in prop::collection::vec(-300_000..300_000i32, 1..200),
            frac in 12..20u32,
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(values.len());
            let real: Vec<f64> = values.iter().map(|v| f64::from(*v) / f64::from(1 << frac)).collect();
            let sum: f64 = real.iter().map(|v| libm::exp(*v)).sum();
            let want = (real[at] - libm::log(sum)) * 65536.0;
            let got = Logits::new(&values, frac).log_prob(Token(at as u16));
            prop_assert!(got <= 0);
            prop_assert!(libm::fabs(f64::from(got) - want) < 2.0, "{got} is not {want}");
            let (got, want) = (Logits::new(&values, frac).probability(Token(at as u16)), libm::exp(want / 65536.0));
            prop_assert!(libm::fabs(f64::from(got) - 65536.0 * want) < 2.0, "{got} is not {want}");
        }
    }
}
