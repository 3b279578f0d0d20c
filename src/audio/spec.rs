//! What a front end computes.

/// Fraction bits of features.
pub const FRACTION: u32 = 12;

/// What a front end computes. Two that are equal give the same features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Spec {
    /// Samples a second.
    pub rate: u32,
    /// Samples of a frame, under a periodic Hann window.
    pub frame: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Points of the Fourier transform, a power of two; zeros follow the frame.
    pub points: usize,
    /// Mel bands: triangles of HTK's scale, over magnitudes.
    pub bands: usize,
    /// Where the first band begins, in Hz.
    pub low: u32,
    /// Where the last one ends, in Hz.
    pub high: u32,
    /// Coefficients of the DCT-II over the bands' logarithms; 0 for the logarithms themselves.
    pub coefficients: usize,
    /// The least logarithm of a band, to base two, in Q16; a sine of full scale is about 1 in each sample.
    pub floor: i32,
}

/// `log2(1e-12)` in Q16.
const QUIETEST: i32 = -2_612_471;

impl Spec {
    /// The Keyword Transformer's: 40 MFCC of 80 bands, 100 rows a second of 16 kHz.
    ///
    /// Its frames of 480 samples are transformed with 512 points; bands go from 20 to 7600 Hz.
    pub const KWT: Self = Self {
        rate: 16_000,
        frame: 480,
        hop: 160,
        points: 512,
        bands: 80,
        low: 20,
        high: 7600,
        coefficients: 40,
        floor: QUIETEST,
    };

    /// Speech at 8 kHz: 20 MFCC of 40 bands, 62.5 rows a second.
    pub const VOICE_8K: Self = Self {
        rate: 8000,
        frame: 256,
        hop: 128,
        points: 256,
        bands: 40,
        low: 20,
        high: 3800,
        coefficients: 20,
        floor: QUIETEST,
    };

    /// Features of a row.
    pub const fn columns(&self) -> usize {
        if self.coefficients == 0 { self.bands } else { self.coefficients }
    }

    /// Rows that so many samples make.
    pub const fn rows(&self, samples: usize) -> usize {
        if samples < self.frame { 0 } else { (samples - self.frame) / self.hop + 1 }
    }

    /// Words of [`Tables`](super::Tables), in flash.
    pub const fn table_words(&self) -> usize {
        self.frame + self.points + (self.bands + 1) + self.points / 2 + 4 * self.bands
    }

    /// Words of RAM that a [`FrontEnd`](super::FrontEnd) works in.
    pub const fn memory_words(&self) -> usize {
        self.frame.div_ceil(2) + self.points + self.bands + self.columns()
    }

    /// Stops the compiler where something cannot be computed.
    pub(super) const fn check(&self) {
        assert!(self.rate >= 1000 && self.rate <= 48_000, "rate: wanted 1000 to 48000");
        let points = self.points;
        assert!(points.is_power_of_two() && points >= 32 && points <= 2048, "points: wanted 2^5 to 2^11");
        assert!(self.frame >= 2 && self.frame <= points, "frame: wanted 2 to the transform's points");
        assert!(self.hop >= 1 && self.hop <= self.frame, "hop: wanted 1 to the frame");
        let bands = self.bands;
        assert!(
            bands >= 2 && bands <= 128 && bands.is_multiple_of(2),
            "bands: wanted an even number, 2 to 128"
        );
        assert!(self.coefficients <= bands, "coefficients: wanted no more than bands");
        assert!(self.low >= 1 && self.low < self.high, "low: wanted 1 Hz or more, below high");
        assert!(self.high <= self.rate / 2, "high: wanted no more than half the rate");
        assert!(self.floor >= -(64 << 16) && self.floor <= 0, "floor: wanted -64 to 0 in Q16");
    }
}
