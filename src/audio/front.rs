//! Samples in, a row of features at every hop.

use zerocopy::{FromBytes, IntoBytes};

use super::{
    constants::{LN_2, dct_scale},
    fft::{Complex, split, transform},
    mel::{bands, magnitude},
    spec::{FRACTION, Spec},
    tables::{Tables, View},
};
use crate::Error;

/// Makes features of samples as they arrive. See the [module](super).
#[derive(Debug)]
pub struct FrontEnd<'a> {
    tables: View<'a>,
    /// The last samples of a frame; the oldest is at `at`.
    ring: &'a mut [i16],
    at: usize,
    /// Samples that are missing until the next row.
    missing: usize,
    spectrum: &'a mut [Complex],
    logs: &'a mut [i32],
    row: &'a mut [i32],
    /// Of the DCT, Q31.
    scale: i64,
}

impl<'a> FrontEnd<'a> {
    /// A front end that has heard nothing.
    ///
    /// # Errors
    /// [`Error::WorkspaceTooSmall`], in bytes, where `memory` has fewer words than [`Spec::memory_words`].
    pub fn new<const WORDS: usize>(tables: &'a Tables<WORDS>, memory: &'a mut [i32]) -> Result<Self, Error> {
        let tables = tables.view();
        let spec = tables.spec;
        let (need, have) = (spec.memory_words(), memory.len());
        let memory =
            memory.get_mut(..need).ok_or(Error::WorkspaceTooSmall { need: 4 * need, have: 4 * have })?;
        let (ring, memory) = memory.split_at_mut_checked(spec.frame.div_ceil(2)).unwrap_or_default();
        let (spectrum, memory) = memory.split_at_mut_checked(spec.points).unwrap_or_default();
        let (logs, row) = memory.split_at_mut_checked(spec.bands).unwrap_or_default();
        let ring = <[i16]>::mut_from_bytes(ring.as_mut_bytes()).unwrap_or_default();
        let ring = ring.get_mut(..spec.frame).unwrap_or_default();
        let spectrum = spectrum.as_chunks_mut().0;
        Ok(Self {
            tables,
            ring,
            at: 0,
            missing: spec.frame,
            spectrum,
            logs,
            row,
            scale: dct_scale(spec.bands),
        })
    }

    /// What it computes.
    pub const fn spec(&self) -> &Spec {
        &self.tables.spec
    }

    /// Forgets what it heard: the next row is of the next frame of samples.
    pub const fn reset(&mut self) {
        (self.at, self.missing) = (0, self.tables.spec.frame);
    }

    /// Takes samples, as many as there are, and hands each row that they complete to `each`: features with [`FRACTION`]
    /// fraction bits. However the samples are cut into pieces, the rows are the same.
    pub fn push(&mut self, mut samples: &[i16], mut each: impl FnMut(&[i32])) {
        while !samples.is_empty() {
            let room = self.ring.get_mut(self.at..).unwrap_or_default();
            let n = samples.len().min(self.missing).min(room.len());
            let Some((now, later)) = samples.split_at_checked(n) else { return };
            for (kept, &sample) in room.iter_mut().zip(now) {
                *kept = sample;
            }
            samples = later;
            self.missing -= n;
            self.at += n;
            if self.at == self.ring.len() {
                self.at = 0;
            }
            if self.missing == 0 {
                self.missing = self.tables.spec.hop;
                self.make_row();
                each(self.row);
            }
        }
    }

    /// The features of the ring.
    fn make_row(&mut self) {
        let Self { tables, spectrum, logs, row, .. } = self;
        let (newer, older) = self.ring.split_at_checked(self.at).unwrap_or_default();
        let up = load(older, newer, tables.window, spectrum);
        transform(spectrum, tables.roots);
        split(spectrum, tables.roots, magnitude);
        // Samples were moved up, halved by the window and by every stage; weights have 15 bits, samples of full scale too.
        let shift = up - 1 - tables.spec.points.ilog2().cast_signed() + 15 + 15;
        bands(tables, spectrum, shift, logs);
        match tables.spec.coefficients {
            0 => {
                for (feature, &log) in row.iter_mut().zip(&**logs) {
                    *feature = rounded(i64::from(log) * LN_2, 16 + 31 - FRACTION);
                }
            }
            _ => cosine_transform(logs, tables.cosines, self.scale, row),
        }
    }
}

/// Puts the frame under its window, pairs of samples as complex numbers in the order of reversed bits and zeros behind
/// them. All are moved up by what is returned, so that the largest has 30 bits: a quiet sound keeps its bits.
#[inline(never)]
fn load(older: &[i16], newer: &[i16], window: &[i32], spectrum: &mut [Complex]) -> i32 {
    let samples = || older.iter().chain(newer).map(|&sample| i32::from(sample));
    let any = older.iter().chain(newer).fold(0, |any, &sample| any | sample ^ (sample >> 15));
    let up = 30 - (16 - any.leading_zeros());
    let order = spectrum.len().leading_zeros() + 1;
    let mut values = samples()
        .zip(window)
        .map(|(sample, &weight)| ((i64::from(sample << up) * i64::from(weight)) >> 32) as i32);
    for i in 0..spectrum.len() {
        let [re, im] = [values.next(), values.next()].map(Option::unwrap_or_default);
        if let Some(place) = spectrum.get_mut(i.reverse_bits() >> order) {
            *place = [re, im];
        }
    }
    up.cast_signed()
}

/// The orthonormal DCT-II, all rows scaled alike, of an even number of logarithms. It has the symmetry of the cosine: the
/// last logarithm takes part as the first, with a sign.
#[inline(never)]
fn cosine_transform(logs: &mut [i32], cosines: &[i32], scale: i64, row: &mut [i32]) {
    let (first, last) = logs.split_at_mut_checked(logs.len() / 2).unwrap_or_default();
    for (a, b) in first.iter_mut().zip(last.iter_mut().rev()) {
        (*a, *b) = (*a + *b, *a - *b);
    }
    for (k, feature) in row.iter_mut().enumerate() {
        let mut at = k;
        let mut term = |&log: &i32| {
            let cosine = cosines.get(at).copied().unwrap_or_default();
            at += 2 * k;
            if at >= cosines.len() {
                at -= cosines.len();
            }
            i64::from(log) * i64::from(cosine)
        };
        let sum: i64 = match k % 2 {
            0 => first.iter().map(&mut term).sum(),
            _ => last.iter().rev().map(&mut term).sum(),
        };
        *feature = rounded((sum >> 32) * scale, 15 + 31 - FRACTION);
    }
}

/// A shift to the right, rounded half up.
fn rounded(value: i64, shift: u32) -> i32 {
    ((value + (1 << (shift - 1))) >> shift) as i32
}
