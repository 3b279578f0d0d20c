//! The Fourier transform of real samples, in i32.
//!
//! A complex transform of half the points (decimation in time, radix 2) and a step that takes the spectra of even and odd
//! samples apart. Every stage halves, so that nothing overflows: samples are at most 2^29, complex values at most 2^29.5 and
//! some units of rounding.

/// A complex number.
pub type Complex = [i32; 2];

/// `(a + w z) / 2^s` with `s` at least 1, where `w = cos - i sin` is in Q31; rounded half up.
#[inline(always)]
fn sum(a: Complex, [cos, sin]: Complex, [re, im]: Complex, s: u32) -> Complex {
    let [cos, sin, re, im] = [cos, sin, re, im].map(i64::from);
    let [ar, ai] = a.map(|x| (i64::from(x) << 31) + (1 << (30 + s)));
    [((ar + cos * re + sin * im) >> (31 + s)) as i32, ((ai + cos * im - sin * re) >> (31 + s)) as i32]
}

/// Transforms `values`, whose order is that of reversed bits, and divides by their number, a power of two of at least
/// four. `roots` are `cos` and `sin` of `2 pi k / (2 n)`.
#[inline(never)]
pub fn transform(values: &mut [Complex], roots: &[Complex]) {
    // Two stages whose roots are 1 and -i.
    for [a, b, c, d] in values.as_chunks_mut().0 {
        let quarter = |z: Complex| z.map(|x| (x + 2) >> 2);
        let [[ar, ai], [br, bi], [cr, ci], [dr, di]] = [*a, *b, *c, *d];
        let (sr, si, tr, ti) = (ar + br, ai + bi, ar - br, ai - bi);
        let (ur, ui, vr, vi) = (cr + dr, ci + di, cr - dr, ci - di);
        *a = quarter([sr + ur, si + ui]);
        *b = quarter([tr + vi, ti - vr]);
        *c = quarter([sr - ur, si - ui]);
        *d = quarter([tr - vi, ti + vr]);
    }
    let mut half = 4;
    while half < values.len() {
        // Never 0, which the compiler cannot know.
        let stride = (roots.len() / half).max(1);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut_checked(half).unwrap_or_default();
            for ((a, b), &root) in low.iter_mut().zip(high).zip(roots.iter().step_by(stride)) {
                let [re, im] = sum(*a, root, *b, 1);
                *b = [a[0] - re, a[1] - im];
                *a = [re, im];
            }
        }
        half *= 2;
    }
}

/// From the transform of pairs of samples to half the spectrum of the samples: hands each bin from 1 on to `put`, which
/// makes what stays in its place.
#[inline(always)]
pub fn split(values: &mut [Complex], roots: &[Complex], put: impl Fn(Complex) -> i32) {
    let (low, high) = values.split_at_mut_checked(values.len() / 2).unwrap_or_default();
    if let Some(middle) = high.first_mut() {
        *middle = [put(middle.map(|x| x >> 1)), 0];
    }
    let pairs = low.iter_mut().zip(roots).skip(1);
    for ((a, &root), b) in pairs.zip(high.iter_mut().rev()) {
        let ([ar, ai], [br, bi]) = (*a, *b);
        let (even, odd) = ([ar + br, ai - bi], [ai + bi, br - ar]);
        let [re, im] = sum(even, root, odd, 2);
        *a = [put([re, im]), 0];
        *b = [put([(even[0] >> 1) - re, im - (even[1] >> 1)]), 0];
    }
}
