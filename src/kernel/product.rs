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
use super::{bytes, halves, nibbles, row_matrix, scale, tall_tiles};
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
    /// [`Layout::Tall`](crate::format::Layout::Tall).
    Tall(&'m [u32]),
}

/// A vector in the form that the kernel for its matrices wants.
#[derive(Debug)]
pub struct Input<'a> {
    /// For rows, in the order of [`arrange`]; its length counts for all.
    vector: &'a [i16],
    /// For tiles, and for rows with kernels of their own for 8-bit inputs.
    operand: &'a [u32],
    width: InputWidth,
    form: Form,
}

/// What an operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What the kernel for all columns wants.
    Usual,
    /// What [`prepare_sparse`] has left.
    Sparse,
    /// What [`tall_tiles::prepare`] has left.
    Tall,
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
fn prepare<'a>(
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
        return Input { vector, operand, width, form: Form::Usual };
    }
    #[cfg(thumbformer_kernel = "armv7m")]
    if let (Weights::Bytes(_), InputWidth::A8, Some(factor)) = (weights, width, factor) {
        chosen::prepare_scaled(vector, factor, operand);
        return Input { vector, operand, width, form: Form::Usual };
    }
    if let Weights::Tall(_) = weights {
        let form = match tall_tiles::prepare(vector, width, factor, operand) {
            Some(_) => Form::Tall,
            None => Form::Usual,
        };
        return Input { vector, operand, width, form };
    }
    if let Some(factor) = factor {
        scale(vector, factor);
    }
    match weights {
        Weights::Rows(_) => row_matrix::prepare(vector, width, operand),
        Weights::Bytes(_) => bytes::prepare(vector, width, operand),
        Weights::Halves(_) => halves::prepare(vector, width, operand),
        Weights::Nibbles(_) => nibbles::prepare(vector, width, operand),
        Weights::Tall(_) => {}
    }
    Input { vector, operand, width, form: Form::Usual }
}

/// [`prepare`] for a vector of which many elements may be 0: where so many groups of four are that it pays to pass over their
/// columns, [`product`] will do so. The sums are the same.
#[inline(never)]
fn prepare_sparse<'a>(
    weights: &Weights<'_>,
    width: InputWidth,
    factor: Option<i32>,
    vector: &'a mut [i16],
    operand: &'a mut [u32],
) -> Input<'a> {
    #[cfg(not(any(
        thumbformer_kernel = "mve",
        thumbformer_kernel = "riscv",
        thumbformer_kernel = "vector"
    )))]
    if let Some(_own) = own(weights) {
        if let Some(factor) = factor {
            scale(vector, factor);
        }
        if !chosen::sparse::prepare(vector, width, operand)
            && let Some((_, operand)) = operand.split_first_mut()
        {
            prepare_apart(weights, width, None, vector, operand);
        }
        return Input { vector, operand, width, form: Form::Sparse };
    }
    prepare_apart(weights, width, factor, vector, operand)
}

/// [`prepare`], which is inlined where it is called for every matrix.
#[inline(never)]
fn prepare_apart<'a>(
    weights: &Weights<'_>,
    width: InputWidth,
    factor: Option<i32>,
    vector: &'a mut [i16],
    operand: &'a mut [u32],
) -> Input<'a> {
    prepare(weights, width, factor, vector, operand)
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

/// [`product`] with what [`prepare_sparse`] has left.
#[inline(never)]
fn product_sparse(weights: &Weights<'_>, x: &Input<'_>, y: &mut [i32]) -> u32 {
    #[cfg(not(any(
        thumbformer_kernel = "mve",
        thumbformer_kernel = "riscv",
        thumbformer_kernel = "vector"
    )))]
    if let (Some(own), Some(list)) = (own(weights), sparse::List::read(x.operand, x.vector.len())) {
        return chosen::sparse::product(own, x.vector.len(), list, x.width, y);
    }
    let operand = x.operand.get(1..).unwrap_or_default();
    product_dense(weights, &Input { operand, form: Form::Usual, ..*x }, y)
}

/// Multiplies a matrix by a vector: `y[row]` becomes 2^k times the sum over `column` of
/// `weight[row][column] * x[column]` (for int4 also times the group's factor), modulo
/// 2^32; returns k: 0, or 8 for some kernels with 8-bit inputs and at most 512 columns, whatever the vector holds.
///
/// `x` comes from [`prepare`] for the layout of these weights. Where there are fewer whole rows (in tiles, blocks of four
/// rows) than `y` has elements, the other elements stay as they are.
#[inline(always)]
pub fn product(weights: &Weights<'_>, x: &Input<'_>, y: &mut [i32]) -> u32 {
    if x.form == Form::Sparse { product_sparse(weights, x, y) } else { product_dense(weights, x, y) }
}

/// [`product`] with all columns.
#[inline(always)]
fn product_dense(weights: &Weights<'_>, x: &Input<'_>, y: &mut [i32]) -> u32 {
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
        Weights::Tall(tiles) => {
            if x.form == Form::Tall {
                tall_tiles::product(tiles, &tall_operand(x), y);
            }
            0
        }
    }
}

/// The operand of a vector for tall tiles.
#[cfg(thumbformer_kernel = "riscv")]
#[allow(unsafe_code)]
fn tall_operand<'a>(x: &Input<'a>) -> tall_tiles::Operand<'a> {
    // SAFETY: an input has this form only where `prepare` of tall tiles has left its operand for this width and as many
    // columns. Whoever made the input has the operand borrowed since then.
    unsafe { tall_tiles::Operand::prepared(x.vector.len(), x.width, x.operand) }
}

/// The operand of a vector for tall tiles.
#[cfg(not(thumbformer_kernel = "riscv"))]
fn tall_operand<'a>(x: &Input<'a>) -> tall_tiles::Operand<'a> {
    tall_tiles::Operand::prepared(x.vector.len(), x.operand)
}

/// The vectors of some positions in the form that the kernel for their matrices wants.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The only one, if there is one.
    one: Input<'a>,
    vectors: &'a [i16],
    operands: &'a [u32],
    columns: usize,
    count: usize,
    /// As many vectors from the first on lie in the order of a kernel for several, in `vectors`.
    #[cfg(thumbformer_kernel = "dsp")]
    gathered: usize,
}

impl<'a> Inputs<'a> {
    /// A single vector, see [`prepare`]. Where much of it may be 0, `sparse` has the product pass over that.
    #[inline(always)]
    pub fn only(
        weights: &Weights<'_>,
        (width, sparse): (InputWidth, bool),
        factor: Option<i32>,
        vector: &'a mut [i16],
        operand: &'a mut [u32],
    ) -> Self {
        let one = if sparse {
            prepare_sparse(weights, width, factor, vector, operand)
        } else {
            prepare(weights, width, factor, vector, operand)
        };
        Self {
            vectors: &[],
            operands: &[],
            columns: one.vector.len(),
            count: 1,
            one,
            #[cfg(thumbformer_kernel = "dsp")]
            gathered: 0,
        }
    }

    /// `count` vectors of `columns` elements, a multiple of four, not one alone. `make` writes vector i in its natural order
    /// and tells what it is to be multiplied by, see [`prepare`].
    ///
    /// `vectors` and `operands` have room for all, [`operand_len`] words for each of these.
    #[inline(never)]
    pub fn several(
        weights: &Weights<'_>,
        (width, sparse): (InputWidth, bool),
        columns: usize,
        count: usize,
        (vectors, operands): (&'a mut [i16], &'a mut [u32]),
        make: &mut dyn FnMut(usize, &mut [i16]) -> Option<i32>,
    ) -> Self {
        let (mut xs, mut prepared) = (&mut *vectors, &mut *operands);
        let mut form = Form::Usual;
        for i in 0..count {
            let (x, operand) = (next(&mut xs, columns), next(&mut prepared, operand_len(columns)));
            let factor = make(i, x);
            let prepare = if sparse { prepare_sparse } else { prepare_apart };
            form = prepare(weights, width, factor, x, operand).form;
        }
        #[cfg(thumbformer_kernel = "dsp")]
        let gathered = match weights {
            Weights::Halves(_) if count >= chosen::TOGETHER && !sparse => {
                chosen::gather(columns, count, width, operands, vectors)
            }
            _ => 0,
        };
        Self {
            one: Input { vector: &[], operand: &[], width, form },
            vectors,
            operands,
            columns,
            count,
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
        let (columns, len) = (self.columns, operand_len(self.columns));
        let vector = self.vectors.get(i * columns..).and_then(|rest| rest.get(..columns));
        let operand = self.operands.get(i * len..).and_then(|rest| rest.get(..len));
        Input { vector: vector.unwrap_or_default(), operand: operand.unwrap_or_default(), ..self.one }
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
        done =
            chosen::gathered(tiles, x.columns, (x.vectors, x.operands), x.one.width, alone, (rows, &mut *y));
    }
    for i in alone..x.count {
        if let Some(y) = y.get_mut(i * rows..).and_then(|rest| rest.get_mut(..rows)) {
            done = product(weights, &x.get(i), y);
        }
    }
    done
}
