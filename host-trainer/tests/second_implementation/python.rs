//! The second implementation of the documents in Python (tests/spec) says the same as the runtime.

use super::common::{self, Folder, text};
use super::narrow;
use super::random_models::{self, Random, Style, any_config, file};
use host_trainer::audio::Name;
use host_trainer::device::{Memory, ModelFile};
use host_trainer::export::{Options, Target, Weights, export};
use host_trainer::import::{llama2c, llama2c_tokenizer};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thumbformer::format::header;
use thumbformer::format::tokenizer::Piece;
use thumbformer::{Config, Digest, NormKind, Positions, Token};

/// What `tests/spec/SCRIPT` prints, given this on its standard input.
fn python(script: &str, args: &[&str], input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spec").join(script);
    let mut child = Command::new("python3")
        // Leaves no compiled modules in the source tree.
        .arg("-B")
        .arg(&script)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {error}", script.display());
    String::from_utf8(output.stdout).unwrap()
}

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/models/book.thumb")
}

/// Model files and their tokens, in a folder, and what the runtime says of each.
struct Cases {
    folder: Folder,
    input: String,
    expected: Vec<String>,
}

impl Cases {
    fn new(name: &str) -> Self {
        Self { folder: Folder::new(name), input: String::new(), expected: Vec::new() }
    }

    /// `next` says what is fed after the likeliest token is known.
    fn add(&mut self, bytes: &[u8], steps: usize, mut next: impl FnMut(Token) -> Token) {
        let path = self.folder.join(&format!("{}.thumb", self.expected.len()));
        fs::write(&path, bytes).unwrap();
        let file = ModelFile::new(bytes);
        let model = file.model().unwrap();
        let mut memory = Memory::new(&model);
        let mut session = memory.session(&model).unwrap();
        let (mut digest, mut token) = (Digest::new(), Token::BOS);
        self.input += text(&path);
        for _ in 0..steps.min(model.config().seq_len) {
            self.input += &format!(" {}", token.0);
            let logits = session.step(token).unwrap();
            digest.update(logits.values());
            token = next(logits.argmax());
        }
        self.input += "\n";
        self.expected.push(format!("{digest} {}", session.saturations()));
    }

    fn add_random(&mut self, bytes: &[u8], steps: usize, random: &mut Random) {
        let last = ModelFile::new(bytes).model().unwrap().config().vocab_size as i64 - 1;
        self.add(bytes, steps, |_| Token(random.of(0..=last) as u16));
    }

    fn check(&self) {
        let printed = python("digests.py", &[], &self.input);
        let found: Vec<&str> = printed.lines().collect();
        assert_eq!(found.len(), self.expected.len());
        for ((line, found), expected) in self.input.lines().zip(found).zip(&self.expected) {
            assert_eq!(found, expected, "{line}");
        }
    }
}

/// Adds the switches of a model, as text.
fn switches(bytes: &[u8], into: &mut BTreeSet<String>) {
    let file = ModelFile::new(bytes);
    let model = file.model().unwrap();
    let c = *model.config();
    into.insert(format!("{:?}, gated {}", c.activation, c.gated));
    into.insert(format!("{:?}, {:?}", c.norm, c.positions));
    into.insert(format!("tied {}", c.tied));
    into.insert(format!("classifies {}", c.n_classes > 0));
    into.insert(format!("{} query heads for one", c.n_heads / c.n_kv_heads));
    into.insert(format!("{} columns modulo 8", c.dim % 8));
    for index in 0..c.n_tensors() {
        let tensor = model.tensor(index).unwrap();
        let kind = tensor.spec.kind;
        if kind.is_matrix() {
            into.insert(format!("{kind:?}: {:?}, {:?}", tensor.layout, tensor.input));
            into.insert(format!("biases {}", tensor.bias != 0));
        } else if kind.is_norm() {
            into.insert(format!("gains {:?}", tensor.dtype));
        } else {
            into.insert(format!("{kind:?}: {:?}", tensor.layout));
        }
    }
}

/// How many there are of each, as [`switches`] has them: what no file has is missing.
const SWITCHES: [(&str, usize); 12] = [
    ("gated", 5 * 2),
    ("Rope", 3 + 1),
    ("Learned", 3),
    ("tied", 2),
    ("classifies", 2),
    ("query heads for one", 3),
    ("columns modulo 8", 8),
    ("gains", 2),
    ("biases", 2),
    ("Embedding", 2 * 4),
    ("A8", 8 * 4),
    ("A16", 8 * 4),
];

#[test]
#[ignore = "wants a python3; cargo xtask test runs it where that is installed"]
fn python_computes_the_same_logits() {
    let (mut cases, mut seen) = (Cases::new("python-random"), BTreeSet::new());
    for seed in 0..200 {
        let random = &mut Random(5000 + seed);
        let config = any_config(random);
        let bytes = file(random, Style::Sane, config);
        ModelFile::new(&bytes).model().unwrap().verify().unwrap();
        switches(&bytes, &mut seen);
        cases.add_random(&bytes, 4, random);
    }
    for (switch, wanted) in SWITCHES {
        let found: Vec<_> = seen.iter().filter(|text| text.contains(switch)).collect();
        assert_eq!(found.len(), wanted, "{switch}: {found:?}");
    }
    for seed in 0..60 {
        let random = &mut Random(6000 + seed);
        let config = any_config(random);
        let bytes = file(random, Style::Hostile, config);
        cases.add_random(&bytes, 3, random);
    }
    // Vectors with fewer bits, and windows with smaller weights.
    for (dim, hidden_dim, seq_len) in [(516, 5, 2), (12, 1030, 2), (8, 12, 1100), (8, 12, 32_768)] {
        for (style, norm) in [(Style::Sane, NormKind::Rms), (Style::Hostile, NormKind::Layer)] {
            let random = &mut Random(dim as u64 + seq_len as u64);
            let config = Config { dim, hidden_dim, seq_len, norm, n_heads: dim / 4, ..narrow() };
            let bytes = file(random, style, config);
            cases.add_random(&bytes, 30, random);
        }
    }
    cases.check();
}

#[test]
#[ignore = "wants a python3; cargo xtask test runs it where that is installed"]
fn python_writes_the_same_text() {
    let book = book();
    for more in [
        &["--temperature", "0"][..],
        &["--seed", "7"],
        &[
            "--temperature",
            "1.5",
            "--top-k",
            "30",
            "--top-p",
            "0.8",
            "--min-p",
            "0.02",
            "--repetition-penalty",
            "1.3",
        ],
    ] {
        let args =
            [&[text(&book), "--prompt", "Once upon a time, “ünïcode”", "--max-tokens", "40"], more].concat();
        let ours = common::thumbformer(&[&["run"], &args[..], &["--json"]].concat());
        let [ours, theirs] = [&ours, &python("generate.py", &args, "")]
            .map(|output| serde_json::from_str::<serde_json::Value>(output.lines().last().unwrap()).unwrap());
        assert!(ours["tokens"].as_array().is_some_and(|tokens| tokens.len() > 10), "{ours}");
        assert_eq!(theirs, ours, "{more:?}");
    }
}

#[test]
#[ignore = "wants a python3; cargo xtask test runs it where that is installed"]
fn python_writes_stories() {
    let Some(folder) = common::data("stories260k") else {
        return;
    };
    let model = llama2c::read(&folder.join("stories260K.bin")).unwrap();
    let tokenizer = llama2c_tokenizer::read(&folder.join("tok512.bin")).unwrap();
    let mut cases = Cases::new("python-stories");
    for (weights, target) in
        [(Weights::Int8, Target::Any), (Weights::Int8, Target::M4), (Weights::Int4, Target::M0)]
    {
        let options = Options { weights, target, ..Options::default() };
        cases.add(&export(&model, &tokenizer, &[], &[], &options).unwrap().file, 50, |likeliest| likeliest);
    }
    cases.check();
}

/// A model of a few kilobytes with a tokenizer, of which every bit in front of the tensors is flipped.
#[test]
#[ignore = "wants a python3; cargo xtask test runs it where that is installed"]
fn python_refuses_the_same_files() {
    let (mut refused_of_both, mut differences) = ([0; 2], Vec::new());
    for (seed, positions, norm) in
        [(1, Positions::Rope, NormKind::Rms), (2, Positions::Learned, NormKind::Layer)]
    {
        let random = &mut Random(7000 + seed);
        let config = Config { positions, norm, vocab_size: 265, biases: seed == 2, ..narrow() };
        let pieces =
            [(&b"ab"[..], 3), (b"bc", 1), (b"abc", 2), (b"ab", 4)].map(|(bytes, rank)| Piece { bytes, rank });
        let bytes = random_models::file_with(random, Style::Sane, config, &pieces);
        let file = ModelFile::new(&bytes);
        let model = file.model().unwrap();
        model.verify().unwrap();
        let spec = (0..config.n_tensors()).map(|index| model.tensor(index).unwrap());
        let end = spec.map(|tensor| tensor.data).filter(|&data| data > 0).min().unwrap();
        let folder = Folder::new("python-verdicts");
        let path = folder.join("model.thumb");
        fs::write(&path, &bytes).unwrap();
        let theirs = python("verdicts.py", &[text(&path), "0", &end.to_string()], "");
        assert_eq!(theirs.len(), 8 * end);
        for (bit, theirs) in theirs.bytes().enumerate() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if !header::field::CRC.contains(&(bit / 8)) {
                let crc = thumbformer::format::crc32(&flipped[header::field::CRC.end..]);
                flipped[header::field::CRC].copy_from_slice(&crc.to_le_bytes());
            }
            let file = ModelFile::new(&flipped);
            let ours = file.model().and_then(|model| Ok(model.verify()?)).map_err(|error| error.to_string());
            if ours.is_err() != (theirs == b'1') {
                differences.push(format!("byte {}, bit {}: {ours:?}", bit / 8, bit % 8));
            }
            refused_of_both[usize::from(ours.is_err())] += 1;
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    // Most of these bits matter, and not all.
    let [read, refused] = refused_of_both;
    assert!(read > 500 && refused > 5000, "{read} read, {refused} refused");
}

/// Noise that is loud, quiet and not there, and a square wave of full scale.
#[test]
#[ignore = "wants a python3; cargo xtask test runs it where that is installed"]
fn features_are_the_same() {
    let mut random = Random(1);
    let mut noise = |most: i64| (0..700).map(|_| random.of(-most - 1..=most) as i16).collect::<Vec<_>>();
    let square = (0..700).map(|n| if n / 19 % 2 == 0 { i16::MIN } else { i16::MAX }).collect();
    let sounds = [noise(32_767), noise(900), noise(1), vec![0; 700], square];
    let (mut input, mut expected) = (String::new(), Vec::new());
    for (name, front) in [("kwt", Name::Kwt), ("voice-8k", Name::Voice8k)] {
        for sound in &sounds {
            let words: Vec<String> = sound.iter().map(i16::to_string).collect();
            input += &format!("{name} {}\n", words.join(" "));
            let features = front.features(sound).unwrap();
            let integers: Vec<i32> = features.iter().map(|feature| (feature * 4096.0) as i32).collect();
            let mut digest = Digest::new();
            digest.update(&integers);
            expected.push(digest.to_string());
        }
    }
    let printed = python("features.py", &[], &input);
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}
