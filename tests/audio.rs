//! Features against a Fourier transform, bands and a DCT in f64 that share no code with them.

use std::f64::consts::PI;
use thumbformer::audio::{FRACTION, FrontEnd, Spec, Tables};

/// What the spec says, from the definitions.
fn by_definition(spec: &Spec, samples: &[i16]) -> Vec<Vec<f64>> {
    let mel = |hz: f64| 1127.0 * libm::log(1.0 + hz / 700.0);
    let (low, high) = (mel(f64::from(spec.low)), mel(f64::from(spec.high)));
    let edge = |i: usize| low + (high - low) * i as f64 / (spec.bands + 1) as f64;
    let floor = libm::exp2(f64::from(spec.floor) / 65536.0);
    let row = |frame: &[i16]| {
        let windowed: Vec<f64> = (frame.iter().enumerate())
            .map(|(n, &sample)| {
                let weight = 0.5 - 0.5 * libm::cos(2.0 * PI * n as f64 / spec.frame as f64);
                f64::from(sample) / 32768.0 * weight
            })
            .collect();
        let magnitudes: Vec<f64> = (0..spec.points / 2)
            .map(|k| {
                let turn = |n: usize| 2.0 * PI * (k * n % spec.points) as f64 / spec.points as f64;
                let part = |f: fn(f64) -> f64| windowed.iter().enumerate().map(|(n, v)| v * f(turn(n))).sum();
                libm::hypot(part(libm::cos), part(libm::sin))
            })
            .collect();
        let logs: Vec<f64> = (0..spec.bands)
            .map(|band| {
                let weight = |k: usize| {
                    let at = mel(k as f64 * f64::from(spec.rate) / spec.points as f64);
                    let rising = (at - edge(band)) / (edge(band + 1) - edge(band));
                    let falling = (edge(band + 2) - at) / (edge(band + 2) - edge(band + 1));
                    rising.min(falling).max(0.0)
                };
                let energy: f64 = magnitudes.iter().enumerate().map(|(k, m)| m * weight(k)).sum();
                libm::log(energy.max(floor))
            })
            .collect();
        let cosine = |k: usize, i: usize| libm::cos(PI * k as f64 * (i as f64 + 0.5) / spec.bands as f64);
        let scale = libm::sqrt(2.0 / spec.bands as f64);
        match spec.coefficients {
            0 => logs,
            n => (0..n)
                .map(|k| logs.iter().enumerate().map(|(i, log)| scale * log * cosine(k, i)).sum())
                .collect(),
        }
    };
    samples.windows(spec.frame).step_by(spec.hop).map(row).collect()
}

fn features<const WORDS: usize>(tables: &Tables<WORDS>, spec: &Spec, pieces: &[&[i16]]) -> Vec<Vec<i32>> {
    let mut memory = vec![0; spec.memory_words()];
    let mut front = FrontEnd::new(tables, &mut memory).unwrap();
    let mut rows = Vec::new();
    for piece in pieces {
        front.push(piece, |row| rows.push(row.to_vec()));
    }
    rows
}

/// The largest difference of all features.
fn worst(rows: &[Vec<i32>], wanted: &[Vec<f64>]) -> f64 {
    assert_eq!(rows.len(), wanted.len());
    let unit = f64::from(1 << FRACTION);
    let pairs = rows.iter().flatten().zip(wanted.iter().flatten());
    pairs.map(|(&found, wanted)| (f64::from(found) / unit - wanted).abs()).fold(0.0, f64::max)
}

/// Noise of this amplitude, by xorshift32.
fn noise(len: usize, amplitude: i32) -> Vec<i16> {
    let mut x = 7u32;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        ((x.cast_signed() >> 16) * amplitude) >> 15
    };
    (0..len).map(|_| next() as i16).collect()
}

/// A sine whose frequency rises to half the rate.
fn chirp(len: usize, amplitude: f64) -> Vec<i16> {
    let phase = |n: usize| PI / 2.0 * (n * n) as f64 / len as f64;
    (0..len).map(|n| libm::round(amplitude * libm::sin(phase(n))) as i16).collect()
}

static KWT: Tables<{ Spec::KWT.table_words() }> = Tables::new(Spec::KWT);
static VOICE_8K: Tables<{ Spec::VOICE_8K.table_words() }> = Tables::new(Spec::VOICE_8K);
const BANDS: Spec = Spec { coefficients: 0, points: 1024, frame: 1000, hop: 333, bands: 64, ..Spec::KWT };
static LOG_MEL: Tables<{ BANDS.table_words() }> = Tables::new(BANDS);

#[test]
fn features_are_those_of_the_definition() {
    let loud = i16::MIN;
    let sounds = [
        ("noise", 1e-3, noise(2000, 32_767)),
        ("quiet noise", 1e-3, noise(2000, 2)),
        ("chirp", 0.1, chirp(2000, 32_000.0)),
        ("quiet chirp", 1e-3, chirp(2000, 3.0)),
        ("silence", 1e-3, vec![0; 2000]),
        (
            "a square of full scale",
            1e-3,
            (0..2000).map(|n| if n / 37 % 2 == 0 { loud } else { i16::MAX }).collect(),
        ),
        ("a click", 1e-3, (0..2000).map(|n| if n % 700 == 300 { loud } else { 0 }).collect()),
    ];
    // Where the sound has next to nothing, as a loud chirp has far from its frequency, bins are left to the rounding of
    // the transform.
    for (name, bound, sound) in &sounds {
        let differences = [
            worst(&features(&KWT, &Spec::KWT, &[sound]), &by_definition(&Spec::KWT, sound)),
            worst(&features(&VOICE_8K, &Spec::VOICE_8K, &[sound]), &by_definition(&Spec::VOICE_8K, sound)),
            worst(&features(&LOG_MEL, &BANDS, &[sound]), &by_definition(&BANDS, sound)),
        ];
        println!("{name}: {differences:?}");
        assert!(differences.iter().all(|difference| difference < bound), "{name}: {differences:?}");
    }
}

#[test]
fn pieces_do_not_matter() {
    let sound = noise(3000, 20_000);
    let whole = features(&KWT, &Spec::KWT, &[&sound]);
    assert_eq!(whole.len(), Spec::KWT.rows(3000));
    for len in [1, 7, 159, 160, 480, 481, 2999] {
        let pieces: Vec<&[i16]> = sound.chunks(len).collect();
        assert_eq!(features(&KWT, &Spec::KWT, &pieces), whole, "pieces of {len}");
    }
}

#[test]
fn a_reset_front_end_is_a_new_one() {
    let sound = noise(1500, 9000);
    let mut memory = vec![0; Spec::KWT.memory_words()];
    let mut front = FrontEnd::new(&KWT, &mut memory).unwrap();
    let mut rows = [vec![], vec![]];
    for rows in &mut rows {
        front.reset();
        front.push(&sound, |row| rows.push(row.to_vec()));
    }
    assert_eq!(rows[0], rows[1]);
}

#[test]
fn too_little_memory_is_an_error() {
    let mut memory = vec![0; Spec::KWT.memory_words() - 1];
    let error = FrontEnd::new(&KWT, &mut memory).unwrap_err();
    let need = 4 * Spec::KWT.memory_words();
    assert_eq!(error, thumbformer::Error::WorkspaceTooSmall { need, have: need - 4 });
}
