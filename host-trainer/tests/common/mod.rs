//! What several test files share.
#![allow(dead_code)]

use host_trainer::model::ModelConfig;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use thumbformer::{Session, Token};

/// A folder that disappears with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("thumbformer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small Llama-style model.
pub fn tiny_config() -> ModelConfig {
    toml::from_str(
        "dim = 16\nhidden_dim = 48\nn_layers = 2\nn_heads = 4\nn_kv_heads = 2\n\
         vocab_size = 32\nseq_len = 24\n",
    )
    .unwrap()
}

/// The folder of reference data, or a line that says why a test does nothing.
pub fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("THUMBFORMER_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    skipped(&format!("{} is missing (THUMBFORMER_DATA)", path.display()));
    None
}

/// Says that the test that calls does not do all that it could: past libtest, which shows nothing of a test that passes, and
/// in the file that THUMBFORMER_SKIPPED names, by which `cargo xtask test` counts.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    // At once, as other tests do the same.
    std::io::stderr().write_all(format!("skipped: {line}").as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("THUMBFORMER_SKIPPED") {
        let mut list = std::fs::File::options().append(true).create(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

/// Little-endian `u16`s.
pub fn u16s(bytes: &[u8]) -> Vec<u16> {
    let (pairs, []) = bytes.as_chunks() else {
        panic!("an odd number of bytes");
    };
    pairs.iter().map(|&pair| u16::from_le_bytes(pair)).collect()
}

/// How far integer logits are from those in f32.
#[derive(Debug)]
pub struct Difference {
    /// Mean Kullback-Leibler divergence in nats, of the integers' distribution from that in f32.
    pub kl: f64,
    /// Share of positions where both find the same token likeliest.
    pub agreement: f64,
    /// Mean standard deviation of the logits in f32.
    pub spread: f64,
}

impl Difference {
    /// Feeds a text token by token; `expected` are the logits `[text.len(), vocab_size]` in f32.
    pub fn of(session: &mut Session<'_>, text: &[u16], expected: &[f32]) -> Self {
        let (mut kl, mut agreed, mut spread) = (0.0, 0, 0.0);
        for (&token, row) in text.iter().zip(expected.chunks(expected.len() / text.len())) {
            let logits = session.step(Token(token)).unwrap();
            let unit = f64::from(logits.frac()).exp2().recip();
            let found: Vec<f64> = logits.values().iter().map(|&v| f64::from(v) * unit).collect();
            let wanted: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
            let (p, q) = (log_softmax(&wanted), log_softmax(&found));
            kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            agreed += usize::from(argmax(&p) == argmax(&q));
            let mean = wanted.iter().sum::<f64>() / wanted.len() as f64;
            let square = wanted.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            spread += (square / wanted.len() as f64).sqrt();
        }
        let n = text.len() as f64;
        Self { kl: kl / n, agreement: agreed as f64 / n, spread: spread / n }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kl, agreement, spread } = self;
        write!(f, "KL {kl:.6} nats, top-1 agreement {agreement:.4}, logits spread by {spread:.2}")
    }
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::MIN, f64::max);
    let log_sum = logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln() + max;
    logits.iter().map(|l| l - log_sum).collect()
}

fn argmax(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the command, which must succeed, and returns its standard output.
pub fn thumbformer(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(args).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "thumbformer {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the command, which must refuse what it is given in one line on standard error; returns that.
pub fn refused(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_thumbformer")).args(args).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "thumbformer {args:?}: {error}");
    assert!(output.stdout.is_empty(), "thumbformer {args:?}");
    assert!(error.starts_with("error: ") && error.lines().count() == 1, "thumbformer {args:?}: {error}");
    error.trim_end().to_owned()
}
