//! Products of matrices with the vectors of some positions, whatever the layout: what a core does in its own way is chosen
//! in [`super`].

use super::Nibbles;
#[cfg(not(any(
    thumbformer_kernel = "mve",
    thumbformer_kernel = "riscv",
    thumbformer_kernel = "vector"
)))]
use super::chosen;
#[cfg(not(any(
    thumbformer_kernel = "mve",
    thumbformer_kernel = "riscv",
    thumbformer_kernel = "vector"
)))]
use super::sparse;
use super::{bytes, halves, nibbles, row_matrix, scale};
use crate::format::InputWidth;
use crate::vector::next;

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

/// What an operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What the kernel for all columns wants.
    Usual,
    /// What [`chosen::sparse`] has left.
    #[cfg(not(any(
        thumbformer_kernel = "mve",
        thumbformer_kernel = "riscv",
        thumbformer_kernel = "vector"
    )))]
    Sparse,
}

/// Words that [`prepare`] may need for a vector, whatever the layout.
pub const fn operand_len(columns: usize) -> usize {
    columns.next_multiple_of(4) + 4
}

/// Puts a vector into the form that the kernel for these weights wants, and says which that is.
///
/// - `sparse`: many elements may be 0. Where so many groups of four are that it pays to pass over their columns, the product
///   will do so; the sums are the same
/// - `factor`: what [`scale`] multiplies the vector by first, if anything
/// - `vector`: in its natural order, padded with zeros to a multiple of four; of at most 127 (A8) or 16384 (A16) in
///   magnitude; what is in it afterwards says nothing
/// - `operand`: of [`operand_len`] words or more
#[inline(always)]
fn prepare(
    weights: &Weights<'_>,
    (width, sparse): (InputWidth, bool),
    factor: Option<i32>,
    vector: &mut [i16],
    operand: &mut [u32],
) -> Form {
    #[cfg(not(any(
        thumbformer_kernel = "mve",
        thumbformer_kernel = "riscv",
        thumbformer_kernel = "vector"
    )))]
    if sparse && own(weights).is_some() {
        if let Some(factor) = factor {
            scale(vector, factor);
        }
        if !chosen::sparse::prepare(vector, width, operand)
            && let Some((_, operand)) = operand.split_first_mut()
        {
            prepare_own(width, vector, operand);
        }
        return Form::Sparse;
    }
    let _ = sparse;
    #[cfg(thumbformer_kernel = "dsp")]
    if let (Weights::Halves(_), InputWidth::A8, Some(factor)) = (weights, width, factor)
        && chosen::prepare_scaled(vector, factor, operand)
    {
        return Form::Usual;
    }
    #[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "riscv"))]
    if let (Weights::Bytes(_), InputWidth::A8, Some(factor)) = (weights, width, factor) {
        bytes::prepare_scaled(vector, factor, operand);
        return Form::Usual;
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
    Form::Usual
}

/// The usual operand for the layout whose kernel can pass over columns, where there is too little to pass over.
#[cfg(not(any(thumbformer_kernel = "mve", thumbformer_kernel = "riscv", thumbformer_kernel = "vector")))]
fn prepare_own(width: InputWidth, vector: &mut [i16], operand: &mut [u32]) {
    #[cfg(thumbformer_kernel = "portable")]
    row_matrix::prepare(vector, width, operand);
    #[cfg(thumbformer_kernel = "dsp")]
    halves::prepare(vector, width, operand);
    #[cfg(not(any(thumbformer_kernel = "dsp", thumbformer_kernel = "portable")))]
    bytes::prepare(vector, width, operand);
}

/// The weights of a layout whose kernel can pass over columns.
#[cfg(not(any(thumbformer_kernel = "mve", thumbformer_kernel = "riscv", thumbformer_kernel = "vector")))]
fn own<'m>(weights: &Weights<'m>) -> Option<Own<'m>> {
    match *weights {
        #[cfg(thumbformer_kernel = "portable")]
        Weights::Rows(rows) => Some(rows),
        #[cfg(thumbformer_kernel = "dsp")]
        Weights::Halves(tiles) => Some(tiles),
        #[cfg(not(any(thumbformer_kernel = "dsp", thumbformer_kernel = "portable")))]
        Weights::Bytes(tiles) => Some(tiles),
        _ => None,
    }
}
#[cfg(thumbformer_kernel = "portable")]
type Own<'m> = &'m [i8];
#[cfg(any(thumbformer_kernel = "armv6m", thumbformer_kernel = "armv7m", thumbformer_kernel = "dsp"))]
type Own<'m> = &'m [u32];

/// Multiplies a matrix by those of some vectors that lie together for a kernel that takes several at once: the sums of vector
/// i begin at `rows * i` in `y`. [`product`] does the others.
#[inline(always)]
pub fn products_together(weights: &Weights<'_>, x: &Inputs<'_>, rows: usize, y: &mut [i32]) {
    #[cfg(thumbformer_kernel = "dsp")]
    if let Weights::Halves(tiles) = weights
        && x.gathered > 0
    {
        chosen::gathered(tiles, x.columns, (x.vectors, x.operands), x.width, x.gathered, (rows, y));
    }
    #[cfg(not(thumbformer_kernel = "dsp"))]
    let _ = (weights, x, rows, y);
}

/// Multiplies a matrix by vector i: `y[row]` becomes 2^k times the sum over `column` of `weight[row][column] * x[column]`
/// (for int4 also times the group's factor), modulo 2^32; returns k: 0, or 8 for some kernels with 8-bit inputs and at most
/// 512 columns, whatever the vector holds. Where [`products_together`] was there before, it only tells k.
///
/// `x` comes from [`Inputs::new`] for the layout of these weights. Where there are fewer whole rows (in tiles, blocks of four
/// rows) than `y` has elements, the other elements stay as they are.
#[inline(always)]
pub fn product(weights: &Weights<'_>, x: &Inputs<'_>, i: usize, y: &mut [i32]) -> u32 {
    #[cfg(thumbformer_kernel = "dsp")]
    if i < x.gathered {
        return chosen::done_together(x.width);
    }
    let (columns, width) = (x.columns, x.width);
    let operand = x.operands.get(i * operand_len(columns)..).unwrap_or_default();
    #[cfg(not(any(
        thumbformer_kernel = "mve",
        thumbformer_kernel = "riscv",
        thumbformer_kernel = "vector"
    )))]
    let operand = if x.form == Form::Sparse {
        match sparse_product(weights, columns, operand, width, y) {
            Some(done) => return done,
            None => operand.get(1..).unwrap_or_default(),
        }
    } else {
        operand
    };
    match weights {
        Weights::Rows(rows) => {
            let vector = x.vectors.get(i * columns..).and_then(|rest| rest.get(..columns));
            row_matrix::product(rows, vector.unwrap_or_default(), operand, width, y);
            0
        }
        Weights::Bytes(tiles) => bytes::tiles(tiles, columns, operand, width, y),
        Weights::Halves(tiles) => halves::tiles(tiles, columns, operand, width, y),
        Weights::Nibbles(weights) => {
            nibbles::product(weights, columns, operand, width, y);
            0
        }
    }
}

/// [`product`] with a list of the columns that are not 0, if there is one.
#[cfg(not(any(thumbformer_kernel = "mve", thumbformer_kernel = "riscv", thumbformer_kernel = "vector")))]
#[inline(never)]
fn sparse_product(
    weights: &Weights<'_>,
    columns: usize,
    operand: &[u32],
    width: InputWidth,
    y: &mut [i32],
) -> Option<u32> {
    let (own, list) = (own(weights)?, sparse::List::read(operand, columns)?);
    Some(chosen::sparse::product(own, columns, list, width, y))
}

/// The vectors of some positions in the form that the kernel for their matrices wants.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// For rows, in the order of [`arrange`](super::arrange).
    vectors: &'a [i16],
    /// For tiles, and for rows with kernels of their own for 8-bit inputs; [`operand_len`] words each.
    operands: &'a [u32],
    columns: usize,
    count: usize,
    width: InputWidth,
    #[cfg_attr(
        any(thumbformer_kernel = "mve", thumbformer_kernel = "riscv", thumbformer_kernel = "vector"),
        allow(dead_code, reason = "one form only")
    )]
    form: Form,
    /// As many vectors from the first on lie in the order of a kernel for several, in `vectors`.
    #[cfg(thumbformer_kernel = "dsp")]
    gathered: usize,
}

impl<'a> Inputs<'a> {
    /// `count` vectors of `columns` elements, a multiple of four, one after the other in `vectors`. `factor` is asked what each
    /// is to be multiplied by, see [`prepare`].
    ///
    /// `operands` has room for all, [`operand_len`] words for each.
    #[inline(always)]
    pub fn new(
        weights: &Weights<'_>,
        (width, sparse): (InputWidth, bool),
        (columns, count): (usize, usize),
        (vectors, operands): (&'a mut [i16], &'a mut [u32]),
        mut factor: impl FnMut(&[i16]) -> Option<i32>,
    ) -> Self {
        let (mut xs, mut prepared) = (&mut *vectors, &mut *operands);
        let mut form = Form::Usual;
        for _ in 0..count {
            let (x, operand) = (next(&mut xs, columns), next(&mut prepared, operand_len(columns)));
            let factor = factor(x);
            form = prepare(weights, (width, sparse), factor, x, operand);
        }
        #[cfg(thumbformer_kernel = "dsp")]
        let gathered = match weights {
            Weights::Halves(_) if count >= chosen::TOGETHER && !sparse => {
                chosen::gather(columns, count, width, operands, vectors)
            }
            _ => 0,
        };
        Self {
            vectors,
            operands,
            columns,
            count,
            width,
            form,
            #[cfg(thumbformer_kernel = "dsp")]
            gathered,
        }
    }

    /// The number of vectors.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.count
    }
}
