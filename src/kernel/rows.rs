//! Rows of a matrix, and the safe loops that every core shares.

/// The whole rows of `columns` elements, `stride` apart; none where `stride` is less than `columns`.
pub fn rows(matrix: &[i8], stride: usize, columns: usize) -> impl Iterator<Item = &[i8]> {
    matrix.chunks(stride.max(1)).map_while(move |row| row.get(..columns))
}

/// How many of these rows there are in `len` elements.
pub fn count(len: usize, stride: usize, columns: usize) -> usize {
    let before_last = len.checked_sub(columns).and_then(|room| room.checked_div(stride));
    match before_last {
        Some(before_last) if stride >= columns => before_last + 1,
        _ => 0,
    }
}

/// [`count`], or `wanted` if that is less. Divides only where it must, for not every core can.
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv", test))]
pub fn at_most(wanted: usize, len: usize, stride: usize, columns: usize) -> usize {
    let small = wanted < 1 << 16 && stride < 1 << 16 && len < 1 << 31;
    if small && stride > 0 && stride >= columns && wanted * stride + columns <= len + stride {
        wanted
    } else {
        count(len, stride, columns).min(wanted)
    }
}

/// See [`super::add_weighted_rows`]. Eight columns at a time stay in registers while all rows pass.
pub fn add_weighted_rows(values: &[i8], stride: usize, weights: &[i16], sums: &mut [i32]) {
    let whole = count(values.len(), stride, sums.len()).min(weights.len());
    let weights = weights.get(..whole).unwrap_or_default();
    let mut rest = values;
    let (groups, singles) = sums.as_chunks_mut::<8>();
    for sums in groups {
        let mut s = *sums;
        for (row, &weight) in rest.chunks(stride.max(1)).zip(weights) {
            let Some(row) = row.first_chunk::<8>() else {
                break;
            };
            for (s, &v) in s.iter_mut().zip(row) {
                *s = s.wrapping_add(i32::from(v) * i32::from(weight));
            }
        }
        *sums = s;
        rest = rest.get(8..).unwrap_or_default();
    }
    if !singles.is_empty() {
        for (row, &weight) in rows(rest, stride, singles.len()).zip(weights) {
            for (s, &v) in singles.iter_mut().zip(row) {
                *s = s.wrapping_add(i32::from(v) * i32::from(weight));
            }
        }
    }
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
