//! From magnitudes to the logarithms of bands.

use super::{constants::log2, fft::Complex, tables::View};
use crate::shift::rsqrt;

/// The magnitude, to about 2^-13 of its value.
#[inline(always)]
pub fn magnitude([re, im]: Complex) -> i32 {
    let [re, im] = [i64::from(re), i64::from(im)];
    let square = (re * re + im * im) as u64;
    // An even number of zeros, so that the root of the power of two is one.
    let zeros = (square | 1).leading_zeros() & !1;
    let top = ((square << zeros) >> 32) as u32;
    if top >> 16 < 1 << 14 {
        return 0; // the square is 0
    }
    // rsqrt is 2^31 / sqrt(top).
    ((u64::from(top) * u64::from(rsqrt(top >> 16))) >> (15 + zeros / 2)) as i32
}

/// Adds magnitudes up to bands and writes their logarithms to base two, in Q16. A band that is `2^shift` as large as the
/// sound has the logarithm 0 where the sound has.
#[inline(never)]
pub fn bands(tables: &View<'_>, values: &[Complex], shift: i32, logs: &mut [i32]) {
    let mut bins = values.iter().skip(tables.first).zip(tables.weights);
    let mut stretches = tables.counts.iter().map(|&count| {
        let (mut all, mut upper) = (0u64, 0u64);
        for (&[magnitude, _], &weight) in bins.by_ref().take(count as usize) {
            let magnitude = u64::from(magnitude.cast_unsigned());
            all += magnitude;
            upper += magnitude * u64::from(weight.cast_unsigned());
        }
        ((all << 15) - upper, upper)
    });
    // Of the first stretch only the upper part belongs to a band.
    let mut rising = stretches.next().map_or(0, |(_, upper)| upper);
    for (log, (lower, upper)) in logs.iter_mut().zip(stretches) {
        let energy = rising + lower;
        let floor = tables.spec.floor;
        *log = if energy == 0 { floor } else { (log2(energy) - (shift << 16)).max(floor) };
        rising = upper;
    }
}
