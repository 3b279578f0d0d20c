//! `thumbformer features`, and the front end beside the Keyword Transformer's own.

mod common;

use common::{Folder, data, refused, text, thumbformer};
use host_trainer::audio::Name;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A WAV file with these fields.
fn wav(encoding: u16, channels: u16, rate: u32, bits: u16, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + 12 + data.len() as u32).to_le_bytes());
    // A chunk that nobody knows, of odd length.
    bytes.extend(b"WAVEodd \x03\x00\x00\x00abc\x00fmt \x10\x00\x00\x00");
    bytes.extend([encoding, channels].into_iter().flat_map(u16::to_le_bytes));
    bytes.extend([rate, rate * 2].into_iter().flat_map(u32::to_le_bytes));
    bytes.extend([2, bits].into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// The numbers of an `.npy` file with f32, and its header.
fn array(bytes: &[u8]) -> (&str, Vec<f32>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let (header, values) = bytes[10..].split_at(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    let (values, []) = values.as_chunks() else { panic!("a part of a number is left") };
    (std::str::from_utf8(header).unwrap(), values.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

fn sound(seed: i32, len: i32) -> Vec<i16> {
    (0..len).map(|n| (n.wrapping_mul(n).wrapping_mul(seed) >> 3) as i16 / 4).collect()
}

#[test]
fn files_and_folders_become_arrays() {
    let folder = Folder::new("features");
    let (a, b) = (sound(7, 700), sound(11, 700));
    fs::write(folder.join("b.wav"), wav(1, 1, 16_000, 16, &b)).unwrap();
    fs::write(folder.join("a.WAV"), wav(1, 1, 16_000, 16, &a)).unwrap();
    fs::write(folder.join("notes.txt"), "no sound").unwrap();
    let (one, all) = (folder.join("one.npy"), folder.join("all.npy"));
    thumbformer(&["features", text(&folder.join("b.wav")), "--spec", "kwt", "-o", text(&one)]);
    let said = thumbformer(&["features", text(folder.path()), "--spec", "kwt", "-o", text(&all)]);
    assert!(said.ends_with("all.npy: [2, 2, 40]\n"), "{said}");

    let (one, all) = (fs::read(one).unwrap(), fs::read(all).unwrap());
    let ((header, values), (all_header, all_values)) = (array(&one), array(&all));
    assert!(header.contains("'shape': (2, 40)"), "{header}");
    assert!(all_header.contains("'shape': (2, 2, 40)"), "{all_header}");
    assert_eq!(values, Name::Kwt.features(&b).unwrap());
    assert_eq!(all_values, [Name::Kwt.features(&a).unwrap(), values].concat());
}

#[test]
fn what_is_wrong_with_a_recording_is_said() {
    let folder = Folder::new("bad-wav");
    let (path, out) = (folder.join("x.wav"), folder.join("x.npy"));
    let samples = sound(3, 600);
    let good = wav(1, 1, 8000, 16, &samples);
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refused(&["features", text(&path), "--spec", "voice-8k", "-o", text(&out)])
            .rsplit_once("x.wav: ")
            .map(|(_, error)| error.to_owned())
            .unwrap()
    };
    assert_eq!(error(b"OggS...."), "wrong magic: found \"OggS\", wanted \"RIFF\"");
    assert_eq!(error(b"RIFF\0\0"), "the header is cut off");
    assert_eq!(error(b"RIFF\0\0\0\0AVI "), "kind: found \"AVI \", wanted \"WAVE\"");
    assert_eq!(error(&good[..15]), "a chunk's header is cut off");
    assert_eq!(error(&good[..good.len() - 1]), "chunk \"data\": found 1199 bytes, wanted 1200");
    assert_eq!(error(&good[..good.len() - 1208]), "found no chunk \"data\"");
    assert_eq!(error(&wav(3, 1, 8000, 16, &samples)), "encoding: found 3, wanted 1 (PCM)");
    assert_eq!(error(&wav(1, 2, 8000, 16, &samples)), "channels: found 2, wanted 1");
    assert_eq!(error(&wav(1, 1, 8000, 8, &samples)), "bits of a sample: found 8, wanted 16");
    assert_eq!(error(&wav(1, 1, 16_000, 16, &samples)), "rate: found 16000 Hz, wanted 8000 Hz");
    assert_eq!(
        error(&wav(1, 1, 8000, 16, &samples[..255])),
        "found 255 samples, wanted at least a frame of 256"
    );

    let sounds = folder.join("sounds");
    fs::create_dir(&sounds).unwrap();
    let error = || refused(&["features", text(&sounds), "--spec", "voice-8k", "-o", text(&out)]);
    assert!(error().ends_with("sounds: found no .wav file, wanted one at least"), "{}", error());
    fs::write(sounds.join("a.wav"), &good).unwrap();
    fs::write(sounds.join("b.wav"), wav(1, 1, 8000, 16, &samples[..300])).unwrap();
    assert!(error().ends_with("b.wav: found 1 rows, wanted 3 as before"), "{}", error());
}

/// The arrays of an `.npz` file whose members are stored as they are.
fn stored(path: &Path) -> HashMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let word = |at: usize, n: usize| bytes[at..at + n].iter().rev().fold(0, |v, &b| v << 8 | usize::from(b));
    let mut members = HashMap::new();
    // The end of the central directory, which has no comment; then the directory.
    let end = bytes.len() - 22;
    assert_eq!(&bytes[end..end + 4], b"PK\x05\x06");
    let mut at = word(end + 16, 4);
    for _ in 0..word(end + 10, 2) {
        let (size, name, local) = (word(at + 24, 4), word(at + 28, 2), word(at + 42, 4));
        assert_eq!((word(at + 10, 2), word(at + 20, 4)), (0, size), "a stored member");
        let start = local + 30 + word(local + 26, 2) + word(local + 28, 2);
        let key = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
        members.insert(key, bytes[start..start + size].to_vec());
        at += 46 + name + word(at + 30, 2) + word(at + 32, 2);
    }
    members
}

/// The features of the Keyword Transformer's own front end, of the same sounds, in steps of the int8 features that are
/// published for it.
#[test]
fn features_are_the_keyword_transformers() {
    let (Some(kwt), Some(test)) = (data("kwt1"), data("speech-commands-test")) else { return };
    let reference = stored(&kwt.join("kwt1_reference.npz"));
    let (_, audio) = array(&reference["audio.npy"]);
    let (_, wanted) = array(&reference["mfcc.npy"]);
    let steps_file = fs::read(test.join("mfcc_scale_f32.npy")).unwrap();
    let (_, steps) = array(&steps_file);
    // The first four are recordings with 16 bits. The others were made in f32 and are rounded here, which is a difference of
    // its own. It is all there is of clip 10 far from its frequency: a chirp, in f32 too clean for 16 bits.
    for (clips, most, most_rms) in [(0..4, 0.1, 0.01), (4..10, 1.0, 0.1), (11..12, 0.1, 0.01)] {
        let (mut worst, mut squares, mut count) = (0f64, 0f64, 0);
        for clip in clips.clone() {
            let samples: Vec<i16> =
                audio[clip * 16_000..][..16_000].iter().map(|v| (v * 32768.0).round() as i16).collect();
            let found = Name::Kwt.features(&samples).unwrap();
            assert_eq!(found.len(), 98 * 40);
            for (i, (found, wanted)) in found.iter().zip(&wanted[clip * 98 * 40..]).enumerate() {
                let error = f64::from((found - wanted) / steps[i % 40]);
                worst = worst.max(error.abs());
                squares += error * error;
                count += 1;
            }
        }
        let rms = (squares / f64::from(count)).sqrt();
        println!("clips {clips:?}: at most {worst:.4} steps, rms {rms:.5}");
        assert!(worst < most && rms < most_rms, "clips {clips:?}: at most {worst} steps, rms {rms}");
    }
}
