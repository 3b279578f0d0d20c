//! Slices in parts of the same length.
//!
//! `chunks_exact` divides for the length of what is left over, and so does a zip of any chunks; some cores have no
//! instruction for it.

/// The whole parts of `len` elements, one after the other; none where `len` is 0.
#[inline(always)]
pub fn chunks<T>(mut all: &[T], len: usize) -> impl Iterator<Item = &[T]> {
    core::iter::from_fn(move || {
        let (first, rest) = all.split_at_checked(len).filter(|_| len > 0)?;
        all = rest;
        Some(first)
    })
}

/// [`chunks`] that can be changed.
#[inline(always)]
pub fn chunks_mut<T>(mut all: &mut [T], len: usize) -> impl Iterator<Item = &mut [T]> {
    core::iter::from_fn(move || {
        let (first, rest) = core::mem::take(&mut all).split_at_mut_checked(len).filter(|_| len > 0)?;
        all = rest;
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_chunks_exact() {
        let mut all = [1, 2, 3, 4, 5, 6, 7];
        for len in 1..=8 {
            assert!(chunks(&all, len).eq(all.chunks_exact(len)), "{len}");
            let mut same = all;
            assert!(chunks_mut(&mut all, len).eq(same.chunks_exact_mut(len)), "{len}");
        }
        assert_eq!(chunks(&all, 0).count() + chunks_mut(&mut all, 0).count(), 0);
    }
}
