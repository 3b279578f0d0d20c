//! Strided matrix views and their product.

use super::math::dot;
use super::real::Real;
use gemm::Parallelism;

/// A read-only `[rows, columns]` view of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, R> {
    values: &'a [R],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, R> Matrix<'a, R> {
    /// Views densely packed rows. Panics if `values` is too short.
    pub fn new(values: &'a [R], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Views rows that start `row_stride` values apart. Panics if `values` is too short.
    pub fn strided(values: &'a [R], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(values.len(), rows, columns, row_stride);
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transposed view, `[columns, rows]`.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// A writable `[rows, columns]` view of a slice.
#[derive(Debug)]
pub struct MatrixMut<'a, R> {
    values: &'a mut [R],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a, R> MatrixMut<'a, R> {
    /// Views densely packed rows. Panics if `values` is too short.
    pub fn new(values: &'a mut [R], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Views rows that start `row_stride` values apart. Panics if `values` is too short or the
    /// rows overlap.
    pub fn strided(values: &'a mut [R], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(values.len(), rows, columns, row_stride);
        assert!(row_stride >= columns, "rows overlap");
        Self { values, rows, columns, row_stride }
    }
}

/// Whether a product replaces its destination or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `out = a b`
    Set,
    /// `out += a b`
    Add,
}

/// One of the two products below.
pub type Multiply<R> = fn(MatrixMut<'_, R>, Write, Matrix<'_, R>, Matrix<'_, R>);

/// [`matmul`], slower, but with the same bits on every processor.
pub fn matmul_portable<R: Real>(out: MatrixMut<'_, R>, write: Write, a: Matrix<'_, R>, b: Matrix<'_, R>) {
    assert_eq!((out.rows, out.columns, a.columns), (a.rows, b.columns, b.rows));
    if out.columns == 0 {
        return;
    }
    for (i, out) in out.values.chunks_mut(out.row_stride).take(out.rows).enumerate() {
        let out = &mut out[..b.columns];
        if write == Write::Set {
            out.fill(R::ZERO);
        }
        let a_at = |k: usize| a.values[i * a.row_stride + k * a.column_stride];
        if b.row_stride == 1 && a.column_stride == 1 {
            let row = &a.values[i * a.row_stride..][..a.columns];
            for (j, out) in out.iter_mut().enumerate() {
                *out += dot(row, &b.values[j * b.column_stride..][..a.columns]);
            }
        } else {
            for k in 0..a.columns {
                let row = b.values[k * b.row_stride..].iter().step_by(b.column_stride);
                out.iter_mut().zip(row).for_each(|(out, &b)| *out += a_at(k) * b);
            }
        }
    }
}

/// The product of `a` `[m, k]` and `b` `[k, n]`, written to `out` `[m, n]`. Single-threaded: its
/// result depends on nothing but its arguments and the processor's vector width.
pub fn matmul<R: Real>(out: MatrixMut<'_, R>, write: Write, a: Matrix<'_, R>, b: Matrix<'_, R>) {
    assert_eq!((out.rows, out.columns, a.columns), (a.rows, b.columns, b.rows));
    // SAFETY: each view was checked at its construction: (rows - 1) * row_stride + (columns - 1) *
    // column_stride lies inside its slice, and the strides fit isize because the slice does. `out`
    // is borrowed mutably, so it overlaps neither input, and its elements are distinct.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.values.as_mut_ptr(),
            1,
            out.row_stride as isize,
            write == Write::Add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            R::ONE,
            R::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

fn check(len: usize, rows: usize, columns: usize, row_stride: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    let last = (rows - 1).checked_mul(row_stride).and_then(|start| start.checked_add(columns));
    assert!(
        last.is_some_and(|last| last <= len),
        "a view of {rows} rows of {columns}, {row_stride} apart, exceeds {len} values"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_strided_and_transposed_views() {
        // a = [[1, 2], [3, 4]] out of rows of three, b = [[5, 6], [7, 8]]
        let a = [1.0, 2.0, 9.0, 3.0, 4.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let a = Matrix::strided(&a, 2, 2, 3);
        let b = Matrix::new(&b, 2, 2);
        for multiply in [matmul as Multiply<f32>, matmul_portable] {
            let mut out = [1.0; 4];
            multiply(MatrixMut::new(&mut out, 2, 2), Write::Add, a, b);
            assert_eq!(out, [20.0, 23.0, 44.0, 51.0]);
            multiply(MatrixMut::new(&mut out, 2, 2), Write::Set, a.transposed(), b.transposed());
            assert_eq!(out, [23.0, 31.0, 34.0, 46.0]);
            multiply(MatrixMut::new(&mut out, 2, 2), Write::Set, a, b.transposed());
            assert_eq!(out, [17.0, 23.0, 39.0, 53.0]);
        }
    }

    #[test]
    #[should_panic(expected = "exceeds 5 values")]
    fn a_short_slice_is_refused() {
        Matrix::new(&[0.0; 5], 2, 3);
    }
}
