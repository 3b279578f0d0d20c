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
