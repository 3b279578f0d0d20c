//! How files fall into documents.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What stands between documents in many collections.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Where a file is cut into documents. As text: `auto`, `file`, `lines`, `blank-lines`, or the separator itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Documents {
    /// At [`END_OF_TEXT`] where a file has it; else a file is a document.
    #[default]
    Auto,
    /// Nowhere: a file is a document.
    File,
    /// Each line is a document.
    Lines,
    /// At lines without anything but white space.
    BlankLines,
    /// At every place where this stands.
    At(String),
}

impl From<String> for Documents {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "file" => Self::File,
            "lines" => Self::Lines,
            "blank-lines" => Self::BlankLines,
            // As `\n` is hard to write in a shell.
            _ => Self::At(text.replace("\\n", "\n")),
        }
    }
}

impl From<Documents> for String {
    fn from(rule: Documents) -> Self {
        match rule {
            Documents::Auto => "auto".into(),
            Documents::File => "file".into(),
            Documents::Lines => "lines".into(),
            Documents::BlankLines => "blank-lines".into(),
            Documents::At(separator) => separator.replace('\n', "\\n"),
        }
    }
}

impl Documents {
    /// Where the documents of a file are, those without anything but white space included. A document that was cut out
    /// has no line ends around it.
    pub(super) fn ranges(&self, text: &[u8]) -> Vec<Range<usize>> {
        match self {
            Self::File => std::iter::once(0..text.len()).collect(),
            Self::Auto if !contains(text, END_OF_TEXT.as_bytes()) => std::iter::once(0..text.len()).collect(),
            Self::Auto => between(text, END_OF_TEXT.as_bytes()),
            Self::At(separator) => between(text, separator.as_bytes()),
            Self::Lines => lines(text).map(|line| trimmed(text, line)).collect(),
            Self::BlankLines => paragraphs(text),
        }
    }

    /// Whether a file has the separator that was asked for.
    pub(super) fn occurs_in(&self, text: &[u8]) -> bool {
        match self {
            Self::At(separator) => contains(text, separator.as_bytes()),
            _ => true,
        }
    }
}

/// Lines with their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let range = start..start + line.len();
        start = range.end;
        range
    })
}

fn paragraphs(text: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut open): (Vec<Range<usize>>, bool) = (Vec::new(), false);
    for line in lines(text) {
        let blank = text[line.clone()].trim_ascii().is_empty();
        match (blank, open) {
            (true, _) => {}
            (false, true) => found.last_mut().expect("one is open").end = line.end,
            (false, false) => found.push(line),
        }
        open = !blank;
    }
    found.into_iter().map(|range| trimmed(text, range)).collect()
}

fn between(text: &[u8], separator: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut start) = (Vec::new(), 0);
    while let Some(at) = find(&text[start..], separator) {
        found.push(trimmed(text, start..start + at));
        start += at + separator.len();
    }
    found.push(trimmed(text, start..text.len()));
    found
}

/// Without line ends at either end.
fn trimmed(text: &[u8], mut range: Range<usize>) -> Range<usize> {
    let line_end = |byte: u8| matches!(byte, b'\n' | b'\r');
    while range.start < range.end && line_end(text[range.start]) {
        range.start += 1;
    }
    while range.start < range.end && line_end(text[range.end - 1]) {
        range.end -= 1;
    }
    range
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let &first = part.first()?;
    let mut start = 0;
    loop {
        start += text.get(start..)?.iter().position(|byte| *byte == first)?;
        if text[start..].starts_with(part) {
            return Some(start);
        }
        start += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut<'a>(rule: &str, text: &'a str) -> Vec<&'a str> {
        Documents::from(rule.to_owned()).ranges(text.as_bytes()).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn each_rule_cuts_where_it_says() {
        let text = "\none\ntwo\r\n \t\r\nthree\n\n\n<|endoftext|>\nfour\n";
        assert_eq!(cut("file", text), [text]);
        assert_eq!(cut("auto", text), ["one\ntwo\r\n \t\r\nthree", "four"]);
        assert_eq!(cut("auto", "no\n\nmark"), ["no\n\nmark"]);
        let lines = ["", "one", "two", " \t", "three", "", "", "<|endoftext|>", "four"];
        assert_eq!(cut("lines", text), lines);
        assert_eq!(cut("blank-lines", text), ["one\ntwo", "three", "<|endoftext|>\nfour"]);
        assert_eq!(cut("--", "a--b----c"), ["a", "b", "", "c"]);
        assert_eq!(cut("\\n-\\n", "a\n-\nb - c"), ["a", "b - c"]);
    }

    #[test]
    fn a_rule_reads_as_it_is_written() {
        for rule in ["auto", "file", "lines", "blank-lines", "\\n***\\n"] {
            assert_eq!(String::from(Documents::from(rule.to_owned())), rule);
        }
    }

    proptest! {
        #[test]
        fn documents_stand_in_order_and_no_text_is_lost(text in "[ab \r\n-]{0,60}", rule in 0..4usize) {
            let rule = ["file", "lines", "blank-lines", "--"][rule];
            let documents = cut(rule, &text);
            let kept = |text: &str| text.chars().filter(|c| c.is_ascii_lowercase()).collect::<String>();
            prop_assert_eq!(kept(&documents.concat()), kept(&text));
            let clean = match rule {
                "file" => true,
                "lines" => documents.iter().all(|document| !document.contains('\n')),
                "blank-lines" => documents.iter().all(|document| !document.contains("\n\n")),
                _ => documents.iter().all(|document| !document.contains("--")),
            };
            prop_assert!(clean);
        }
    }
}
