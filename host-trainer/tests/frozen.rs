//! Frozen networks cannot name what only training has: such code does not compile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const START: &str = "\
use host_trainer::nn::graph::{Frozen, Given, Memory, Mode, Network, Recorder, Training};

";

const TRAINING: &str = "\
pub fn use_it() -> Network<Frozen, f32> {
    let mut net = Recorder::<Training, f32>::new(1, 4);
    let x = net.input(8);
    let x = net.batch_norm(\"norm\", 1e-5, x);
    let x = net.dropout(0.1, x);
    let network = net.finish(x);
    let (params, mut memory) = (vec![1.0; 32], Memory::new(&network));
    network.forward(&params, &Given { values: &[1.0; 32], ..Given::default() }, &mut memory);
    network.backward(&params, &Given::default(), &mut memory, &mut [0.0; 32]);
    network.freeze()
}
";

/// Where this test's own dependencies lie: the library was built before the test.
fn libraries() -> (PathBuf, PathBuf) {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let library = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libhost_trainer-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .expect("the library beside its test");
    (folder, library)
}

fn compile(name: &str, code: &str) -> Output {
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("frozen_{name}.rs"));
    fs::write(&source, format!("{START}{code}")).unwrap();
    let (folder, library) = libraries();
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "-Aunused_imports"])
        .arg("-Ldependency=".to_string() + &folder.display().to_string())
        .arg(format!("--extern=host_trainer={}", library.display()))
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg(source)
        .output()
        .unwrap()
}

#[test]
fn what_training_has_compiles() {
    let output = compile("training", TRAINING);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_only_training_has_does_not_compile_frozen() {
    let function = |body: &str| format!("pub fn use_it(net: &mut Recorder<Frozen, f32>) {{ {body} }}\n");
    for (name, code, wanted) in [
        ("dropout", function("let x = net.input(8); net.dropout(0.1, x);"), "no method named `dropout`"),
        (
            "statistics",
            function("let x = net.input(8); net.batch_norm(\"norm\", 1e-5, x);"),
            "no method named `batch_norm`",
        ),
        (
            "any_mode",
            "pub fn use_it<M: Mode>(net: &mut Recorder<M, f32>) { let x = net.input(8); net.dropout(0.1, x); }\n"
                .to_string(),
            "no method named `dropout`",
        ),
        (
            "backward",
            "pub fn use_it(network: &Network<Frozen, f32>, memory: &mut Memory<f32>) {\n    \
             network.backward(&[], &Given::default(), memory, &mut []);\n}\n"
                .to_string(),
            "no method named `backward`",
        ),
        (
            "mixed_up",
            TRAINING.replace("network.freeze()", "network"),
            "expected `Network<Frozen, f32>`, found `Network<Training, f32>`",
        ),
    ] {
        let output = compile(name, &code);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name} compiled");
        assert!(error.contains(wanted), "{name}: {error}");
        assert_eq!(error.matches("error[").count(), 1, "{name}: {error}");
    }
}
