//! Texts with labels, from JSON lines or CSV, as rows: a model learns the class after a text's last token.

use super::pairs::{kind, object};
use crate::nn::cross_entropy::IGNORED;
use crate::nn::random::Random;
use crate::tokenizer::TextEncoder;
use crate::train::Rows;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use thumbformer::format::crc32;
use thumbformer::{Token, Tokenizer};

/// Keeps the choice of what is held out apart from everything else that is random.
const SPLIT_STREAM: u64 = 0x1abe;

/// The names that text and label have in each line or in the first row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Of the text.
    pub text: String,
    /// Of the label.
    pub label: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self { text: "text".into(), label: "label".into() }
    }
}

/// A text and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// What the model is given.
    pub text: String,
    /// The name of its class.
    pub label: String,
}

/// Reads a file of labelled texts, a table where its name ends in `.csv`, else a JSON object in each line; and its CRC-32.
///
/// # Errors
/// The file cannot be read, or a line has no text or no label; the message names file, line and field.
pub fn read(path: &Path, fields: &Fields) -> Result<(Vec<Labelled>, u32)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let table = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let texts = if table { csv(text, fields) } else { json(text, fields) };
    let texts = texts.map_err(|error| anyhow!("{}{error:#}", path.display()))?;
    Ok((texts, crc32(&bytes)))
}

/// JSON lines; errors begin with what follows the name of the file.
fn json(bytes: &[u8], fields: &Fields) -> Result<Vec<Labelled>> {
    let mut texts = Vec::new();
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            let text = of_line(line.trim_ascii_end(), fields);
            texts.push(text.map_err(|error| anyhow!(", line {}: {error:#}", i + 1))?);
        }
    }
    ensure!(!texts.is_empty(), ": found no text, wanted one in each line");
    Ok(texts)
}

fn of_line(line: &[u8], fields: &Fields) -> Result<Labelled> {
    let object = object(line)?;
    let text = match object.field(&fields.text)? {
        Value::String(text) => text.clone(),
        other => bail!("{:?}: found {}, wanted a text", fields.text, kind(other)),
    };
    let label = match object.field(&fields.label)? {
        Value::String(label) => label.clone(),
        value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
        other => bail!("{:?}: found {}, wanted a text or a number", fields.label, kind(other)),
    };
    labelled(text, &label, fields)
}

/// A table with a row of names; errors begin with what follows the name of the file.
fn csv(bytes: &[u8], fields: &Fields) -> Result<Vec<Labelled>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let names = reader.headers().map_err(|error| anyhow!(": {error}"))?.clone();
    let column = |wanted: &str| {
        let found: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
        let at = names.iter().position(|name| name.trim() == wanted);
        at.with_context(|| format!(", line 1: {wanted:?}: found {}, wanted this column", found.join(", ")))
    };
    let (text, label) = (column(&fields.text)?, column(&fields.label)?);
    let mut texts = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| anyhow!(": {error}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        ensure!(
            record.len() == names.len(),
            ", line {line}: found {} columns, wanted {}",
            record.len(),
            names.len()
        );
        let made = labelled(record[text].to_owned(), &record[label], fields);
        texts.push(made.map_err(|error| anyhow!(", line {line}: {error:#}"))?);
    }
    ensure!(!texts.is_empty(), ": found no text, wanted one in each row");
    Ok(texts)
}

/// A label is a line of a model file's metadata.
fn labelled(text: String, label: &str, fields: &Fields) -> Result<Labelled> {
    let label = label.trim();
    let usable = !label.is_empty() && !label.contains(char::is_control);
    ensure!(usable, "{:?}: found {label:?}, wanted a name of one line", fields.label);
    Ok(Labelled { text, label: label.to_owned() })
}

/// The names of all classes, in order.
pub fn labels(texts: &[Labelled]) -> Vec<String> {
    let names: BTreeSet<&str> = texts.iter().map(|text| text.label.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The number of a text's class.
pub fn class_of(text: &Labelled, labels: &[String]) -> Result<u16> {
    let at = labels.iter().position(|label| *label == text.label).with_context(|| {
        let shown: Vec<_> = labels.iter().take(8).map(String::as_str).collect();
        let more = if labels.len() > shown.len() { ", .." } else { "" };
        format!("label: found {:?}, wanted one of the model's: {}{more}", text.label, shown.join(", "))
    })?;
    Ok(at as u16)
}

/// The tokens of a text as a classifier reads it, the first `seq_len` of them, and whether there were more.
pub fn tokens(encoder: &mut TextEncoder<'_>, text: &str, seq_len: usize) -> (Vec<Token>, bool) {
    let mut tokens = encoder.encode(text.as_bytes());
    let cut = tokens.len() > seq_len;
    tokens.truncate(seq_len);
    (tokens, cut)
}

/// Labelled texts as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// To learn from.
    pub train: Rows,
    /// Held out: as large a part of each class.
    pub valid: Rows,
    /// Texts that are longer than the context, of which only the beginning is read.
    pub cut: usize,
}

/// Encodes each text as it will be met. A row has the length of the longest; only the last token of a text has a target,
/// its class. What is held out is drawn by `seed`, from each class by itself, so that a sorted file does no harm.
pub fn encode(
    texts: &[Labelled],
    labels: &[String],
    tokenizer: Tokenizer<'_>,
    seq_len: usize,
    held_out: f64,
    seed: u64,
) -> Result<Encoded> {
    let mut encoder = TextEncoder::new(tokenizer);
    let mut cut = 0;
    let mut encoded = Vec::new();
    for text in texts {
        let (tokens, longer) = tokens(&mut encoder, &text.text, seq_len);
        cut += usize::from(longer);
        encoded.push((class_of(text, labels)?, tokens));
    }
    let len = encoded.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or_default();
    let examined = held_out_of(&encoded, labels.len(), held_out, seed);
    ensure!(
        examined.contains(&true) && examined.contains(&false),
        "found {} texts of {} classes, wanted at least 2 of one class, one of them to be held out",
        texts.len(),
        labels.len()
    );
    let part = |valid: bool| {
        let mut rows = Rows { len, ..Rows::default() };
        let chosen = encoded.iter().zip(&examined).filter(|(_, held_out)| **held_out == valid);
        chosen.for_each(|((class, tokens), _)| push(&mut rows, *class, tokens));
        rows
    };
    Ok(Encoded { train: part(false), valid: part(true), cut })
}

/// Which texts are held out: of each class this part, rounded, but at least one of two.
fn held_out_of(texts: &[(u16, Vec<Token>)], classes: usize, part: f64, seed: u64) -> Vec<bool> {
    let mut examined = vec![false; texts.len()];
    for class in 0..classes {
        let mut members: Vec<usize> =
            (0..texts.len()).filter(|&i| usize::from(texts[i].0) == class).collect();
        let most = members.len().saturating_sub(1);
        let count = ((members.len() as f64 * part).round() as usize).clamp(usize::from(most > 0), most);
        let mut random = Random::keyed(&[seed, SPLIT_STREAM, class as u64]);
        for _ in 0..count {
            examined[members.swap_remove(random.below(members.len()))] = true;
        }
    }
    examined
}

fn push(rows: &mut Rows, class: u16, tokens: &[Token]) {
    let end = rows.tokens.len() + rows.len;
    rows.tokens.extend(tokens.iter().map(|token| token.0));
    rows.targets.resize(rows.tokens.len() - 1, IGNORED);
    rows.targets.push(class);
    rows.tokens.resize(end, Token::EOS.0);
    rows.targets.resize(end, IGNORED);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::section;
    use thumbformer::format::tokenizer::TokenizerKind;

    fn text(text: &str, label: &str) -> Labelled {
        Labelled { text: text.into(), label: label.into() }
    }

    #[test]
    fn lines_and_tables_say_the_same() {
        let fields = Fields::default();
        let wanted = vec![text("a, \"b\"", "x"), text("", "2")];
        let lines =
            b"{\"label\": \" x \", \"text\": \"a, \\\"b\\\"\", \"id\": 1}\n\n{\"text\": \"\", \"label\": 2}";
        assert_eq!(json(lines, &fields).unwrap(), wanted);
        assert_eq!(csv(b"label,id,text\nx,1,\"a, \"\"b\"\"\"\n2,,\n", &fields).unwrap(), wanted);
        assert_eq!(labels(&wanted), ["2", "x"]);
        let error = class_of(&text("", "y"), &labels(&wanted)).unwrap_err().to_string();
        assert_eq!(error, "label: found \"y\", wanted one of the model's: 2, x");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        type Read = fn(&[u8], &Fields) -> Result<Vec<Labelled>>;
        let cases: [(Read, &[u8], &str); 8] = [
            (json, b"{\"text\": \"a\"}", ", line 1: \"label\": found \"text\", wanted this field"),
            (json, b"\n{\"text\": 1, \"label\": 1}", ", line 2: \"text\": found 1, wanted a text"),
            (json, b"{\"text\": \"\", \"label\": []}", "\"label\": found a list, wanted a text or a number"),
            (json, b"{\"text\": \"\", \"label\": \"a\\nb\"}", "found \"a\\nb\", wanted a name of one line"),
            (json, b"\n", ": found no text"),
            (csv, b"text,class\na,b\n", "line 1: \"label\": found \"text\", \"class\", wanted this column"),
            (csv, b"text,label\na,b\nc\n", ", line 3: found 1 columns, wanted 2"),
            (csv, b"text,label\na, \n", ", line 2: \"label\": found \"\", wanted a name of one line"),
        ];
        for (read, bytes, wanted) in cases {
            let error = read(bytes, &Fields::default()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn the_last_token_of_a_text_has_its_class_as_target() {
        let bytes = section(TokenizerKind::ByteBpe, &[]).unwrap();
        let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
        let texts = [text("ab", "n"), text("", "n"), text("abcdef", "p"), text("c", "p"), text("d", "lone")];
        let labels = labels(&texts);
        let Encoded { train, valid, cut } = encode(&texts, &labels, tokenizer, 4, 0.1, 1).unwrap();
        assert_eq!((train.len, valid.len, cut), (4, 4, 1));
        // One of each class that has two.
        assert_eq!((train.tokens.len(), valid.tokens.len()), (12, 8));
        let of = |byte: u8| u16::from(byte) + 3;
        let rows = |part: &Rows| -> Vec<(Vec<u16>, Vec<u16>)> {
            let rows = part.tokens.chunks(4).zip(part.targets.chunks(4));
            rows.map(|(tokens, targets)| (tokens.to_vec(), targets.to_vec())).collect()
        };
        let all = [rows(&train), rows(&valid)].concat();
        for (tokens, targets) in [
            ([1, of(b'a'), of(b'b'), 2], [IGNORED, IGNORED, 1, IGNORED]),
            ([1, 2, 2, 2], [1, IGNORED, IGNORED, IGNORED]),
            ([1, of(b'a'), of(b'b'), of(b'c')], [IGNORED, IGNORED, IGNORED, 2]),
            ([1, of(b'c'), 2, 2], [IGNORED, 2, IGNORED, IGNORED]),
            ([1, of(b'd'), 2, 2], [IGNORED, 0, IGNORED, IGNORED]),
        ] {
            assert!(all.contains(&(tokens.to_vec(), targets.to_vec())), "{tokens:?}");
        }
        assert!(rows(&train).contains(&(vec![1, of(b'd'), 2, 2], vec![IGNORED, 0, IGNORED, IGNORED])));
        let error = encode(&texts[4..], &labels, tokenizer, 4, 0.5, 1).unwrap_err().to_string();
        assert!(error.contains("found 1 texts of 3 classes, wanted at least 2"), "{error}");
    }
}
