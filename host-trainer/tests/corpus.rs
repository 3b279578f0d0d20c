//! Corpora: the Book, files and folders, and what is wrong with bad ones.

mod common;

use common::Folder;
use host_trainer::corpus::Corpus;

fn error(path: &std::path::Path) -> String {
    format!("{:#}", Corpus::from_path(path).unwrap_err())
}

#[test]
fn a_folder_is_read_in_order_and_binaries_are_skipped() {
    let folder = Folder::new("corpus-folder");
    std::fs::create_dir(folder.join("b")).unwrap();
    std::fs::write(folder.join("c.txt"), "three").unwrap();
    std::fs::write(folder.join("b/x.txt"), "two\n").unwrap();
    std::fs::write(folder.join("a.txt"), "one").unwrap();
    std::fs::write(folder.join("image.png"), b"\x89PNG\0").unwrap();
    std::fs::write(folder.join(".hidden"), "no").unwrap();
    let corpus = Corpus::from_path(folder.path()).unwrap();
    assert_eq!(corpus.text, "one\ntwo\nthree");
    assert_eq!(corpus.skipped, [folder.join("image.png")]);
    assert_eq!(corpus.provenance.bytes, 13);
    assert_eq!(corpus.provenance.licence, None);
    let file = Corpus::from_path(&folder.join("a.txt")).unwrap();
    assert_eq!((file.text.as_str(), file.provenance.name.as_str()), ("one", "a.txt"));
}

#[test]
fn bad_corpora_say_what_is_wrong() {
    let folder = Folder::new("corpus-bad");
    assert!(error(&folder.join("missing")).ends_with("missing: no such file or folder"));
    std::fs::write(folder.join("empty"), " \n").unwrap();
    assert!(error(&folder.join("empty")).ends_with("empty: the corpus is empty"));
    assert!(error(folder.path()).ends_with("the corpus is empty"));
    std::fs::write(folder.join("latin1"), b"caf\xe9!").unwrap();
    assert!(error(&folder.join("latin1")).ends_with("latin1: not UTF-8 at byte 3"));
    assert!(error(folder.path()).ends_with("latin1: not UTF-8 at byte 3"));
}

#[test]
fn the_book_is_plain_text() {
    let Ok(corpus) = Corpus::rust_book() else {
        eprintln!("skipped: no rust-docs and no way to install them");
        return;
    };
    let text = &corpus.text;
    assert!((500_000..5_000_000).contains(&text.len()), "{} bytes", text.len());
    assert!(text.starts_with("The Rust Programming Language"));
    assert!(text.contains("\n\nfn main() {\n    println!(\"Hello, world!\");\n}\n\n"));
    assert!(!text.contains("&lt;") && !text.contains("<code") && !text.contains("class=\"boring\""));
    assert_eq!(corpus.provenance.licence.as_deref(), Some("MIT OR Apache-2.0"));
}
