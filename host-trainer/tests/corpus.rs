//! Corpora: the Book, files and folders as documents, their split, and what is wrong with bad ones.

mod common;

use common::{Folder, data, skipped};
use host_trainer::bpe;
use host_trainer::corpus::{Corpus, Documents, Piece, Split};
use host_trainer::data::{TokenFile, TokenWriter, tokenize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use thumbformer::{Token, Tokenizer};

fn open(path: &Path, rule: &str) -> anyhow::Result<Corpus> {
    Corpus::open(&[path.to_owned()], &Documents::from(rule.to_owned()), false)
}

fn texts(corpus: &Corpus, pieces: &[Piece]) -> Vec<String> {
    pieces.iter().map(|piece| corpus.text(piece).unwrap()).collect()
}

fn documents(corpus: &Corpus) -> Vec<String> {
    let all: Vec<Piece> = (0..corpus.documents()).map(|document| corpus.whole(document)).collect();
    texts(corpus, &all)
}

fn error(path: &Path) -> String {
    format!("{:#}", open(path, "auto").unwrap_err())
}

#[test]
fn a_folder_is_read_in_order_and_binaries_are_skipped() {
    let folder = Folder::new("corpus-folder");
    fs::create_dir(folder.join("b")).unwrap();
    fs::write(folder.join("c.txt"), "three").unwrap();
    fs::write(folder.join("b/x.txt"), "two\n").unwrap();
    fs::write(folder.join("a.txt"), "one").unwrap();
    fs::write(folder.join("image.png"), b"\x89PNG\0").unwrap();
    fs::write(folder.join(".hidden"), "no").unwrap();
    let corpus = open(folder.path(), "auto").unwrap();
    assert_eq!(documents(&corpus), ["one", "two\n", "three"]);
    assert_eq!(corpus.findings.skipped, [folder.join("image.png")]);
    assert_eq!((corpus.findings.files, corpus.provenance.bytes), (3, 12));
    assert_eq!(corpus.provenance.licence, None);
    let file = open(&folder.join("a.txt"), "auto").unwrap();
    assert_eq!((file.provenance.name.as_str(), file.provenance.crc32), ("a.txt", 0x7a6c_86f1));
    let both = [folder.join("c.txt"), folder.join("b")];
    let both = Corpus::open(&both, &Documents::Auto, false).unwrap();
    assert_eq!(
        (documents(&both), both.provenance.name.as_str()),
        (vec!["three".into(), "two\n".into()], "c.txt, b")
    );
}

#[test]
fn bad_corpora_say_what_is_wrong() {
    let folder = Folder::new("corpus-bad");
    assert!(error(&folder.join("missing")).ends_with("missing: no such file or folder"));
    fs::write(folder.join("empty"), " \n").unwrap();
    assert!(error(&folder.join("empty")).ends_with("empty: the corpus is empty"));
    assert!(error(folder.path()).ends_with("the corpus is empty"));
    fs::write(folder.join("latin1"), b"tea\ncaf\xe9!").unwrap();
    let message = "latin1: not UTF-8 at byte 7 (line 2): found 0xe9";
    assert!(error(&folder.join("latin1")).ends_with(message));
    assert!(error(folder.path()).ends_with(message));
    fs::write(folder.join("cut"), "caf\u{e9}".as_bytes().split_last().unwrap().1).unwrap();
    let message = "at byte 3 (line 1): found 0xc3 where the file ends within a character";
    assert!(error(&folder.join("cut")).ends_with(message));
    fs::write(folder.join("wide"), b"\xff\xfea\0").unwrap();
    assert!(error(&folder.join("wide")).ends_with("at byte 0 (line 1): found 0xff; it may be UTF-16"));
    fs::write(folder.join("good"), "one two").unwrap();
    let error = format!("{:#}", open(&folder.join("good"), "lins").unwrap_err());
    assert!(error.contains("found the separator \"lins\" nowhere"), "{error}");
}

#[test]
fn marks_line_ends_and_duplicates_are_found() {
    let folder = Folder::new("corpus-found");
    fs::write(folder.join("a.txt"), b"\xef\xbb\xbfone\r\n1\r\n<|endoftext|>\r\ntwo\r\n").unwrap();
    fs::write(folder.join("b.txt"), "two <|endoftext|> <|endoftext|>one  1").unwrap();
    let read = |deduplicate| {
        let corpus = Corpus::open(&[folder.path().to_owned()], &Documents::Auto, deduplicate).unwrap();
        (documents(&corpus), corpus.findings)
    };
    let (kept, found) = read(false);
    assert_eq!(kept, ["one\n1", "two", "two ", "one  1"]);
    assert_eq!((found.byte_order_marks, found.cr_lf, found.empty, found.duplicates), (1, 1, 1, 2));
    let (kept, found) = read(true);
    assert_eq!(kept, ["one\n1", "two"]);
    assert_eq!((found.duplicates, found.duplicate_bytes), (2, 10));
}

#[test]
fn documents_that_are_added_move_no_other() {
    let folder = Folder::new("corpus-split");
    let line = |i: usize| format!("document {i}\n");
    let split = |order: &mut dyn Iterator<Item = usize>, seed| -> [BTreeSet<String>; 2] {
        fs::write(folder.join("text"), order.map(line).collect::<String>()).unwrap();
        let corpus = open(&folder.join("text"), "lines").unwrap();
        assert_eq!(corpus.default_split(), Split::Documents);
        let parts = corpus.split(Split::Documents, 0.1, 0.0, seed);
        [parts.train, parts.valid].map(|pieces| texts(&corpus, &pieces).into_iter().collect())
    };
    let [few_train, few_valid] = split(&mut (0..500), 1);
    let [many_train, many_valid] = split(&mut (0..2000).rev(), 1);
    assert!(few_train.is_subset(&many_train) && few_valid.is_subset(&many_valid));
    assert!((150..250).contains(&many_valid.len()), "{} of 2000", many_valid.len());
    assert_ne!(split(&mut (0..500), 2)[1], few_valid);
    // Equal documents are on the same side; of two documents each side has one.
    assert!(few_train.is_disjoint(&few_valid));
    for seed in 0..20 {
        let [train, valid] = split(&mut (0..2), seed);
        assert_eq!((train.len(), valid.len()), (1, 1));
    }
}

#[test]
fn the_tail_is_cut_at_a_character() {
    let folder = Folder::new("corpus-tail");
    let tail = |text: &str, rule: &str, held_out: f64| {
        fs::write(folder.join("text"), text).unwrap();
        let corpus = open(&folder.join("text"), rule).unwrap();
        let parts = corpus.split(Split::Tail, held_out, 0.0, 0);
        [parts.train, parts.valid].map(|pieces| texts(&corpus, &pieces).join("|"))
    };
    assert_eq!(tail("0123456789", "auto", 0.25), ["0123456", "789"]);
    assert_eq!(tail("ab\u{e9}\u{e9}", "auto", 0.5), ["ab", "\u{e9}\u{e9}"]);
    assert_eq!(tail("a\u{e9}\u{e9}b", "auto", 0.7), ["a", "\u{e9}\u{e9}b"]);
    assert_eq!(tail("ab\r\ncd", "auto", 0.5), ["ab", "\ncd"]);
    assert_eq!(tail("aaaa\nbbbb\ncccc", "lines", 0.5), ["aaaa|bb", "bb|cccc"]);
    assert_eq!(open(&folder.join("text"), "auto").unwrap().default_split(), Split::Tail);
}

#[test]
fn a_test_part_moves_nothing_that_is_held_out() {
    let folder = Folder::new("corpus-test");
    fs::write(folder.join("lines"), (0..2000).map(|i| format!("document {i}\n")).collect::<String>())
        .unwrap();
    let corpus = open(&folder.join("lines"), "lines").unwrap();
    let split = |test| {
        let parts = corpus.split(Split::Documents, 0.1, test, 3);
        [parts.train, parts.valid, parts.test]
            .map(|pieces| texts(&corpus, &pieces).into_iter().collect::<BTreeSet<_>>())
    };
    let ([train, valid, test], [all_train, all_valid, none]) = (split(0.2), split(0.0));
    assert!(valid == all_valid && none.is_empty());
    assert!((300..500).contains(&test.len()), "{} of 2000", test.len());
    assert!(train.is_disjoint(&test) && all_train == &train | &test);

    fs::write(folder.join("text"), "01234567").unwrap();
    let corpus = open(&folder.join("text"), "auto").unwrap();
    let parts = corpus.split(Split::Tail, 0.25, 0.125, 0);
    let parts = [parts.train, parts.valid, parts.test].map(|pieces| texts(&corpus, &pieces).concat());
    assert_eq!(parts, ["01234", "56", "7"]);
}

/// Every document as the tokenizer of the runtime has it.
fn plain_tokens(corpus: &Corpus, pieces: &[Piece], tokenizer: Tokenizer<'_>) -> Vec<u16> {
    let one = |text: String| {
        let mut buffer = vec![Token::BOS; text.len() + 2];
        tokenizer.encode(&text, &mut buffer).unwrap().iter().map(|token| token.0).collect::<Vec<u16>>()
    };
    texts(corpus, pieces).into_iter().flat_map(one).collect()
}

#[test]
fn tokens_do_not_depend_on_threads_or_portions() {
    let folder = Folder::new("corpus-tokens");
    let path = folder.join("text");
    // Longer than what a thread takes at a time, as one document and as many.
    let lines = |i: usize| format!("line {i} of caf\u{e9}s\r\n{}", if i % 50 == 49 { "\r\n" } else { "" });
    fs::write(&path, (0..140_000).map(lines).collect::<String>()).unwrap();
    let section = bpe::train("line of caf\u{e9}s\n".repeat(9).as_bytes(), 300, |_| ()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&section).unwrap();
    for rule in ["file", "blank-lines"] {
        let corpus = open(&path, rule).unwrap();
        assert!(corpus.provenance.bytes > 2 << 20);
        let all: Vec<Piece> = (0..corpus.documents()).map(|document| corpus.whole(document)).collect();
        let tokens = |threads| {
            let mut tokens = Vec::new();
            let take = |part: &[u16]| {
                tokens.extend_from_slice(part);
                Ok(())
            };
            let mut done = 0;
            tokenize(&corpus, &all, tokenizer, threads, take, |bytes| done = bytes).unwrap();
            assert_eq!(done, corpus.provenance.bytes as u64);
            tokens
        };
        let alone = tokens(1);
        assert!(alone == tokens(3), "{rule}");
        // The runtime takes a square of a long text's time: a part of it will do.
        let few = &all[..1.min(all.len() - 1)];
        assert!(alone.starts_with(&plain_tokens(&corpus, few, tokenizer)));
        let decoded: Vec<u8> =
            alone.iter().flat_map(|token| tokenizer.decode(Token(*token))).copied().collect();
        assert!(decoded == texts(&corpus, &all).concat().into_bytes(), "{rule}");
    }
}

#[test]
fn token_files_are_what_was_written_or_refused() {
    let folder = Folder::new("corpus-token-file");
    let path = folder.join("train.u16");
    let tokens: Vec<u16> = (0..10_000).collect();
    let mut writer = TokenWriter::create(&path, b"tokenizer").unwrap();
    tokens.chunks(999).for_each(|part| writer.push(part).unwrap());
    assert!(!path.exists());
    writer.finish().unwrap();
    assert_eq!(*TokenFile::open(&path, b"tokenizer").unwrap(), tokens[..]);
    assert_eq!(host_trainer::train::read_tokens(&path).unwrap(), tokens);

    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], tokenizer: &[u8], message: &str| {
        fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", TokenFile::open(&path, tokenizer).unwrap_err());
        assert!(error.contains(message), "{error}");
    };
    refused(&good, b"another", "found tokens of the tokenizer with crc32 ");
    refused(&good[..good.len() - 1], b"tokenizer", "length: found 20031 bytes, wanted those of 10000 tokens");
    refused(&good[..20], b"tokenizer", "header: found 20 bytes, wanted 32");
    refused(b"something else", b"tokenizer", "wrong magic");
    let mut newer = good.clone();
    newer[8] = 2;
    refused(&newer, b"tokenizer", "version of the token file: found 2, wanted 1");
    let mut endless = good;
    endless[16..24].fill(0xff);
    refused(&endless, b"tokenizer", "length: found 20032 bytes");

    // What is not finished leaves nothing.
    fs::remove_file(&path).unwrap();
    TokenWriter::create(&path, b"tokenizer").unwrap().push(&tokens).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn reference_texts_are_read() {
    let Some(shakespeare) = data("tinyshakespeare") else { return };
    let corpus = open(&shakespeare.join("input.txt"), "auto").unwrap();
    assert_eq!((corpus.documents(), corpus.provenance.bytes), (1, 1_115_394));
    let parts = corpus.split(Split::Tail, 0.1, 0.0, 0);
    assert_eq!(parts.train.iter().map(Piece::len).sum::<usize>(), 1_003_854);
    let Some(names) = data("makemore-names") else { return };
    let corpus = open(&names.join("names.txt"), "lines").unwrap();
    assert_eq!(corpus.documents(), 32_033);
    let Some(stories) = data("tinystories-sample") else { return };
    let paths: Vec<PathBuf> =
        ["train", "val"].iter().map(|part| stories.join(format!("tinystories_{part}_head.txt"))).collect();
    let corpus = Corpus::open(&paths, &Documents::BlankLines, true).unwrap();
    assert!(corpus.documents() > 5000 && corpus.findings.files == 2);
}

#[test]
fn the_book_is_plain_text() {
    let Ok(corpus) = Corpus::rust_book() else {
        skipped("no rust-docs and no way to install them");
        return;
    };
    let text = corpus.text(&corpus.whole(0)).unwrap();
    assert_eq!(corpus.documents(), 1);
    assert!((500_000..5_000_000).contains(&text.len()), "{} bytes", text.len());
    assert!(text.starts_with("The Rust Programming Language"));
    assert!(text.contains("\n\nfn main() {\n    println!(\"Hello, world!\");\n}\n\n"));
    assert!(!text.contains("&lt;") && !text.contains("<code") && !text.contains("class=\"boring\""));
    assert_eq!(corpus.provenance.licence.as_deref(), Some("MIT OR Apache-2.0"));
}
