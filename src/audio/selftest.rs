//! Sounds whose features every machine must compute alike.

use super::{FrontEnd, Spec, Tables};
use crate::{Digest, Error};

/// What a machine computed, and should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The digest of all rows, as it should be.
    pub expected: u64,
    /// As it is.
    pub found: u64,
}

/// Samples of [`voice`].
pub const VOICE_LEN: usize = 16_000;

/// A second of something between a voice and noise, of rising loudness, with silence at its beginning and a part that is cut off
/// at full scale: by integers, xorshift32 (Marsaglia 2003) and a rough resonance.
pub fn voice() -> impl Iterator<Item = i16> {
    let (mut random, mut low, mut high) = (1u32, 0i32, 0i32);
    (0..VOICE_LEN as i32).map(move |n| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let noise = random.cast_signed() >> 20;
        let pulse = if n % 123 == 0 { 20_000 } else { 0 };
        low += (high >> 2) - (low >> 6);
        high += noise + pulse - (low >> 2) - (high >> 3);
        let loud = (i64::from(high) * i64::from((n - 1000).max(0))) >> 11;
        loud.clamp(-32768, 32767) as i16
    })
}

static KWT: Tables<{ Spec::KWT.table_words() }> = Tables::new(Spec::KWT);
static VOICE_8K: Tables<{ Spec::VOICE_8K.table_words() }> = Tables::new(Spec::VOICE_8K);
const WORDS: usize = Spec::KWT.memory_words();

/// Digests of the rows of [`voice`].
const EXPECTED: [u64; 2] = [6_740_212_698_301_792_714, 8_697_792_381_107_690_564];

/// Compares the features of [`voice`] with what they are elsewhere. `meter` does its work, which is that of a second of
/// 16 kHz or two of 8 kHz, and may count.
#[inline(never)]
pub fn selftest(mut meter: impl FnMut(&Spec, &mut dyn FnMut())) -> Result<(), Failure> {
    let mut memory = [0; WORDS];
    let found = [
        digest(FrontEnd::new(&KWT, &mut memory), &mut meter),
        digest(FrontEnd::new(&VOICE_8K, &mut memory), &mut meter),
    ];
    match EXPECTED.into_iter().zip(found).find(|(expected, found)| expected != found) {
        Some((expected, found)) => Err(Failure { expected, found }),
        None => Ok(()),
    }
}

fn digest(front: Result<FrontEnd<'_>, Error>, meter: &mut impl FnMut(&Spec, &mut dyn FnMut())) -> u64 {
    let mut digest = Digest::new();
    if let Ok(mut front) = front {
        let (spec, mut voice) = (*front.spec(), voice());
        // What makes the samples, and the digest, is not the front end's work.
        let mut piece = [0; 100];
        while voice.next().is_some_and(|first| {
            piece[0] = first;
            piece.iter_mut().skip(1).zip(&mut voice).for_each(|(sample, next)| *sample = next);
            true
        }) {
            let mut row = [0; 40];
            let mut columns = 0;
            meter(&spec, &mut || {
                front.push(&piece, |new| {
                    columns = new.len();
                    row.iter_mut().zip(new).for_each(|(kept, &feature)| *kept = feature);
                });
            });
            digest.update(row.get(..columns).unwrap_or_default());
        }
    }
    digest.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_as_everywhere() {
        assert_eq!(selftest(|_, work| work()), Ok(()));
    }
}
