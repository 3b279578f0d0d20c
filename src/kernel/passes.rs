//! The passes over vectors between the matrices, in safe Rust.

use crate::shift::{keep_rolled, mul_w, round_shift};

/// Whether a core has loops of its own, so that these are for what those leave over: then they are small.
const SMALL: bool = cfg!(any(thumbformer_kernel = "armv7m", thumbformer_kernel = "dsp"));

/// In such a loop, [`keep_rolled`].
#[inline(always)]
fn keep_small() {
    if SMALL {
        keep_rolled();
    }
}

/// Does something with each element, four in a round: a loop's own instructions weigh as much as what it does.
#[inline(always)]
fn each<T>(all: &mut [T], mut f: impl FnMut(&mut T)) {
    if SMALL {
        for one in all {
            f(one);
            keep_rolled();
        }
        return;
    }
    let (fours, rest) = all.as_chunks_mut::<4>();
    for four in fours {
        for one in four {
            f(one);
        }
    }
    for one in rest {
        f(one);
    }
}

/// [`each`] with the elements of two slices.
#[inline(always)]
fn each_of_two<T, U: Copy>(all: &mut [T], with: &[U], mut f: impl FnMut(&mut T, U)) {
    let len = all.len().min(with.len());
    let (Some(all), Some(with)) = (all.get_mut(..len), with.get(..len)) else {
        return;
    };
    if SMALL {
        for (one, &with) in all.iter_mut().zip(with) {
            f(one, with);
            keep_rolled();
        }
        return;
    }
    let (fours, rest) = all.as_chunks_mut::<4>();
    let (fours_with, rest_with) = with.as_chunks::<4>();
    for (four, with) in fours.iter_mut().zip(fours_with) {
        for (one, &with) in four.iter_mut().zip(with) {
            f(one, with);
        }
    }
    for (one, &with) in rest.iter_mut().zip(rest_with) {
        f(one, with);
    }
}

/// A number with as many bits as the largest magnitude: magnitudes (of negative numbers, one less) or'ed together.
#[inline(never)]
pub fn magnitude(values: &[i32]) -> u32 {
    values.iter().fold(0, |m, &v| m | (v ^ (v >> 31)) as u32)
}

/// `v * 2^-s`, rounded half up, without a branch on the sign of `s`, which is 31 at most: either shift is by 0.
#[derive(Debug, Clone, Copy)]
pub struct BlockShift {
    /// Places to the left.
    pub left: u32,
    /// Places to the right; one more is rounded away.
    pub right: u32,
}

impl BlockShift {
    /// A shift to the right by `s`, to the left if it is negative.
    pub const fn new(s: i32) -> Self {
        let s = s - 1;
        if s < 0 {
            Self { left: s.unsigned_abs() & 31, right: 0 }
        } else {
            Self { left: 0, right: s as u32 & 31 }
        }
    }

    /// `v * 2^-s`, for a result below 2^30.
    #[inline(always)]
    pub const fn round(self, v: i32) -> i32 {
        ((v << (self.left & 31) >> (self.right & 31)) + 1) >> 1
    }
}

/// `q = values * 2^-s`, rounded; the caller knows that it is within `-2^14..=2^14`.
#[inline(never)]
pub fn round(values: &[i32], shift: BlockShift, q: &mut [i16]) {
    if shift.left == 0 {
        each_of_two(q, values, |q, v| *q = (((v >> (shift.right & 31)) + 1) >> 1) as i16);
    } else {
        each_of_two(q, values, |q, v| *q = shift.round(v) as i16);
    }
}

/// The largest magnitude.
#[inline(never)]
pub fn peak(q: &[i16]) -> u32 {
    let mut peak = 0;
    let mut meet = |x: i16| {
        let x = i32::from(x);
        // One comparison for both ends of -peak..=peak. A new peak is rare.
        if (x + peak) as u32 > 2 * peak as u32 {
            peak = magnitude_of(x);
        }
    };
    let (eights, rest) = if SMALL { (&[][..], q) } else { q.as_chunks::<8>() };
    for eight in eights {
        for &x in eight {
            meet(x);
        }
    }
    for &x in rest {
        meet(x);
        keep_small();
    }
    peak as u32
}

/// A function, so that it is not computed before it is known to be wanted.
#[cold]
fn magnitude_of(x: i32) -> i32 {
    x.abs()
}

/// The sum of the squares of elements of at most 14 bits.
#[inline(never)]
pub fn squares(q: &[i16]) -> u64 {
    if SMALL {
        let mut sum = 0;
        for &x in q {
            sum += u64::from((i32::from(x) * i32::from(x)) as u32);
            keep_rolled();
        }
        return sum;
    }
    // Eight squares are at most 2^31: most of the sum needs no u64.
    let part =
        |x: &[i16]| u64::from(x.iter().fold(0u32, |sum, &x| sum + (i32::from(x) * i32::from(x)) as u32));
    let (eights, rest) = q.as_chunks::<8>();
    eights.iter().fold(part(rest), |sum, x| sum + part(x))
}

/// `q = q * gains / 2^15`, rounded half up.
#[inline(never)]
pub fn multiply(q: &mut [i16], gains: &[i16]) {
    for (q, &gain) in q.iter_mut().zip(gains) {
        *q = round_shift(i32::from(*q) * i32::from(gain), 15) as i16;
        keep_rolled();
    }
}

/// `elements[i * stride] = values[i] * factor / 2^shift`, rounded half up and saturated; `factor` is at most 2^15, `shift`
/// at most 31, and `values` have at most 14 bits. A core may add something, see
/// [`CACHE_OFFSET`](super::attention::CACHE_OFFSET).
#[inline(never)]
pub fn store(values: &[i16], factor: i32, shift: u32, elements: &mut [i8], stride: usize) {
    for (q, &v) in elements.iter_mut().step_by(stride.max(1)).zip(values) {
        *q = round_shift(i32::from(v) * factor, shift).clamp(-128, 127) as i8;
        keep_rolled();
    }
}

/// `q = q * factor / 2^24`, rounded half up; products fit an i32.
#[inline(never)]
pub fn scale(q: &mut [i16], factor: i32) {
    each(q, |q| *q = round_shift(i32::from(*q) * factor, 24) as i16);
}

/// Rotates the pairs `(2i, 2i+1)` in place by the pairs (cosine, sine) in `turns`, Q14, rounded half up: the low 16 bits of
/// the result.
#[inline(never)]
pub fn rotate(x: &mut [i16], turns: &[i16]) {
    for (pair, turn) in x.as_chunks_mut::<2>().0.iter_mut().zip(turns.as_chunks::<2>().0) {
        let [a, b] = pair.map(i32::from);
        let [cos, sin] = turn.map(i32::from);
        *pair = [round_shift(a * cos - b * sin, 14) as i16, round_shift(a * sin + b * cos, 14) as i16];
        keep_small();
    }
}

/// `sums += values`, saturated; returns the [`magnitude`] of the sums.
#[inline(never)]
pub fn add(sums: &mut [i32], values: &[i32]) -> u32 {
    let mut size = 0;
    each_of_two(sums, values, |sum, value| {
        *sum = sum.saturating_add(value);
        size |= (*sum ^ (*sum >> 31)) as u32;
    });
    size
}

/// Half of an activation's gate: `gate(x) - 1/2` in Q15, at `0, 1/32, .. 16`.
pub type Openings = [u16; 513];

/// How [`activate`] reads its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'t> {
    /// From a gate to 14 bits.
    pub shift: BlockShift,
    /// From there to 10 fraction bits, places to the left (at most 17) and then to the right.
    pub to_table: (u32, u32),
    /// The table; a step (ReLU) needs none.
    pub openings: Option<&'t Openings>,
    /// From an up to 31 bits, places to the left.
    pub up: u32,
}

impl Gate<'_> {
    /// `x * gate(x) = x / 2 + |x| * opening(|x|)`, 14 bits.
    #[inline(always)]
    fn activation(&self, x: i32) -> i32 {
        let x = self.shift.round(x);
        let size = x.unsigned_abs();
        let opening = match self.openings {
            None => 1 << 14,
            Some(openings) => {
                let at = (size << (self.to_table.0 & 31) >> (self.to_table.1 & 31)).min((16 << 10) - 1);
                let (low, high) = (at as usize >> 5 & 511, (at as usize >> 5 & 511) + 1);
                let (low, high) = (i32::from(openings[low]), i32::from(openings[high]));
                low + round_shift((high - low) * (at & 31) as i32, 5)
            }
        };
        round_shift((x << 14) + size as i32 * opening, 15)
    }
}

/// `values = activation(values) * ups * 2^up / 2^16`; returns the [`magnitude`] of the result.
#[inline(never)]
pub fn activate_gated(values: &mut [i32], ups: &[i32], gate: &Gate<'_>) -> u32 {
    let mut size = 0;
    for (value, &up) in values.iter_mut().zip(ups) {
        let v = mul_w(up << (gate.up & 31), gate.activation(*value) as i16);
        size |= (v ^ (v >> 31)) as u32;
        *value = v;
        keep_small();
    }
    size
}

/// `values = activation(values)`; returns the [`magnitude`] of the result.
#[inline(never)]
pub fn activate(values: &mut [i32], gate: &Gate<'_>) -> u32 {
    let mut size = 0;
    for value in values {
        let v = gate.activation(*value);
        size |= (v ^ (v >> 31)) as u32;
        *value = v;
        keep_small();
    }
    size
}

/// `y = (W(W(y * 2^up, scales[row]), scale) + half) / 2^right`, rounded down, with `W(a, b) = floor(a * b / 2^16)` and
/// `half = 2^(right - 1)`, or times `2^-right` where that is negative, -2 at least; returns the [`magnitude`] of `y`.
///
/// `y * 2^up` fits an i32. Nothing overflows: after the products a number has 29 bits.
#[inline(never)]
pub fn rescale(y: &mut [i32], scales: &[i16], up: u32, scale: i16, right: i32) -> u32 {
    let mut size = 0;
    if right < 0 {
        for (y, &row) in y.iter_mut().zip(scales) {
            *y = mul_w(mul_w(*y << (up & 31), row), scale) << (right.unsigned_abs() & 31);
            size |= (*y ^ (*y >> 31)) as u32;
            keep_small();
        }
        return size;
    }
    let right = right as u32 & 31;
    each_of_two(y, scales, |y, row| {
        *y = round_shift(mul_w(mul_w(*y << (up & 31), row), scale), right);
        size |= (*y ^ (*y >> 31)) as u32;
    });
    size
}

/// What turns a sum of weight * value into an average, for a total below 2^30 that `narrowing` leaves 15 bits of.
#[derive(Debug, Clone, Copy)]
pub struct Divisor {
    /// Places to the right before the product, at most 31.
    pub narrowing: u32,
    /// At most 2^15.
    pub reciprocal: i32,
    /// Places to the right after it, 2 to 17.
    pub place: u32,
}

impl Divisor {
    /// `total / 2^narrowing * reciprocal / 2^place`, rounded half up each time.
    #[inline(always)]
    pub const fn divide(self, total: i32) -> i32 {
        round_shift(round_shift(total, self.narrowing) * self.reciprocal, self.place)
    }
}

/// Totals of two heads, by turns, to averages of one head after the other, each with its divisor; returns their
/// [`magnitude`].
#[inline(always)]
pub fn divide_pair(totals: &[i32], divisors: &[Divisor; 2], out: &mut [i32]) -> u32 {
    let (pairs, &[first, second]) = (totals.as_chunks::<2>().0, divisors);
    let Some((out, rest)) = out.split_at_mut_checked(pairs.len()) else {
        return 0;
    };
    divide_turn(pairs, 0, first, out) | divide_turn(pairs, 1, second, rest)
}

/// [`divide_pair`] of one head.
#[inline(always)]
fn divide_turn(pairs: &[[i32; 2]], turn: usize, divisor: Divisor, out: &mut [i32]) -> u32 {
    let mut size = 0;
    for (out, pair) in out.iter_mut().zip(pairs) {
        *out = divisor.divide(pair[turn & 1]);
        size |= (*out ^ (*out >> 31)) as u32;
        keep_rolled();
    }
    size
}
