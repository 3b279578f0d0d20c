//! One kernel at a time, with random numbers, for counting its instructions. No part of the interface.

use zerocopy::{FromBytes, IntoBytes};

use crate::attention::{divide, divide_pair};
use crate::fixed::EXP2_1024;
use crate::format::{InputWidth, Layout, align};
use crate::kernel::{self, LAYOUT, PAIRS, Weights};
use crate::linear::{Inputs, Linear};
use crate::random::Xoroshiro64;
use crate::vector::{Scale, quantize, row};
use crate::workspace::MAX_BLOCK;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: what the meter itself takes.
    Nothing,
    /// The sums of a matrix times its vectors.
    Product,
    /// The same, scaled, rounded to the vectors of the next matrix and put into its order.
    Scaled,
    /// The scores of queries at every position.
    Scores,
    /// From scores to weights.
    Softmax,
    /// The values, weighted, summed and divided by the sum of the weights.
    Sum,
}

impl Step {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Product => "product",
            Self::Scaled => "scaled",
            Self::Scores => "scores",
            Self::Softmax => "softmax",
            Self::Sum => "sum",
        }
    }
}

/// What counts.
pub trait Meter {
    /// Does the work, which is this step's.
    fn measure<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T;
}

/// What a step is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Nothing is done.
    Nothing,
    /// A matrix in the core's own layout; the next one reads vectors of the same width.
    Matrix {
        /// Rows, which the next matrix has as columns.
        rows: usize,
        /// Columns.
        columns: usize,
        /// The width of the vectors.
        width: InputWidth,
        /// How many vectors there are.
        vectors: usize,
    },
    /// Query heads that share keys and values.
    Attention {
        /// Width of a head.
        head_dim: usize,
        /// Query heads, 1 or 2.
        heads: usize,
        /// Positions.
        len: usize,
    },
}

const SHAPES: [(usize, usize); 5] = [(64, 64), (172, 64), (64, 172), (512, 64), (288, 288)];
/// Shapes that are multiplied by several vectors, too.
const BLOCK_SHAPES: [(usize, usize); 2] = [(64, 64), (288, 288)];
const HEAD_DIMS: [usize; 4] = [8, 16, 32, 64];
const LENGTHS: [usize; 2] = [50, 256];

/// Every case, the empty one first.
pub fn cases() -> impl Iterator<Item = Case> {
    let widths = [InputWidth::A8, InputWidth::A16];
    let single = SHAPES.into_iter().map(|shape| (shape, 1));
    let several = BLOCK_SHAPES.into_iter().map(|shape| (shape, MAX_BLOCK));
    let matrices = single.chain(several).flat_map(move |((rows, columns), vectors)| {
        widths.into_iter().map(move |width| Case::Matrix { rows, columns, width, vectors })
    });
    let heads = HEAD_DIMS.into_iter().flat_map(|head_dim| [1, 2].map(|heads| (head_dim, heads)));
    let attention =
        heads.flat_map(|(head_dim, heads)| LENGTHS.map(|len| Case::Attention { head_dim, heads, len }));
    [Case::Nothing].into_iter().chain(matrices).chain(attention)
}

/// Bytes of the largest matrix.
const LARGEST: usize = 288 * 288;
/// Elements of the longest vector, and positions.
const LONGEST: usize = 512;
/// Elements of the most vectors.
const MOST: usize = MAX_BLOCK * 288;

/// The memory that the cases work in.
#[derive(Debug)]
pub struct Memory {
    weights: [u32; LARGEST / 4],
    scales: [i16; LONGEST],
    sums: [i32; MOST],
    vector: [i16; MOST],
    operand: [u32; MAX_BLOCK * kernel::operand_len(288)],
    next_vector: [i16; MOST],
    next: [u32; MAX_BLOCK * kernel::operand_len(288)],
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// All zeros.
    pub const fn new() -> Self {
        Self {
            weights: [0; LARGEST / 4],
            scales: [0; LONGEST],
            sums: [0; MOST],
            vector: [0; MOST],
            operand: [0; MAX_BLOCK * kernel::operand_len(288)],
            next_vector: [0; MOST],
            next: [0; MAX_BLOCK * kernel::operand_len(288)],
        }
    }

    /// Does every step of a case.
    pub fn run(&mut self, case: Case, meter: &mut impl Meter) {
        let mut random = Xoroshiro64::new(1);
        self.weights.fill_with(|| random.next());
        match case {
            Case::Nothing => meter.measure(Step::Nothing, || ()),
            Case::Matrix { rows, columns, width, vectors } => {
                self.matrix((rows, columns), width, vectors, &mut random, meter);
            }
            Case::Attention { head_dim, heads: 2, len } if PAIRS => {
                self.pair(head_dim, len, &mut random, meter);
            }
            Case::Attention { head_dim, heads, len } => {
                self.singles(head_dim, heads, len, &mut random, meter);
            }
        }
    }

    fn matrix(
        &mut self,
        (rows, columns): (usize, usize),
        width: InputWidth,
        count: usize,
        random: &mut Xoroshiro64,
        meter: &mut impl Meter,
    ) {
        let Self { weights, scales, sums, vector, operand, next_vector, next } = self;
        let words = &weights[..LAYOUT.len(rows, columns) / 4];
        let weights = match LAYOUT {
            // No core is fastest with int4.
            Layout::Rows | Layout::Nibbles => Weights::Rows(bytes(words)),
            Layout::Bytes => Weights::Bytes(words),
            Layout::Halves => Weights::Halves(words),
        };
        scales.fill_with(|| (random.next() >> 17 | 1 << 14) as i16);
        sums.fill_with(|| random.next() as i32 >> 10);
        let linear = Linear {
            weights,
            scales: &scales[..rows],
            bias: &[],
            exponent: -27,
            cols: columns,
            input: width,
            sparse: false,
        };
        let mut input_scales = [Scale::power(0); MAX_BLOCK];
        for (i, scale) in input_scales.iter_mut().enumerate().take(count) {
            let values = row(sums, columns, i);
            *scale = quantize(values, kernel::magnitude(values), -FRAC, row(vector, columns, i));
        }
        let x = linear.inputs(count, vector, operand, &mut input_scales);
        let y = &mut sums[..count * rows];
        meter.measure(Step::Product, || linear.products(&x, y));
        let mut out = Out { y, vectors: next_vector, operands: next };
        meter.measure(Step::Scaled, || scaled(&linear, &x, &mut out));
    }

    /// Two heads, worked on together.
    fn pair(&mut self, head_dim: usize, len: usize, random: &mut Xoroshiro64, meter: &mut impl Meter) {
        let Self { weights, sums, vector, .. } = self;
        let (keys, z, values) = cache(weights, head_dim, len);
        let mut queries = [0i16; 2 * MAX_HEAD];
        queries.fill_with(|| query(random));
        let (a, b) = (&queries[..head_dim], &queries[head_dim..2 * head_dim]);
        let mut pair = [0; 2 * MAX_HEAD];
        let pair = &mut pair[..2 * head_dim];
        let tops = meter.measure(Step::Scores, || {
            kernel::arrange_pair(a, b, pair);
            kernel::scores_pair(keys, head_dim, z, pair, (KEY_BASE, EXPONENT), &mut sums[..2 * len])
        });
        let weights = &mut vector[..2 * align(len)];
        let totals = meter.measure(Step::Softmax, || {
            let scores = &mut sums[..2 * align(len)];
            kernel::softmax_pair(&EXP2_1024, scores, tops, FRACTION, z, VALUE_BASE, weights)
        });
        let mut out = [0; 2 * MAX_HEAD];
        meter.measure(Step::Sum, || {
            let y = &mut sums[..2 * head_dim];
            kernel::product_pair(values, STRIDE, align(len), weights, y);
            divide_pair(y, totals, EXPONENT, 0, &mut out[..2 * head_dim])
        });
    }

    /// Heads, one after the other.
    fn singles(
        &mut self,
        head_dim: usize,
        heads: usize,
        len: usize,
        random: &mut Xoroshiro64,
        meter: &mut impl Meter,
    ) {
        let Self { weights, sums, vector, .. } = self;
        let (keys, z, values) = cache(weights, head_dim, len);
        let mut queries = [0i16; 2 * MAX_HEAD];
        queries.fill_with(|| query(random));
        let (mut tops, mut totals) = ([0; 2], [0; 2]);
        let queries = queries[..heads * head_dim].chunks_exact_mut(head_dim);
        let scores = sums.chunks_exact_mut(align(len));
        meter.measure(Step::Scores, || {
            for ((query, scores), top) in queries.zip(scores).zip(&mut tops) {
                kernel::arrange(query);
                *top = kernel::scores(keys, z, query, KEY_BASE, &mut scores[..len]);
            }
        });
        let scores = sums.chunks_exact_mut(align(len)).take(heads);
        let weights = vector.chunks_exact_mut(align(len)).take(heads);
        meter.measure(Step::Softmax, || {
            for (((scores, weights), &top), total) in scores.zip(weights).zip(&tops).zip(&mut totals) {
                *total = kernel::softmax(&EXP2_1024, scores, top, FRACTION, z, VALUE_BASE, weights);
            }
        });
        let weights = vector.chunks_exact(align(len)).take(heads);
        let out = sums.chunks_exact_mut(head_dim);
        meter.measure(Step::Sum, || {
            for ((weights, out), &total) in weights.zip(out).zip(&totals) {
                kernel::weighted_sum(values, STRIDE, weights, out);
                divide(out, total, EXPONENT, 0);
            }
        });
    }
}

/// Where products go, and what the next matrix reads.
struct Out<'a> {
    y: &'a mut [i32],
    vectors: &'a mut [i16],
    operands: &'a mut [u32],
}

/// Products for a next matrix that is like this one. A function of few arguments: what it takes to collect them is counted
/// by one instrument and not by the other.
#[inline(never)]
fn scaled(linear: &Linear<'_>, x: &Inputs<'_>, out: &mut Out<'_>) {
    let (rows, mut sizes) = (linear.scales.len(), [0; MAX_BLOCK]);
    linear.forward(x, FRAC, out.y, &mut sizes);
    let next = Linear { cols: rows, ..*linear };
    let mut scales = [Scale::power(0); MAX_BLOCK];
    for (i, (scale, &size)) in scales.iter_mut().zip(&sizes).enumerate().take(x.count()) {
        *scale = quantize(row(out.y, rows, i), size, -FRAC, row(out.vectors, rows, i));
    }
    next.inputs(x.count(), out.vectors, out.operands, &mut scales);
}

/// Fraction bits of the values.
const FRAC: i32 = 18;
const MAX_HEAD: usize = 64;
/// From one channel's values to the next.
const STRIDE: usize = 256;
/// Fraction bits of scores.
const FRACTION: u32 = 10;
/// The exponent of all keys' and values' steps.
const EXPONENT: u32 = 4;
/// With it, scores of some octaves.
const KEY_BASE: u32 = 17;
/// With it, weights of 15 bits.
const VALUE_BASE: u32 = EXPONENT + 6;

/// Keys, the steps of both, and values.
fn cache(weights: &mut [u32], head_dim: usize, len: usize) -> (&[i8], &[u8], &[i8]) {
    let (steps, elements) = weights.split_at_mut(STRIDE / 4);
    for step in &mut *steps {
        *step = (*step & 0x0f0f_0f0f) | (0x1010_1010 * EXPONENT);
    }
    let elements = bytes(elements);
    let values = &elements[STRIDE * MAX_HEAD..][..STRIDE * head_dim];
    (&elements[..len * head_dim], &(*steps).as_bytes()[..len], values)
}

/// An element of a query: 14 bits.
fn query(random: &mut Xoroshiro64) -> i16 {
    (random.next() as i32 >> 18) as i16
}

fn bytes(words: &[u32]) -> &[i8] {
    <[i8]>::ref_from_bytes(words.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the regions of each step and checks what the steps leave.
    #[derive(Default)]
    struct Steps(Vec<Step>);

    impl Meter for Steps {
        fn measure<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T {
            self.0.push(step);
            work()
        }
    }

    #[test]
    fn every_case_does_its_steps() {
        let mut memory = Box::new(Memory::new());
        for case in cases() {
            let mut steps = Steps::default();
            memory.run(case, &mut steps);
            let wanted = match case {
                Case::Nothing => &[Step::Nothing][..],
                Case::Matrix { .. } => &[Step::Product, Step::Scaled],
                Case::Attention { .. } => &[Step::Scores, Step::Softmax, Step::Sum],
            };
            assert_eq!(steps.0, wanted, "{case:?}");
        }
        assert_eq!(cases().count(), 1 + (5 + 2) * 2 + 4 * 2 * 2);
    }

    /// Numbers as in a model: sums that use their bits, weights that are neither all alike nor all nothing.
    #[test]
    fn the_numbers_are_like_those_of_a_model() {
        let mut memory = Box::new(Memory::new());
        for case in cases() {
            memory.run(case, &mut Steps::default());
            match case {
                Case::Nothing => {}
                Case::Matrix { rows, width, vectors, .. } => {
                    let size = kernel::magnitude(&memory.sums[..vectors * rows]);
                    assert!((1 << 14..1 << 28).contains(&size), "{width:?} {rows}: {size:#x}");
                }
                Case::Attention { heads, len, .. } => {
                    let weights = &memory.vector[..heads * align(len)];
                    let small = weights.iter().filter(|&&w| w < 1 << 10).count();
                    assert!(small > 0 && weights.iter().any(|&w| w > 1 << 13), "{case:?}: {weights:?}");
                }
            }
        }
    }
}
