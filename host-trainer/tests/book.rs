//! The committed model is what the committed checkpoint gives, on every host.

use std::fs;
use std::path::Path;
use std::process::Command;

mod common;
use common::Folder;

#[test]
fn the_small_model_is_exported_from_its_checkpoint() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/models");
    let folder = Folder::new("book");
    let exported = folder.join("book.thumb");
    let output = Command::new(env!("CARGO_BIN_EXE_thumbformer"))
        .arg("export")
        .arg(models.join("book.safetensors"))
        .arg("--output")
        .arg(&exported)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let same = fs::read(exported).unwrap() == fs::read(models.join("book.thumb")).unwrap();
    assert!(
        same,
        "firmware/models/book.thumb is not what the checkpoint gives; `cargo xtask bless` writes it"
    );
}
