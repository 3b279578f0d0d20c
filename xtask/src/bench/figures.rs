//! The figures that are kept in bench/figures.toml, and how new ones compare with them. All are better when smaller.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{command::root, size::thousands};

/// How much worse a figure may get: 1 in this many.
const TOLERANCE: u64 = 100;

/// The figures of one machine with one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The name of the kernels.
    pub kernel: String,
    /// Over how many tokens was decoded.
    pub tokens: u64,
    /// Name and value.
    #[serde(flatten)]
    pub values: BTreeMap<String, u64>,
}

impl Figures {
    /// A figure.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }
}

/// Figures by model and machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Book {
    models: BTreeMap<String, BTreeMap<String, Figures>>,
}

const HEAD: &str = "\
# What `cargo xtask bench --save` measured, per model and machine. --baseline compares; after a change that is meant:
#
#     cargo xtask bench --model firmware/models/book.safetensors --save
#     cargo xtask bench --save
#     cargo xtask bench --readme
#
# Instructions per token and bytes. decode is the mean over `tokens` greedy tokens from the begin token on, the sampler
# included; decode-NAME is the part of it that NAME takes, decode-at-N a token at position N. decode-estimated-cycles
# follows from the processor's manual and is no measurement. prefill is for one position at a time, with `workspace` bytes;
# prefill-by-N for N at once.

";

impl Book {
    /// The file.
    pub fn path() -> PathBuf {
        root().join("bench/figures.toml")
    }

    /// Reads a file; nothing is in one that does not exist.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as --save writes it", path.display()))
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.text()?).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    /// The figures of a machine with a model.
    pub fn get(&self, model: &str, machine: &str) -> Option<&Figures> {
        self.models.get(model)?.get(machine)
    }

    /// Takes new figures in.
    pub fn insert(&mut self, model: &str, machine: &str, figures: Figures) {
        self.models.entry(model.to_owned()).or_default().insert(machine.to_owned(), figures);
    }
}

/// A figure, before and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The figure's name.
    pub name: String,
    /// Its value in the file.
    pub old: Option<u64>,
    /// Its value now.
    pub new: Option<u64>,
}

impl Change {
    /// Whether it got worse by more than is tolerated.
    pub fn is_worse(&self) -> bool {
        match (self.old, self.new) {
            (Some(old), Some(new)) => new.saturating_sub(old).saturating_mul(TOLERANCE) > old,
            _ => false,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: Option<u64>| value.map_or("-".to_owned(), thousands);
        write!(f, "{:24} {:>12} {:>12}", self.name, text(self.old), text(self.new))?;
        match (self.old, self.new) {
            (Some(old @ 1..), Some(new)) => {
                write!(f, " {:>+8.2} %", 100.0 * (new as f64 / old as f64 - 1.0))?
            }
            (Some(_), Some(_)) => write!(f, " {:>10}", "")?,
            (None, _) => write!(f, "  not in the file")?,
            (_, None) => write!(f, "  not measured now")?,
        }
        if self.is_worse() { write!(f, "  WORSE") } else { Ok(()) }
    }
}

/// Every figure of either, by name. An error where the two were not measured alike.
pub fn compare(old: &Figures, new: &Figures) -> Result<Vec<Change>> {
    ensure!(
        old.tokens == new.tokens,
        "the file has figures over {} tokens, these are over {}: wanted the same number (--tokens)",
        old.tokens,
        new.tokens
    );
    let mut names: Vec<_> = old.values.keys().chain(new.values.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| Change { name: name.clone(), old: old.get(name), new: new.get(name) };
    Ok(names.into_iter().map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(&str, u64)]) -> Figures {
        let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        Figures { kernel: "portable".to_owned(), tokens: 100, values }
    }

    #[test]
    fn more_than_a_hundredth_is_worse() {
        let changes = compare(
            &figures(&[("gone", 1), ("same", 1000), ("stack", 0), ("up", 1000)]),
            &figures(&[("new", 1), ("same", 1010), ("stack", 1), ("up", 1011)]),
        )
        .unwrap();
        let worse: Vec<_> = changes.iter().filter(|change| change.is_worse()).map(|c| &*c.name).collect();
        assert_eq!(worse, ["stack", "up"]);
        let lines: Vec<_> = changes.iter().map(Change::to_string).collect();
        assert!(lines[0].ends_with("not measured now"), "{lines:?}");
        assert!(lines[1].ends_with("not in the file"), "{lines:?}");
        assert!(lines[4].ends_with("+1.10 %  WORSE"), "{lines:?}");
    }

    #[test]
    fn figures_over_other_tokens_are_not_compared() {
        let other = Figures { tokens: 64, ..figures(&[]) };
        let error = compare(&figures(&[]), &other).unwrap_err().to_string();
        assert!(error.contains("100") && error.contains("64"), "{error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut book = Book::default();
        book.insert("small", "microbit", figures(&[("decode", 7), ("stack", 3)]));
        book.insert("small", "an386", figures(&[("decode", 5)]));
        let text = book.text().unwrap();
        assert_eq!(toml::from_str::<Book>(&text).unwrap(), book);
        assert!(text.find("an386").unwrap() < text.find("microbit").unwrap(), "{text}");
        assert!(
            text.contains("[small.microbit]\nkernel = \"portable\"\ntokens = 100\ndecode = 7\n"),
            "{text}"
        );
    }

    #[test]
    fn the_committed_file_is_as_it_is_written() {
        let book = Book::read(&Book::path()).unwrap();
        assert_eq!(book.text().unwrap(), fs::read_to_string(Book::path()).unwrap());
        assert!(book.get("book", boards::DEFAULT).is_some());
    }
}
