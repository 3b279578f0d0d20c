//! Rows of a matrix, and the safe loops that every core shares.

#[cfg(not(thumbformer_kernel = "mve"))]
use crate::format::InputWidth;

/// The whole rows of `columns` elements, `stride` apart; none where `stride` is less than `columns`.
pub fn rows(matrix: &[i8], stride: usize, columns: usize) -> impl Iterator<Item = &[i8]> {
    matrix.chunks(stride.max(1)).map_while(move |row| row.get(..columns))
}

/// How many of these rows there are in `len` elements.
#[cfg(any(test, not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector"))))]
pub fn count(len: usize, stride: usize, columns: usize) -> usize {
    let before_last = len.checked_sub(columns).and_then(|room| room.checked_div(stride));
    match before_last {
        Some(before_last) if stride >= columns => before_last + 1,
        _ => 0,
    }
}

/// [`count`], or `wanted` if that is less. Divides only where it must, for not every core can.
#[cfg(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "dsp",
    thumbformer_kernel = "riscv",
    test
))]
pub fn at_most(wanted: usize, len: usize, stride: usize, columns: usize) -> usize {
    let small = wanted < 1 << 16 && stride < 1 << 16 && len < 1 << 31;
    if small && stride > 0 && stride >= columns && wanted * stride + columns <= len + stride {
        wanted
    } else {
        count(len, stride, columns).min(wanted)
    }
}

/// Puts a vector into the form that [`product`] wants: one for all widths.
#[cfg(not(thumbformer_kernel = "mve"))]
pub fn prepare(vector: &mut [i16], _: InputWidth, _: &mut [u32]) {
    super::arrange(vector);
}

/// Multiplies rows that follow one another by a vector that [`prepare`] has seen.
#[cfg(not(thumbformer_kernel = "mve"))]
pub fn product(weights: &[i8], vector: &[i16], _: &[u32], _: InputWidth, y: &mut [i32]) {
    super::matvec_strided(weights, vector.len(), vector, y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_is_the_count_or_what_is_wanted() {
        let mut fewer = 0;
        for (wanted, stride, columns) in
            (0..6).flat_map(|w| (0..6).flat_map(move |s| (0..6).map(move |c| (w, s * 4, c * 3))))
        {
            for len in [0, 1, 7, 8, 11, 20, 31, 32, 33, 100, usize::MAX / 2] {
                let expected = count(len, stride, columns).min(wanted);
                assert_eq!(
                    at_most(wanted, len, stride, columns),
                    expected,
                    "{wanted} {len} {stride} {columns}"
                );
                fewer += u32::from(expected < wanted);
            }
        }
        assert!(fewer > 100);
        assert_eq!(at_most(1 << 16, 1 << 20, 1 << 16, 16), 16);
    }
}
