//! `include_model!` takes a good model while rustc runs, and a bad one does not compile.

mod common;

use common::{LLAMA, model_file};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use thumbformer::format::header::field;

const MANIFEST: &str = "\
[package]
name = \"firmware\"
edition = \"2024\"
[dependencies]
thumbformer = { path = \"HERE\" }
[workspace]
";

const USE: &str = "\
thumbformer::include_model! {
    /// A model in flash.
    pub static MODEL = \"NAME.thumb\";
}
const LEN: usize = MODEL.workspace_len();
static RAM: thumbformer::Workspace<LEN> = thumbformer::Workspace::new();

fn main() {
    let mut memory = thumbformer::Workspace::<{ MODEL.workspace_len() }>::new();
    let mut session = thumbformer::Session::new(&MODEL, &mut memory).unwrap();
    let logits = session.step(thumbformer::Token::BOS).unwrap();
    println!(\"{} {} {}\", MODEL.config().dim, size_of_val(&RAM), logits.argmax().0);
}
";

/// A program around models, in a package of its own.
struct Package(PathBuf);

impl Package {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("include_model");
        let root = env!("CARGO_MANIFEST_DIR");
        fs::create_dir_all(folder.join("src/bin")).unwrap();
        fs::write(folder.join("Cargo.toml"), MANIFEST.replace("HERE", &root.escape_default().to_string()))
            .unwrap();
        fs::copy(format!("{root}/Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Self(folder)
    }

    /// Runs the program with these bytes as its model.
    fn run(&self, name: &str, model: &[u8]) -> Output {
        let file = self.0.join("src/bin").join(name);
        fs::write(file.with_extension("thumb"), model).unwrap();
        fs::write(file.with_extension("rs"), USE.replace("NAME", name)).unwrap();
        Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--offline", "--message-format=short", "--bin", name])
            .current_dir(&self.0)
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .output()
            .unwrap()
    }
}

#[test]
fn only_good_models_compile() {
    let package = Package::new();
    let file = model_file(LLAMA, 1);
    let good = file.as_ref();
    let output = package.run("good", good);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let mut memory = common::workspace(&file.model());
    let argmax = memory.session(&file.model()).step(thumbformer::Token::BOS).unwrap().argmax();
    let ram = file.model().workspace_len().next_multiple_of(8);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("12 {ram} {}\n", argmax.0));

    let spoiled = |at: usize, byte: u8| {
        let mut bad = good.to_vec();
        bad[at] = byte;
        bad
    };
    for (name, bad, message) in [
        ("corrupt_header", spoiled(field::N_HEADS.start, 5), "bad configuration"),
        ("truncated", good[..good.len() - 1].to_vec(), "truncated"),
        ("future_version", spoiled(field::VERSION.start, 99), "unsupported format version"),
        ("future_numerics", spoiled(field::NUMERICS.start, 99), "unsupported numerics version"),
        ("other_file", b"GGUF and so on".to_vec(), "bad magic"),
    ] {
        let output = package.run(name, &bad);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(101), "{name}: {error}");
        let place = format!("{name}.rs:1:1: error[E0080]: evaluation panicked: {message}");
        assert!(error.contains(&place), "{name}: {error}");
    }
}
