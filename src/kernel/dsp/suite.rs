//! Checks what only these kernels have: an operand of scaled elements is that of what they are scaled to.

use super::super::suite::{Failure, Random};
use super::{NAME, operand_len, prepare, prepare_scaled};
use crate::format::InputWidth;
use crate::shift::round_shift;

/// Longer than two rounds of every loop.
const LEN: usize = 26;

/// A buffer that starts at a word.
#[repr(align(4))]
struct Aligned([i16; LEN + 1]);

/// Runs all cases; returns the number of words compared.
pub fn check() -> Result<u32, Failure> {
    let mut random = Random(1);
    let mut compared = 0;
    for (len, start) in (0..LEN).flat_map(|len| [(len, 0), (len, 1)]) {
        let mut x = Aligned([0; LEN + 1]);
        x.0.fill_with(|| random.within(1 << 14) as i16);
        let x = &x.0[start..][..len];
        let peak = x.iter().fold(1, |peak, x| x.abs().max(peak));
        let factor = (127 << 24) / i32::from(peak);
        let (mut found, mut expected) = ([0; operand_len(LEN)], [0; operand_len(LEN)]);
        let mut scaled = Aligned([0; LEN + 1]);
        for (scaled, &x) in scaled.0.iter_mut().zip(x) {
            *scaled = round_shift(i32::from(x) * factor, 24) as i16;
        }
        prepare(&scaled.0[..len], InputWidth::A8, &mut expected);
        let done = prepare_scaled(x, factor, &mut found);
        if !done {
            // The caller scales first. Where the fast way could go, it must be gone.
            found =
                if len > 0 && len.is_multiple_of(4) && start == 0 && peak > 255 { found } else { expected };
        }
        for (element, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            if found != expected {
                let (expected, found) = (expected as i32, found as i32);
                return Err(Failure {
                    kernel: NAME,
                    rows: 1,
                    columns: len,
                    stride: len,
                    element,
                    expected,
                    found,
                });
            }
        }
        compared += found.len() as u32;
    }
    Ok(compared)
}
