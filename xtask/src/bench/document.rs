//! What the README shows of the figures: a table, and a chart. Written from the committed figures, never typed.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{command::root, size::thousands};

use super::{
    chart::{self, Group},
    figures::{Book, Figures},
    peers::{Decode, Peers},
    summary::label,
};

const MODEL: &str = "stories260K";
const BEGIN: &str = "<!-- bench: written by `cargo xtask bench --readme` -->\n";
const END: &str = "<!-- /bench -->\n";

/// Writes the README's block and the charts from the committed figures.
pub fn write() -> Result<()> {
    for (path, text) in files()? {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Each file and what it is to contain.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let (book, peers) = (Book::read(&Book::path())?, Peers::read()?);
    let readme = root().join("README.md");
    let text = fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let groups = groups(&book, &peers)?;
    let title = format!("{MODEL}: instructions per token");
    let note = "Fewer is better. Bars are linear from 0; each core has a scale of its own.";
    let svg = |theme| chart::svg(&title, note, &groups, theme);
    Ok(vec![
        (root().join("bench/chart-light.svg"), svg(chart::LIGHT)),
        (root().join("bench/chart-dark.svg"), svg(chart::DARK)),
        (readme, replace(&text, &block(&book, &peers)?)?),
    ])
}

/// The text with what lies between the two comments replaced.
fn replace(text: &str, block: &str) -> Result<String> {
    let missing = || format!("README.md lacks the lines {BEGIN}and {END}");
    let (before, rest) = text.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{before}{BEGIN}{block}{END}{after}"))
}

fn ours<'b>(book: &'b Book, machine: &str) -> Result<&'b Figures> {
    book.get(MODEL, machine).with_context(|| {
        format!("bench/figures.toml has no {MODEL} on {machine}; `cargo xtask bench --save` writes it")
    })
}

fn decode(figures: &Figures) -> Result<u64> {
    figures.get("decode").context("bench/figures.toml has figures without decode")
}

/// The cores that peers were measured on, with a bar for each.
fn groups(book: &Book, peers: &Peers) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for board in boards::all() {
        let theirs = peers.names().into_iter().filter_map(|peer| peers.decode(peer, &board.name));
        let theirs: Vec<_> = theirs.map(|peer| (peer.peer.clone(), peer.decode)).collect();
        if !theirs.is_empty() {
            let mut bars = vec![("thumbformer".to_owned(), decode(ours(book, &board.name)?)?)];
            bars.extend(theirs);
            groups.push(Group { name: board.core.clone(), bars });
        }
    }
    Ok(groups)
}

/// The block between the comments.
fn block(book: &Book, peers: &Peers) -> Result<String> {
    let names = peers.names();
    let figures = ours(book, boards::DEFAULT)?;
    let mut text = format!(
        "\n<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"bench/chart-dark.svg\">\n  \
         <img alt=\"{MODEL}: instructions per token by core, as in the table below\" src=\"bench/chart-light.svg\">\n\
         </picture>\n\n\
         Instructions per token of {MODEL}, packed for each core: the mean over {} greedy tokens from the begin token on,\n\
         the sampler included. All were counted in the same instrument, a plugin of QEMU that sees every executed instruction;\n\
         `cargo xtask bench` counts ours, with `--kernels` single kernels.\n\
         The others are built with gcc -O3{};\n\
         [bench/peers.toml](bench/peers.toml) has revisions and flags. Bytes of memory at the model's context of 512:\n\
         {} of workspace; {}.\n\n",
        figures.tokens,
        ofast(peers),
        figures.get("workspace").map_or("-".to_owned(), thousands),
        heaps(peers),
    );
    text += &format!("| core | thumbformer | {} |\n", names.join(" | "));
    text += &format!("|---|---|{}\n", "---|".repeat(names.len()));
    for board in boards::all().iter().chain(boards::bench()) {
        let Some(figures) = book.get(MODEL, &board.name) else {
            continue; // it has no room for the model
        };
        let ours = decode(figures)?;
        let name = if boards::bench().contains(board) { label(board) } else { board.core.clone() };
        text += &format!("| {name} | {} |", thousands(ours));
        for peer in &names {
            text += &match peers.decode(peer, &board.name) {
                Some(peer) => {
                    format!(" {} ({:.1} times) |", thousands(peer.decode), peer.decode as f64 / ours as f64)
                }
                None => " |".to_owned(),
            };
        }
        text += "\n";
    }
    Ok(text + "\n")
}

/// How much better the peers are with -Ofast, at most.
fn ofast(peers: &Peers) -> String {
    let gain = |peer: &Decode| Some(1.0 - peer.decode_ofast? as f64 / peer.decode as f64);
    match peers.decode.iter().filter_map(gain).reduce(f64::max) {
        Some(gain) => format!(" (-Ofast, where measured, saves {:.1} % at most)", 100.0 * gain),
        None => String::new(),
    }
}

/// The peers' memory.
fn heaps(peers: &Peers) -> String {
    let heap = |peer: &&str| {
        let heap = peers.decode.iter().find(|decode| decode.peer == *peer).map_or(0, |decode| decode.heap);
        format!("{peer} has {} of heap", thousands(heap))
    };
    peers.names().iter().map(heap).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_and_charts_show_the_committed_figures() {
        for (path, wanted) in files().unwrap() {
            let found = fs::read_to_string(&path).unwrap();
            assert!(found == wanted, "{}: `cargo xtask bench --readme` writes it anew", path.display());
        }
    }

    #[test]
    fn only_the_block_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(replace(&text, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(replace("a\n", "new\n").unwrap_err().to_string().contains("<!-- /bench -->"));
    }
}
