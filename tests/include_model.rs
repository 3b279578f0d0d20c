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
    pub static MODEL = \"NAME.thumb\"BUDGET;
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
    /// In a folder of this name.
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("include_model").join(name);
        let root = env!("CARGO_MANIFEST_DIR");
        fs::create_dir_all(folder.join("src/bin")).unwrap();
        fs::write(folder.join("Cargo.toml"), MANIFEST.replace("HERE", &root.escape_default().to_string()))
            .unwrap();
        fs::copy(format!("{root}/Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Self(folder)
    }

    /// Runs the program with these bytes as its model, within this budget.
    fn run(&self, name: &str, model: &[u8], budget: &str) -> Output {
        let file = self.0.join("src/bin").join(name);
        fs::write(file.with_extension("thumb"), model).unwrap();
        fs::write(file.with_extension("rs"), USE.replace("NAME", name).replace("BUDGET", budget)).unwrap();
        Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--offline", "--message-format=short", "--bin", name])
            .current_dir(&self.0)
            // One for all, so that the runtime is compiled once.
            .env("CARGO_TARGET_DIR", self.0.with_file_name("target"))
            .output()
            .unwrap()
    }
}

#[test]
fn only_good_models_compile() {
    let package = Package::new("bytes");
    let file = model_file(LLAMA, 1);
    let good = file.as_ref();
    let output = package.run("good", good, "");
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
        let output = package.run(name, &bad, "");
        refused(&output, name, message);
    }
}

/// The package did not compile, for this reason.
fn refused(output: &Output, name: &str, message: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(101), "{name}: {error}");
    let place = format!("{name}.rs:1:1: error[E0080]: evaluation panicked: {message}");
    assert!(error.contains(&place), "{name}: {error}");
}

#[test]
fn a_budget_that_is_exceeded_does_not_compile() {
    let package = Package::new("budget");
    let file = model_file(LLAMA, 1);
    let (ram, flash) = (file.model().workspace_len(), file.as_ref().len());
    let within = package.run("within", file.as_ref(), &format!(", max_flash = {flash}, max_ram = {ram}"));
    assert!(within.status.success(), "{}", String::from_utf8_lossy(&within.stderr));

    let (less_ram, less_flash) = (ram - 1, flash - 1);
    for (name, budget, message) in [
        (
            "ram",
            format!(", max_ram = {less_ram}"),
            // Logits of 262 tokens.
            format!(
                "max_ram: the workspace needs {ram} bytes, the budget is {less_ram}; \
                 the largest part: outputs of matrices (vocab_size, dim, hidden_dim), 1048 bytes"
            ),
        ),
        (
            "flash",
            format!(", max_ram = {ram}, max_flash = {less_flash}"),
            // 262 rows of 12 bytes, each with a scale.
            format!(
                "max_flash: the model needs {flash} bytes, the budget is {less_flash}; \
                 the largest part: embedding, {} bytes",
                262 * (12 + 2)
            ),
        ),
        ("twice", ", max_ram = 1, max_ram = 2".to_owned(), "max_ram is given twice".to_owned()),
    ] {
        refused(&package.run(name, file.as_ref(), &budget), name, &message);
    }
}
