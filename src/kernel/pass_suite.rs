//! The suite's part for the passes between the matrices, against the definitions in 64-bit numbers: every rest of the loops,
//! and 16-bit elements that do not start at a word.

use super::suite::{Failure, Random};
use super::{BlockShift, Divisor, Gate, Openings, passes};

/// The functions of one implementation.
struct Kernel {
    name: &'static str,
    magnitude: fn(&[i32]) -> u32,
    round: fn(&[i32], BlockShift, &mut [i16]),
    peak: fn(&[i16]) -> u32,
    scale: fn(&mut [i16], i32),
    squares: fn(&[i16]) -> u64,
    multiply: fn(&mut [i16], &[i16]),
    store: fn(&[i16], i32, u32, &mut [i8], usize),
    /// What `store` adds.
    offset: u8,
    rotate: fn(&mut [i16], &[i16]),
    add: fn(&mut [i32], &[i32]) -> u32,
    activate_gated: fn(&mut [i32], &[i32], &Gate<'_>) -> u32,
    rescale: fn(&mut [i32], &[i16], u32, i16, i32) -> u32,
    divide_pair: fn(&[i32], &[Divisor; 2], &mut [i32]) -> u32,
}

macro_rules! kernel {
    ($name:expr, $implementation:path, $offset:expr) => {{
        use $implementation as of;
        Kernel {
            name: $name,
            magnitude: of::magnitude,
            round: of::round,
            peak: of::peak,
            scale: of::scale,
            squares: of::squares,
            multiply: of::multiply,
            store: of::store,
            offset: $offset,
            rotate: of::rotate,
            add: of::add,
            activate_gated: of::activate_gated,
            rescale: of::rescale,
            divide_pair: of::divide_pair,
        }
    }};
}

/// Every implementation that this target can run.
const KERNELS: [Kernel; 2] =
    [kernel!("safe passes", passes, 0), kernel!(super::NAME, super, super::CACHE_OFFSET)];

/// One element more than the longest slice, so that one may start late.
const LEN: usize = 21;

/// A buffer whose start LDM can read.
#[repr(align(4))]
struct Aligned<T>(T);

/// Runs all cases; returns the number of elements compared.
#[inline(never)]
pub fn run() -> Result<u32, Failure> {
    let mut compared = 0;
    for kernel in &KERNELS {
        compared += check(kernel)?;
    }
    Ok(compared)
}

fn check(kernel: &Kernel) -> Result<u32, Failure> {
    let mut random = Random(1);
    let mut compared = 0;
    for start in 0..2 {
        for len in 0..LEN {
            for shift in -14..32 {
                compared += kernel.vectors(start, len, shift, &mut random)?;
                compared += kernel.activation(len, shift, &mut random)?;
            }
            for right in -2..32 {
                compared += kernel.rescaling(start, len, right, &mut random)?;
            }
            for narrowing in 0..17 {
                compared += kernel.averages(len, narrowing, &mut random)?;
            }
        }
    }
    Ok(compared)
}

/// `v / 2^s`, rounded half up; times `2^-s` where it is negative.
fn rounded(v: i64, s: i32) -> i64 {
    match s {
        ..=0 => v << s.unsigned_abs(),
        _ => (v + (1 << (s - 1))) >> s,
    }
}

/// What is or'ed together to a magnitude.
fn size(v: i64) -> u32 {
    (v ^ (v >> 63)) as u32
}

impl Kernel {
    fn same(&self, found: i64, expected: i64, element: usize, rows: usize) -> Result<(), Failure> {
        if found == expected {
            return Ok(());
        }
        let (expected, found) = (expected as i32, found as i32);
        Err(Failure { kernel: self.name, rows, columns: 1, stride: 1, element, expected, found })
    }

    /// Of a magnitude only the bits count.
    fn same_bits(&self, found: u32, expected: u32, len: usize) -> Result<(), Failure> {
        let bits = |size: u32| i64::from(u32::BITS - size.leading_zeros());
        self.same(bits(found), bits(expected), 0, len)
    }

    /// Squares, products with gains, and elements of the cache; `q` is scratch.
    fn elements(&self, q: &mut [i16], x: &[i16], gains: &[i16], random: &mut Random) -> Result<(), Failure> {
        let len = x.len();
        q.copy_from_slice(x);
        let squares: i64 = x.iter().map(|&x| i64::from(x) * i64::from(x)).sum();
        self.same((self.squares)(q) as i64, squares, 0, len)?;
        for (stride, shift) in [(1, 1), (1, 17), (3, 2), (4, 25), (4, 31)] {
            let mut elements = [99i8; 4 * LEN];
            let factor = 16_384 + random.below(16_385) as i32;
            (self.store)(q, factor, shift, &mut elements, stride);
            for (i, &found) in elements.iter().enumerate() {
                let expected = match x.get(i / stride) {
                    Some(&x) if i % stride == 0 => {
                        let q = rounded(i64::from(x) * i64::from(factor), shift as i32).clamp(-128, 127);
                        (q as u8 ^ self.offset) as i8
                    }
                    _ => 99,
                };
                self.same(found.into(), expected.into(), i, len)?;
            }
        }
        (self.multiply)(q, gains);
        for (i, ((&found, &x), &gain)) in q.iter().zip(x).zip(gains).enumerate() {
            self.same(found.into(), rounded(i64::from(x) * i64::from(gain), 15), i, len)?;
        }
        Ok(())
    }

    /// Rounding, the peak, scaling and rotating, and what magnitudes and sums are made of.
    fn vectors(&self, start: usize, len: usize, shift: i32, random: &mut Random) -> Result<u32, Failure> {
        let mut values = [0; LEN];
        // 14 bits are left, and never more than 31 were there.
        values.fill_with(|| random.next() as i32 >> (17 - shift).clamp(0, 31));
        let values = &values[..len];
        let mut q = Aligned([7; LEN + 1]);
        (self.round)(values, BlockShift::new(shift), &mut q.0[start..][..len]);
        let mut expected = Aligned([7; LEN + 1]);
        for (expected, &value) in expected.0[start..].iter_mut().zip(values) {
            *expected = rounded(value.into(), shift) as i16;
        }
        for (i, (&found, &expected)) in q.0.iter().zip(&expected.0).enumerate() {
            self.same(found.into(), expected.into(), i, len)?;
        }

        let q = &mut q.0[start..][..len];
        let peak = q.iter().fold(0, |peak, &x| i64::from(x).abs().max(peak));
        self.same((self.peak)(q).into(), peak, 0, len)?;
        self.same(
            (self.peak)(&[i16::MIN; 9][..len.min(9)]).into(),
            if len > 0 { 1 << 15 } else { 0 },
            0,
            len,
        )?;
        let mut turns = Aligned([0; LEN + 1]);
        turns.0.fill_with(|| random.within(32767) as i16);
        let turns = &turns.0[start..][..len];
        let before = &expected.0[start..][..len];
        (self.rotate)(q, turns);
        for (i, &found) in q.iter().enumerate() {
            let pair = |of: &[i16]| {
                (of.get(i & !1).copied().map_or(0, i64::from), of.get(i | 1).copied().map_or(0, i64::from))
            };
            let ((a, b), (cos, sin)) = (pair(before), pair(turns));
            let turned = if i % 2 == 0 { a * cos - b * sin } else { a * sin + b * cos };
            let alone = i | 1 == len;
            let expected = if alone { before[i] } else { rounded(turned, 14) as i16 };
            self.same(found.into(), expected.into(), i, len)?;
        }
        q.copy_from_slice(before);
        let factor = random.below(((127 << 24) / peak.max(1)) as u32 + 1) as i32;
        (self.scale)(q, factor);
        for (i, (&found, &before)) in q.iter().zip(before).enumerate() {
            self.same(found.into(), rounded(i64::from(before) * i64::from(factor), 24), i, len)?;
        }

        self.elements(q, before, turns, random)?;

        let sizes = values.iter().fold(0, |sizes, &v| sizes | size(v.into()));
        self.same_bits((self.magnitude)(values), sizes, len)?;
        let mut sums = [0; LEN];
        sums.fill_with(|| random.next() as i32);
        let old = sums;
        let found = (self.add)(&mut sums, values);
        let mut sizes = 0;
        for (i, &sum) in sums.iter().enumerate() {
            let Some(&value) = values.get(i) else {
                self.same(sum.into(), old[i].into(), i, len)?;
                continue;
            };
            let expected = (i64::from(old[i]) + i64::from(value)).clamp(i32::MIN.into(), i32::MAX.into());
            self.same(sum.into(), expected, i, len)?;
            sizes |= size(expected);
        }
        self.same_bits(found, sizes, len)?;
        Ok(4 * len as u32)
    }

    /// The gated activation with any table, and with none.
    fn activation(&self, len: usize, shift: i32, random: &mut Random) -> Result<u32, Failure> {
        let mut openings: Openings = [0; 513];
        openings.fill_with(|| random.below((1 << 14) + 1) as u16);
        let up = random.below(20);
        // What comes out of the shift reaches beyond the table's end, sometimes.
        let to_table = if random.below(4) == 0 { (random.below(18), 0) } else { (0, random.below(6)) };
        let step = random.below(4) == 0;
        let gate = Gate {
            shift: BlockShift::new(shift),
            to_table,
            openings: if step { None } else { Some(&openings) },
            up,
        };
        let (mut values, mut ups) = ([0; LEN], [0; LEN]);
        values.fill_with(|| random.next() as i32 >> (17 - shift).clamp(0, 31));
        ups.fill_with(|| random.next() as i32 >> up);
        let before = values;
        let found = (self.activate_gated)(&mut values[..len], &ups, &gate);
        let mut sizes = 0;
        for (i, &value) in values.iter().enumerate() {
            if i >= len {
                self.same(value.into(), before[i].into(), i, len)?;
                continue;
            }
            let x = rounded(before[i].into(), shift);
            let at = (x.abs() << to_table.0 >> to_table.1).min((16 << 10) - 1);
            let (low, high) =
                (i64::from(openings[at as usize / 32]), i64::from(openings[at as usize / 32 + 1]));
            let opening = if step { 1 << 14 } else { low + rounded((high - low) * (at % 32), 5) };
            let activation = rounded((x << 14) + x.abs() * opening, 15);
            let expected = ((i64::from(ups[i]) << up) * activation) >> 16;
            self.same(value.into(), expected, i, len)?;
            sizes |= size(expected);
        }
        self.same_bits(found, sizes, len)?;
        Ok(len as u32)
    }

    /// Every shift to the right, and the few to the left.
    fn rescaling(&self, start: usize, len: usize, right: i32, random: &mut Random) -> Result<u32, Failure> {
        let (mut y, mut scales) = ([0; LEN], Aligned([0; LEN + 1]));
        let up = [0, 8][random.below(2) as usize];
        y.fill_with(|| random.next() as i32 >> up);
        scales.0.fill_with(|| random.next() as i16);
        let scales = &scales.0[start..][..len];
        let scale = random.next() as i16;
        let before = y;
        let found = (self.rescale)(&mut y, scales, up, scale, right);
        let mut unmeasured = before;
        super::rescale_if(false, &mut unmeasured, scales, up, scale, right);
        for (i, (&y, unmeasured)) in y.iter().zip(unmeasured).enumerate() {
            self.same(unmeasured.into(), y.into(), i, len)?;
        }
        let mut sizes = 0;
        for (i, &y) in y.iter().enumerate() {
            let Some(&row) = scales.get(i) else {
                self.same(y.into(), before[i].into(), i, len)?;
                continue;
            };
            let product = ((i64::from(before[i]) << up) * i64::from(row)) >> 16;
            let expected = rounded((product * i64::from(scale)) >> 16, right);
            self.same(y.into(), expected, i, len)?;
            sizes |= size(expected);
        }
        self.same_bits(found, sizes, len)?;
        Ok(len as u32)
    }

    /// Averages from the totals of two heads of `len` elements.
    fn averages(&self, len: usize, narrowing: u32, random: &mut Random) -> Result<u32, Failure> {
        let (mut totals, mut out) = ([0; 2 * LEN], [7; 2 * LEN]);
        totals.fill_with(|| random.within(1 << (14 + narrowing)));
        let divisors = [narrowing, 16].map(|narrowing| Divisor {
            narrowing,
            reciprocal: random.below((1 << 15) + 1) as i32,
            place: 2 + random.below(16),
        });
        let found = (self.divide_pair)(&totals[..2 * len], &divisors, &mut out[..2 * len]);
        let mut sizes = 0;
        for (i, &found) in out.iter().enumerate() {
            let (head, element) = if i < len { (0, i) } else { (1, i - len) };
            let Divisor { narrowing, reciprocal, place } = divisors[head];
            let expected = if i < 2 * len {
                let narrow = rounded(totals[2 * element + head].into(), narrowing as i32);
                rounded(narrow * i64::from(reciprocal), place as i32)
            } else {
                7
            };
            self.same(found.into(), expected, i, len)?;
            sizes |= if i < 2 * len { size(expected) } else { 0 };
        }
        self.same_bits(found, sizes, len)?;
        Ok(2 * len as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_of_this_target_pass() {
        let compared = run().unwrap();
        assert!(compared > 10_000, "only {compared} elements");
    }

    #[test]
    fn the_suite_finds_a_wrong_kernel() {
        let wrong = Kernel {
            name: "wrong",
            peak: |q| passes::peak(q) + u32::from(q.len() == 13),
            ..kernel!("", passes, 0)
        };
        assert_eq!(check(&wrong).unwrap_err().rows, 13);
    }
}
