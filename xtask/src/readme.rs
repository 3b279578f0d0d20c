//! The README's commands, as they are written there, on a little text and for a short time.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{command, golden, stories};

/// A command of the README.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    line: String,
}

impl std::fmt::Display for Example {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "README: {}", self.line)
    }
}

/// The commands of the README, in their order, but for xtask's own: these are what runs here.
pub fn examples() -> Result<Vec<Example>> {
    let text = fs::read_to_string(command::root().join("README.md"))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Vec<Example> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) => inside = language == "sh",
            None if inside && !line.starts_with("cargo xtask") && !line.is_empty() => {
                lines.push(Example { line: line.to_owned() });
            }
            None => {}
        }
    }
    lines
}

/// A folder under target/ with what the commands read, so that the aliases of the repository hold there.
pub fn folder() -> Result<PathBuf> {
    let folder = command::root().join("target/readme");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let readme = fs::read_to_string(command::root().join("README.md"))?;
    fs::write(
        folder.join("rates.toml"),
        sweep(&readme).context("README.md: found no block of TOML, wanted a sweep")?,
    )?;
    for (text, document) in [("my.txt", "docs/numerics.md"), ("little.txt", "README.md")] {
        fs::copy(command::root().join(document), folder.join(text))?;
    }
    fs::write(folder.join("answers.jsonl"), answers())?;
    fs::write(folder.join("labels.csv"), labels())?;
    if let Some((checkpoint, tokenizer)) = stories::data() {
        fs::copy(checkpoint, folder.join("stories260K.bin"))?;
        fs::copy(tokenizer, folder.join("tok512.bin"))?;
    }
    Ok(folder)
}

/// Sums, as prompts and answers.
fn answers() -> String {
    let sums = (0..100).map(|n| (n / 10, n % 10));
    let line = |(a, b)| format!("{{\"prompt\": \"{a} + {b} =\", \"answer\": \" {}\"}}\n", a + b);
    sums.map(line).collect()
}

/// Sums and products, as texts with labels.
fn labels() -> String {
    let all = (0..100).map(|n| (n / 10, n % 10));
    let rows = all.map(|(a, b)| format!("{a} + {b},sum\n{a} * {b},product\n"));
    ["text,label\n".to_owned()].into_iter().chain(rows).collect()
}

/// The sweep file of the README.
fn sweep(text: &str) -> Option<&str> {
    Some(text.split_once("```toml\n")?.1.split_once("```\n")?.0)
}

impl Example {
    /// Why it cannot be run here, if that is so.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.line.contains("--engine torch") {
            return Some("takes 5 GB from PyPI; cargo xtask test --torch tests the same");
        }
        (self.line.contains("stories260K.bin") && stories::data().is_none()).then_some(stories::MISSING)
    }

    /// Runs it in the folder and expects success; firmware runs in the repository and writes the golden text.
    pub fn run(&self, folder: &std::path::Path) -> Result<()> {
        // Minutes are for people.
        let line = ["--minutes 5", "--minutes 3", "--minutes 1"]
            .iter()
            .fold(self.line.clone(), |line, minutes| line.replace(minutes, "--steps 30"));
        let firmware = line.starts_with("(cd firmware");
        let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
        shell.arg(if cfg!(windows) { "/C" } else { "-c" }).arg(&line);
        shell.current_dir(if firmware { command::root() } else { folder });
        let output = shell.output().with_context(|| format!("cannot start {line}"))?;
        ensure!(
            output.status.success(),
            "`{line}` failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        if firmware {
            let golden = golden::written()?;
            let found = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            ensure!(found == golden, "`{line}` wrote {found:?}, wanted {golden:?}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shell_blocks_are_commands() {
        let text = "a\n```sh\ncargo xtask test\ncargo b\n```\nc\n```rust\nd\n```\n```sh\n\ne\n```\n";
        let lines: Vec<_> = parse(text).into_iter().map(|e| e.line).collect();
        assert_eq!(lines, ["cargo b", "e"]);
        assert_eq!(sweep("a\n```toml\nb = 1\n```\nc\n"), Some("b = 1\n"));
    }
}
