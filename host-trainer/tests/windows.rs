//! Windows of signals: what is read from CSV, `.ts` and `.npy` files, and what is wrong with bad ones.

mod common;

use common::{Folder, data};
use host_trainer::data::windows::{Options, Rows, Windows};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

/// Reads files that hold this, of which the first is what is looked at.
fn read(name: &str, bytes: &[u8], options: &Options) -> Result<Windows, String> {
    let folder = Folder::new(&format!("windows-{:?}", std::thread::current().id()).replace(['(', ')'], ""));
    fs::write(folder.join(name), bytes).unwrap();
    Windows::read(&[folder.join(name)], options)
        .map_err(|error| format!("{error:#}").split_once(": ").unwrap().1.to_owned())
}

fn labelled(windows: &Windows) -> Vec<(&str, &[f32])> {
    (0..windows.len())
        .map(|i| (windows.classes[usize::from(windows.labels[i])].as_str(), windows.window(i)))
        .collect()
}

#[test]
fn csv_rows_are_steps_or_windows() {
    let text = "label,x,y\nup,1,2\nup,3,4\nup,5,6\ndown,7,8\ndown,9,10\n\"up\", 11 ,12\n";
    let steps = |window, hop| {
        let label = Some("label".into());
        read("a.csv", text.as_bytes(), &Options { label, window, hop, ..Options::default() }).unwrap()
    };
    let windows = steps(Some(2), None);
    let wanted: [(&str, &[f32]); 2] = [("up", &[1., 2., 3., 4.]), ("down", &[7., 8., 9., 10.])];
    assert_eq!(labelled(&windows), wanted);
    assert_eq!((windows.channels, windows.left_out, windows.steps(1)), (2, 2, 2));
    assert_eq!(windows.classes, ["down", "up"]);
    assert_eq!(steps(Some(2), Some(1)).len(), 3);
    // A hop that leaps over steps, also over all of them.
    assert_eq!((steps(Some(2), Some(usize::MAX)).len(), steps(Some(2), Some(usize::MAX)).left_out), (2, 2));
    assert_eq!((steps(Some(1), Some(5)).len(), steps(Some(1), Some(5)).left_out), (3, 3));

    let rows = |options| read("b.csv", b"1,2,3,4,10\n5,6,7,8,9\n", &options).unwrap();
    let by_row =
        Options { rows: Rows::Windows, label: Some("5".into()), channels: Some(2), ..Options::default() };
    let windows = rows(by_row.clone());
    assert_eq!(labelled(&windows), [("10", &[1., 2., 3., 4.][..]), ("9", &[5., 6., 7., 8.])]);
    assert_eq!((&windows.classes[..], windows.steps(0)), (&["9".into(), "10".into()][..], 2));
    let windows = rows(Options { label: None, channels: Some(5), rate: Some(25.0), ..by_row });
    assert_eq!((&windows.classes[..], windows.len(), windows.rate), (&["b".into()][..], 2, Some(25.0)));
}

#[test]
fn csv_errors_name_line_column_and_value() {
    let steps = Options { window: Some(1), ..Options::default() };
    let rows = Options { rows: Rows::Windows, channels: Some(2), ..Options::default() };
    let label = Options { label: Some("colour".into()), ..steps.clone() };
    let last = Options { label: Some("2".into()), ..steps.clone() };
    for (text, options, message) in [
        ("x,y\n1,2\n3,four\n", &steps, "line 3, column 2 (y): found \"four\", wanted a finite number"),
        ("1,2\n3,NaN\n", &steps, "line 2, column 2: found \"NaN\", wanted a finite number"),
        ("1,2\n3\n", &steps, "line 2: found 1 columns, wanted 2"),
        ("x,y\n", &steps, "found no row of values, wanted one at least"),
        ("", &steps, "found no row of values, wanted one at least"),
        (
            "1,2\n",
            &label,
            "line 1: label \"colour\": found the columns 1, 2, wanted one of them, or its number from 1 to 2",
        ),
        ("1,a\n1,\n", &last, "line 2, column 2: found an empty label, wanted a name"),
        ("1,2,3\n", &rows, "found 3 values in a row, wanted a multiple of 2 (channels)"),
        ("1,2\n", &Options::default(), "window: found none, wanted the steps of a window"),
        (
            "1,2\n",
            &Options { window: Some(0), ..Options::default() },
            "window, hop: found 0 and 0, wanted at least 1",
        ),
    ] {
        assert_eq!(read("a.csv", text.as_bytes(), options).unwrap_err(), message, "{text:?}");
    }
    let short = read("a.csv", b"1,2\n", &Options { window: Some(2), ..Options::default() });
    assert!(short.unwrap_err().contains("no window"));
}

#[test]
fn ts_cases_differ_in_length() {
    let head = "# a comment\n@problemName x\n@timeStamps false\n@missing false\n@dimensions 2\n@classLabel true a b\n@data\n";
    let parse = |cases: &str| read("x.ts", format!("{head}{cases}").as_bytes(), &Options::default());
    let windows = parse("1,2,3:4,5,6:b\r\n7:8:a\n").unwrap();
    assert_eq!(labelled(&windows), [("b", &[1., 4., 2., 5., 3., 6.][..]), ("a", &[7., 8.])]);
    assert_eq!((&windows.labels[..], windows.steps(0), windows.steps(1)), (&[1, 0][..], 3, 1));
    for (case, message) in [
        ("1:2:c", "line 8: label: found \"c\", wanted one of a, b"),
        ("1:b", "line 8: found 1 channels, wanted 2"),
        ("1,2:3:b", "line 8: channel 2: found 1 values, wanted 2 as in the first"),
        ("1,?:3,4:b", "line 8: channel 1, value 2: found \"?\", wanted a finite number"),
        ("one", "line 8: found no colon, wanted one before the label"),
    ] {
        assert_eq!(parse(case).unwrap_err(), message);
    }
    for (text, message) in [
        ("@timeStamps true\n", "line 1: @timestamps: found true, wanted false"),
        ("@classLabel false\n", "line 1: @classLabel: found \"false\", wanted true and the classes"),
        ("@dimensions many\n", "line 1: @dimensions: found \"many\", wanted a number"),
        ("1,2:a\n", "line 1: found \"1,2:a\", wanted @data before it"),
        ("@data\n1:a\n", "@classLabel: found none, wanted true and the classes"),
        ("@classLabel true a\n", "@data: found none, wanted cases behind it"),
    ] {
        assert_eq!(read("x.ts", text.as_bytes(), &Options::default()).unwrap_err(), message);
    }
}

/// A file as NumPy writes it.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), values].concat()
}

fn read_npy(windows: &[u8], labels: &[u8]) -> Result<Windows, String> {
    let folder = Folder::new(&format!("npy-{:?}", std::thread::current().id()).replace(['(', ')'], ""));
    let (windows_path, labels_path) = (folder.join("x.npy"), folder.join("y.npy"));
    fs::write(&windows_path, windows).unwrap();
    fs::write(&labels_path, labels).unwrap();
    let options = Options { labels: Some(labels_path), ..Options::default() };
    Windows::read(&[windows_path], &options).map_err(|error| format!("{error:#}"))
}

#[test]
fn npy_arrays_of_any_kind() {
    let labels = npy("|u1", "2,", &[3, 10]);
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let windows =
        read_npy(&npy("<f4", "2, 2, 2", &floats(&[1., 2., 3., 4., 5., 6., 7., 8.])), &labels).unwrap();
    assert_eq!(labelled(&windows), [("3", &[1., 2., 3., 4.][..]), ("10", &[5., 6., 7., 8.])]);
    let windows =
        read_npy(&npy("<i2", "2, 3", &[1, 0, 0xff, 0xff, 0, 1, 4, 0, 5, 0, 6, 0]), &labels).unwrap();
    assert_eq!((windows.channels, windows.window(0)), (1, &[1., -1., 256.][..]));

    let good = npy("|i1", "2, 1", &[1, 2]);
    for (bytes, labels, message) in [
        (&good, &npy("|u1", "1,", &[3]), "found 2 windows, wanted 1 as there are labels"),
        (&good, &npy("<f4", "2,", &floats(&[1.0, 0.5])), "label 1: found 0.5, wanted a whole number"),
        (&npy("|i1", "2, 2", &[1, 2]), &labels, "found 2 bytes of values, wanted 4 for [2, 2]"),
        (&npy(">f4", "2, 1", &[0; 8]), &labels, "descr: found \">f4\", wanted <f4"),
        (&npy("|i1", "2", &[1, 2]), &labels, "shape: found [2], wanted [windows, steps]"),
        (&npy("<f4", "2, 1", &floats(&[1.0, f32::NAN])), &labels, "value [1, 0, 0]: found NaN"),
        (&npy("|i1", "18446744073709551615, 9", &[1]), &labels, "wanted less"),
        (
            &npy("|i1", "0, 1099511627776, 1099511627776", &[]),
            &npy("|u1", "0,", &[]),
            "shape: found [0, 1099511627776, 1099511627776], wanted smaller windows",
        ),
        (&good[..20].to_vec(), &labels, "the header is cut off"),
        (&b"PK\x03\x04".to_vec(), &labels, "wrong magic: found \"PK\\x03\\x04\", wanted \"\\x93NUMPY\""),
    ] {
        let error = read_npy(bytes, labels).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn other_files_are_refused() {
    let options = Options::default();
    assert!(read("a.txt", b"", &options).unwrap_err().starts_with("found an unknown kind"));
    assert!(read("a.csv.gz", b"", &options).unwrap_err().contains("gunzip"));
    assert!(read("a.npy", b"", &options).unwrap_err().contains("found no labels"));
    let error = Windows::read(&[PathBuf::from("nowhere.csv")], &options).unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot read nowhere.csv: "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_windows_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        text in "[0-9a-b.,:;\"\n@? -]{0,80}",
        kind in 0..3usize,
        window in 1..4usize,
    ) {
        let ts = "@classLabel true a b\n@data\n".to_owned() + &text;
        let files = [("a.csv", text.clone()), ("a.ts", ts)];
        let options = Options { window: Some(window), ..Options::default() };
        let (name, text) = &files[kind % 2];
        let results = [read(name, &bytes, &options), read(name, text.as_bytes(), &options)];
        let labels = npy("|u1", "1,", &[0]);
        let mut damaged = npy("<f4", "1, 1", &[0; 4]);
        for (i, byte) in bytes.iter().enumerate().take(3) {
            let at = (usize::from(*byte) * 7 + i * 31) % damaged.len();
            damaged[at] ^= byte >> 1;
        }
        let arrays = [read_npy(&bytes, &labels), read_npy(&damaged, &labels)];
        for windows in results.into_iter().chain(arrays).flatten() {
            prop_assert!(!windows.is_empty());
            let values = (0..windows.len()).flat_map(|i| windows.window(i));
            prop_assert!(values.clone().count() > 0 && values.into_iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn reference_windows_are_read() {
    if let Some(vowels) = data("japanesevowels") {
        for (part, count, longest, first) in [("TRAIN", 270, 26, 30), ("TEST", 370, 29, 31)] {
            let path = vowels.join(format!("JapaneseVowels_{part}.ts"));
            let windows = Windows::read(&[path], &Options::default()).unwrap();
            assert_eq!((windows.len(), windows.channels, windows.classes.len()), (count, 12, 9));
            let steps = (0..windows.len()).map(|i| windows.steps(i));
            assert_eq!((steps.clone().min(), steps.max()), (Some(7), Some(longest)));
            assert_eq!(windows.labels.iter().filter(|label| **label == 0).count(), first);
        }
    }
    if let Some(wand) = data("magic-wand-imu") {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(wand.join("data/train")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let options = Options { window: Some(119), rate: Some(25.0), ..Options::default() };
        let windows = Windows::read(&paths, &options).unwrap();
        assert_eq!((windows.channels, windows.classes.len()), (6, 5));
        assert_eq!(windows.classes[4], "Revelio");
        assert_eq!(windows.len(), 100);
    }
    if let Some(commands) = data("speech-commands-test") {
        let options = Options { labels: Some(commands.join("labels_u8.npy")), ..Options::default() };
        let windows = Windows::read(&[commands.join("mfcc_i8.npy")], &options).unwrap();
        assert_eq!(
            (windows.len(), windows.channels, windows.steps(0), windows.classes.len()),
            (2445, 40, 98, 12)
        );
        assert_eq!(windows.labels.iter().filter(|label| **label == 2).count(), 210);
    }
}
