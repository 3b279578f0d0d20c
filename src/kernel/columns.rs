//! Products with row-major matrices, a few columns at a time for all rows: what the assembly for cores without DSP has
//! in common.
//!
//! The elements of the input that belong to these columns stay in registers while all rows pass. Rows of 8 keys or the
//! 8 rows of a head's values are too short for loops that start anew with each row.

use super::rows;

/// The assembly: to or into each of `rows` sums at `y` goes the product of one row of so many columns with as many
/// elements of `x`; then the same with the next columns, `times` in all.
///
/// # Safety
/// `weights` points to `rows` rows of `times` times the kernel's columns, `stride` apart, `x` to as many elements, `y`
/// to `rows` sums. Rows and times are not 0.
pub type Kernel = unsafe extern "C" fn(
    weights: *const i8,
    x: *const i16,
    y: *mut i32,
    stride: usize,
    rows: usize,
    times: usize,
);

/// A product of which the first columns are done.
pub struct Columns<'a> {
    weights: &'a [i8],
    stride: usize,
    x: &'a [i16],
    y: &'a mut [i32],
    /// Whether sums are in `y` yet.
    begun: bool,
}

impl<'a> Columns<'a> {
    /// The product of the whole rows there are, as many as `y` has room for.
    pub fn new(weights: &'a [i8], stride: usize, x: &'a [i16], y: &'a mut [i32]) -> Self {
        let rows =
            if x.is_empty() { y.len() } else { rows::at_most(y.len(), weights.len(), stride, x.len()) };
        Columns { weights, stride, x, y: y.get_mut(..rows).unwrap_or_default(), begun: false }
    }

    /// Has `kernel` set the sums to the product of the first `N` columns, where there are so many.
    #[inline(always)]
    pub fn set<const N: usize>(&mut self, kernel: Kernel) {
        if self.x.len() >= N {
            self.run::<N>(kernel, 1);
            self.begun = true;
        }
    }

    /// Has `kernel` add the products of `N` columns as often as there are so many left.
    #[inline(always)]
    pub fn add<const N: usize>(&mut self, kernel: Kernel) {
        if self.x.len() >= N {
            self.begin();
            self.run::<N>(kernel, self.x.len() / N);
        }
    }

    /// Adds what is left, column by column.
    #[inline(always)]
    pub fn finish(mut self) {
        self.begin();
        if !self.x.is_empty() {
            singles(self);
        }
    }

    fn begin(&mut self) {
        if !self.begun {
            self.y.fill(0);
            self.begun = true;
        }
    }

    #[inline(always)]
    fn run<const N: usize>(&mut self, kernel: Kernel, times: usize) {
        let Some((x, rest)) = self.x.split_at_checked(times * N) else {
            return;
        };
        if self.y.is_empty() {
            return;
        }
        let (weights, y) = (self.weights.as_ptr(), self.y.as_mut_ptr());
        // SAFETY: there are as many whole rows as sums (see `new`), from here on as long as self.x, which has `times`
        // times N elements and maybe more. Rows and times are not 0.
        unsafe { kernel(weights, x.as_ptr(), y, self.stride, self.y.len(), times) };
        self.x = rest;
        self.weights = self.weights.get(times * N..).unwrap_or_default();
    }
}

/// See [`Columns::finish`].
#[cold]
fn singles(Columns { weights, stride, x, y, .. }: Columns) {
    for (row, y) in rows::rows(weights, stride, x.len()).zip(y) {
        for (&w, &x) in row.iter().zip(x) {
            *y = y.wrapping_add(i32::from(w) * i32::from(x));
        }
    }
}
