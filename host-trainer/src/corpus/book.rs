//! The Rust Programming Language from the component rust-docs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::html;

const HINT: &str = "give another text with --corpus PATH";

/// The folder of the book; installs rust-docs where it is missing.
pub fn locate() -> Result<PathBuf> {
    if let Some(folder) = installed() {
        return Ok(folder);
    }
    let status = Command::new("rustup").args(["component", "add", "rust-docs"]).status();
    let status = status.with_context(|| format!("rustup is needed to install rust-docs; or {HINT}"))?;
    ensure!(status.success(), "rustup component add rust-docs failed; {HINT}");
    installed().with_context(|| format!("rust-docs is installed, but has no book; {HINT}"))
}

fn installed() -> Option<PathBuf> {
    let output = Command::new("rustup").args(["doc", "--path"]).output().ok()?;
    let index = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    let folder = index.parent()?.join("book");
    folder.is_dir().then_some(folder)
}

/// The text of the book in a folder: the chapters of its table of contents, each once.
pub fn read(folder: &Path) -> Result<String> {
    let page = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    };
    let chapters = html::chapters(&page("toc.html").or_else(|_| page("index.html"))?);
    if chapters.is_empty() {
        bail!("{}: no table of contents found; {HINT}", folder.display());
    }
    let mut text = String::new();
    for chapter in chapters {
        text += &html::main_text(&page(&chapter)?);
        text += "\n\n";
    }
    Ok(ended(text))
}

/// A text whose end is its last line's.
fn ended(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn a_text_ends_with_its_last_line() {
        for text in ["end", "end\n\n", "end\u{a0}\n", "end\u{a0}"] {
            assert_eq!(ended(text.into()), "end\n");
        }
    }
}
