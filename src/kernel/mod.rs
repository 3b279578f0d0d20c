//! The inner loops: products of matrices, attention, and the passes over vectors between them, exact on every machine.
//!
//! The build script chooses one implementation for the target and [`NAME`] says which;
//! `--cfg thumbformer_kernel="portable"` in RUSTFLAGS forces the portable one. Its module exports everything that a core
//! can do in its own way, or the safe function where it has none. All compute the same numbers for all inputs: sums of
//! products are modulo 2^32, which are the true sums wherever the runtime asks for them.

#[cfg(thumbformer_kernel = "armv6m")]
#[allow(unsafe_code)]
mod armv6m;
#[cfg(thumbformer_kernel = "armv7m")]
#[allow(unsafe_code)]
mod armv7m;
// The safe versions, here and below: what of them a core does in its own way is not used there.
#[cfg_attr(not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector")), allow(dead_code))]
mod attention;
#[cfg(any(test, feature = "selftest"))]
mod attention_suite;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
#[allow(unsafe_code)]
mod columns;
#[cfg(thumbformer_kernel = "dsp")]
#[allow(unsafe_code)]
mod dsp;
mod int4;
#[cfg(thumbformer_kernel = "armv6m")]
#[allow(unsafe_code)]
mod int4_armv6m;
#[cfg(any(test, feature = "selftest"))]
mod int4_suite;
#[cfg(thumbformer_kernel = "mve")]
#[allow(unsafe_code)]
mod mve;
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
mod offset_bytes;
#[cfg(any(test, feature = "selftest"))]
mod pass_suite;
#[cfg_attr(not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector")), allow(dead_code))]
mod passes;
#[cfg(any(thumbformer_kernel = "portable", test, feature = "selftest"))]
mod portable;
#[cfg_attr(not(any(thumbformer_kernel = "portable", thumbformer_kernel = "vector")), allow(dead_code))]
mod portable_tiles;
#[cfg(any(test, feature = "selftest"))]
mod products_suite;
#[cfg(any(test, feature = "selftest"))]
mod reference;
#[cfg(thumbformer_kernel = "riscv")]
#[allow(unsafe_code)]
mod riscv;
mod rows;
#[cfg(any(test, feature = "selftest"))]
mod suite;
#[cfg(any(test, feature = "selftest"))]
mod tile_suite;
#[cfg(any(thumbformer_kernel = "vector", test, feature = "selftest"))]
mod vector;

#[cfg(thumbformer_kernel = "armv6m")]
use armv6m as chosen;
#[cfg(thumbformer_kernel = "armv7m")]
use armv7m as chosen;
#[cfg(thumbformer_kernel = "dsp")]
use dsp as chosen;
#[cfg(thumbformer_kernel = "mve")]
use mve as chosen;
#[cfg(thumbformer_kernel = "portable")]
use portable as chosen;
#[cfg(thumbformer_kernel = "riscv")]
use riscv as chosen;
#[cfg(thumbformer_kernel = "vector")]
use vector as chosen;

#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
use chosen as bytes;
#[cfg(thumbformer_kernel = "dsp")]
use chosen as halves;
#[cfg(thumbformer_kernel = "mve")]
use chosen::rows as row_matrix;
#[cfg(not(any(
    thumbformer_kernel = "armv6m",
    thumbformer_kernel = "armv7m",
    thumbformer_kernel = "riscv"
)))]
use portable_tiles::bytes;
#[cfg(not(thumbformer_kernel = "dsp"))]
use portable_tiles::halves;
#[cfg(not(thumbformer_kernel = "mve"))]
use rows as row_matrix;

#[cfg(thumbformer_kernel = "dsp")]
use dsp::int4 as nibbles;
#[cfg(not(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "dsp")))]
use int4 as nibbles;
#[cfg(thumbformer_kernel = "armv6m")]
use int4_armv6m as nibbles;

use crate::format::InputWidth;
#[cfg(feature = "selftest")]
pub use suite::Failure;

pub use attention::narrowing;
pub use chosen::{
    LAYOUT, PAIRS, activate_gated, add, arrange_pair, magnitude, multiply, peak, product_pair, rescale,
    rotate, round, scale, scores, scores_pair, softmax, softmax_pair, squares, store,
};
pub use int4::Nibbles;
pub use passes::{BlockShift, Gate, Openings, activate};

/// The kernels of this build: `"portable"`, `"vector"`, `"armv6m"`, `"armv7m"`, `"armv7em-dsp"`, `"armv81m-mve"` or
/// `"rv32m"`.
pub const NAME: &str = chosen::NAME;

/// Runs the suite on every kernel that this target can run; returns the number of products compared.
#[cfg(feature = "selftest")]
pub fn selftest() -> Result<u32, Failure> {
    let compared = suite::selftest()? + products_suite::run()? + attention_suite::run()? + pass_suite::run()?;
    #[cfg(any(thumbformer_kernel = "dsp", thumbformer_kernel = "mve"))]
    let compared = compared + chosen::check()?;
    Ok(compared)
}

/// A number in every byte, as a sum: what is added to a byte to keep it positive may be negative.
#[cfg(thumbformer_kernel = "armv7m")]
const fn in_every_byte(number: u32) -> u32 {
    number.wrapping_mul(0x0101_0101)
}

/// The weights of a matrix, in the order of the file.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'m> {
    /// Rows, each padded to a multiple of four.
    Rows(&'m [i8]),
    /// [`Layout::Bytes`](crate::format::Layout::Bytes).
    Bytes(&'m [u32]),
    /// [`Layout::Halves`](crate::format::Layout::Halves).
    Halves(&'m [u32]),
    /// [`Layout::Nibbles`](crate::format::Layout::Nibbles).
    Nibbles(Nibbles<'m>),
}

/// A vector in the form that the kernel for its matrices wants.
#[derive(Debug)]
pub struct Input<'a> {
    /// For rows, in the order of [`arrange`]; its length counts for all.
    vector: &'a [i16],
    /// For tiles, and for rows with kernels of their own for 8-bit inputs.
    operand: &'a [u32],
    width: InputWidth,
}

/// Words that [`prepare`] may need for a vector, whatever the layout.
pub const fn operand_len(columns: usize) -> usize {
    columns.next_multiple_of(4) + 4
}

/// Puts a vector into the form that the kernel for these weights wants.
///
/// - `factor`: what [`scale`] multiplies the vector by first, if anything
/// - `vector`: in its natural order, padded with zeros to a multiple of four; of at most 127 (A8) or 16384 (A16) in
///   magnitude; what is in it afterwards says nothing
/// - `operand`: of [`operand_len`] words or more
#[inline(always)]
pub fn prepare<'a>(
    weights: &Weights<'_>,
    width: InputWidth,
    factor: Option<i32>,
    vector: &'a mut [i16],
    operand: &'a mut [u32],
) -> Input<'a> {
    #[cfg(thumbformer_kernel = "dsp")]
    if let (Weights::Halves(_), InputWidth::A8, Some(factor)) = (weights, width, factor)
        && chosen::prepare_scaled(vector, factor, operand)
    {
        return Input { vector, operand, width };
    }
    if let Some(factor) = factor {
        scale(vector, factor);
    }
    match weights {
        Weights::Rows(_) => row_matrix::prepare(vector, width, operand),
        Weights::Bytes(_) => bytes::prepare(vector, width, operand),
        Weights::Halves(_) => halves::prepare(vector, width, operand),
        Weights::Nibbles(_) => nibbles::prepare(vector, width, operand),
    }
    Input { vector, operand, width }
}

/// Multiplies a matrix by a vector: `y[row]` becomes 2^k times the sum over `column` of
/// `weight[row][column] * x[column]` (for int4 also times the group's factor), modulo 2^32; returns k: 0, or 8 for some kernels with 8-bit inputs and at most 512
/// columns.
///
/// `x` comes from [`prepare`] for the layout of these weights. Where there are fewer whole rows (in tiles, blocks of four
/// rows) than `y` has elements, the other elements stay as they are.
#[inline(always)]
pub fn product(weights: &Weights<'_>, x: &Input<'_>, y: &mut [i32]) -> u32 {
    let columns = x.vector.len();
    match weights {
        Weights::Rows(rows) => {
            row_matrix::product(rows, x.vector, x.operand, x.width, y);
            0
        }
        Weights::Bytes(tiles) => bytes::tiles(tiles, columns, x.operand, x.width, y),
        Weights::Halves(tiles) => halves::tiles(tiles, columns, x.operand, x.width, y),
        Weights::Nibbles(weights) => {
            nibbles::product(weights, columns, x.operand, x.width, y);
            0
        }
    }
}

/// Vectors that [`prepare`] has seen, one after the other.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The only one, if there is one.
    one: Input<'a>,
    vectors: &'a [i16],
    operands: &'a [u32],
    columns: usize,
    count: usize,
    width: InputWidth,
    /// As many vectors from the first on lie in the order of a kernel for several, in `vectors`.
    #[cfg(thumbformer_kernel = "dsp")]
    gathered: usize,
}

impl<'a> From<Input<'a>> for Inputs<'a> {
    #[inline(always)]
    fn from(one: Input<'a>) -> Self {
        Self {
            vectors: &[],
            operands: &[],
            columns: one.vector.len(),
            count: 1,
            width: one.width,
            one,
            #[cfg(thumbformer_kernel = "dsp")]
            gathered: 0,
        }
    }
}

impl<'a> Inputs<'a> {
    /// `count` vectors of `columns` elements, a multiple of four: vector i and what [`prepare`] made of it, for these weights
    /// and this width, begin at `columns * i` and at `operand_len(columns) * i`.
    pub fn new(
        weights: &Weights<'_>,
        width: InputWidth,
        columns: usize,
        count: usize,
        vectors: &'a mut [i16],
        operands: &'a mut [u32],
    ) -> Self {
        #[cfg(thumbformer_kernel = "dsp")]
        let gathered = match weights {
            Weights::Halves(_) if count >= chosen::TOGETHER => {
                chosen::gather(columns, count, width, operands, vectors)
            }
            _ => 0,
        };
        #[cfg(not(thumbformer_kernel = "dsp"))]
        let _ = weights;
        let (vector, operand) = (vectors.get(..columns).unwrap_or_default(), &*operands);
        Self {
            one: Input { vector, operand, width },
            vectors,
            operands,
            columns,
            count,
            width,
            #[cfg(thumbformer_kernel = "dsp")]
            gathered,
        }
    }

    /// The only vector, if `count`, as the caller knows it to be, is 1.
    #[inline(always)]
    pub fn one(&self, count: usize) -> Option<&Input<'a>> {
        (count == 1).then_some(&self.one)
    }

    /// The number of vectors.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A vector that is not gathered.
    #[inline(always)]
    fn get(&self, i: usize) -> Input<'a> {
        let Self { columns, width, .. } = *self;
        let len = operand_len(columns);
        let vector = self.vectors.get(i * columns..).and_then(|rest| rest.get(..columns));
        let operand = self.operands.get(i * len..).and_then(|rest| rest.get(..len));
        Input { vector: vector.unwrap_or_default(), operand: operand.unwrap_or_default(), width }
    }
}

/// [`product`] with each of some vectors: the sums of vector i begin at `rows * i` in `y`.
#[inline(always)]
pub fn products(weights: &Weights<'_>, x: &Inputs<'_>, rows: usize, y: &mut [i32]) -> u32 {
    if let Some(one) = x.one(x.count) {
        return product(weights, one, y);
    }
    several_products(weights, x, rows, y)
}

/// [`products`] with more than one vector.
#[inline(never)]
fn several_products(weights: &Weights<'_>, x: &Inputs<'_>, rows: usize, y: &mut [i32]) -> u32 {
    let mut done = 0;
    #[cfg(not(thumbformer_kernel = "dsp"))]
    let alone = 0;
    #[cfg(thumbformer_kernel = "dsp")]
    let alone = x.gathered;
    #[cfg(thumbformer_kernel = "dsp")]
    if let Weights::Halves(tiles) = weights
        && alone > 0
    {
        done = chosen::gathered(tiles, x.columns, (x.vectors, x.operands), x.width, alone, (rows, &mut *y));
    }
    for i in alone..x.count {
        if let Some(y) = y.get_mut(i * rows..).and_then(|rest| rest.get_mut(..rows)) {
            done = product(weights, &x.get(i), y);
        }
    }
    done
}

/// Puts an input vector into the order in which [`matvec_strided`] wants it.
///
/// Works in place and moves elements only within groups of four; a last group of fewer stays as it is.
#[inline]
pub fn arrange(x: &mut [i16]) {
    chosen::arrange(x);
}

/// Multiplies rows that start `stride` elements apart by a vector: `y[row]` becomes the sum over `column` of
/// `weights[row * stride + column] * x[column]`.
///
/// - `weights`: rows of `x.len()` elements; the last one may end before a whole stride
/// - `x`: the input, in the order that [`arrange`] makes; its length is the number of columns
/// - `y`: one sum for each row
///
/// Where `weights` has fewer whole rows than `y` has elements, the other elements stay as they are. A stride that is
/// less than the columns has no rows. The fast path needs `weights` and `x` at multiples of four bytes, and columns and
/// stride that are multiples of four; anything else gives the same numbers, slowly.
#[inline]
pub fn matvec_strided(weights: &[i8], stride: usize, x: &[i16], y: &mut [i32]) {
    chosen::matvec_strided(weights, stride, x, y);
}
