//! stories260K, a model that others trained, on the machines that it fits: the same bits as on the host.
//!
//! The model is no part of the project. It is looked for in THUMBFORMER_DATA, or in ../shared/data.

use std::{env, ffi::OsStr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, ensure};
use boards::Board;

use crate::{
    bench,
    cli::{self, Written},
    command, firmware, qemu,
};

/// Tokens written, greedily, from the begin token on.
const TOKENS: &str = "100";
/// By how much the story may exceed bench's committed figure, which has the first token in its mean, too: 1 in this many.
const TOLERANCE: u64 = 50;

/// The checkpoint, imported, and what the host writes with its model.
#[derive(Debug)]
pub struct Stories {
    checkpoint: PathBuf,
    host: Written,
}

/// Said where the data are not found.
pub const MISSING: &str = "no stories260k in THUMBFORMER_DATA or ../shared/data";

/// The checkpoint and its tokenizer, where they are found.
pub fn data() -> Option<(PathBuf, PathBuf)> {
    let folder = env::var_os("THUMBFORMER_DATA")
        .map_or_else(|| command::root().join("../shared/data"), PathBuf::from)
        .join("stories260k");
    let (checkpoint, tokenizer) = (folder.join("stories260K.bin"), folder.join("tok512.bin"));
    (checkpoint.exists() && tokenizer.exists()).then_some((checkpoint, tokenizer))
}

/// Imports the model and returns its file, beside which lies the checkpoint (.safetensors); nothing where its data are not found.
pub fn import() -> Result<Option<PathBuf>> {
    let Some((checkpoint, tokenizer)) = data() else {
        return Ok(None);
    };
    let model = command::root().join("target/stories260K.thumb");
    cli::import_llama2c(&cli::build()?, &checkpoint, &tokenizer, &model)?;
    Ok(Some(model))
}

impl Stories {
    /// Imports the model and runs it on the host; nothing where its data are not found.
    pub fn find() -> Result<Option<Self>> {
        let Some(model) = import()? else {
            return Ok(None);
        };
        let mut run = Command::new(cli::build()?);
        run.arg("run").arg(&model).args(["--temperature", "0", "--max-tokens", TOKENS, "--json"]);
        let host = Written::of(&mut run)?;
        Ok(Some(Self { checkpoint: model.with_extension("safetensors"), host }))
    }

    /// Whether the model fits a board.
    pub fn fits(board: &Board) -> bool {
        board.flash.len() >= 384 * 1024 && board.ram.len() >= 256 * 1024
    }

    /// With the model packed for it, the board writes the same as the host, with the same digest, and within the
    /// instructions that bench/figures.toml says.
    pub fn check(&self, board: &Board) -> Result<()> {
        let model = command::root().join(format!("target/stories260K-{}.thumb", board.pack));
        cli::export(&cli::build()?, &self.checkpoint, &board.pack, &model)?;
        let env = [("THUMBFORMER_MODEL", model.as_os_str()), ("THUMBFORMER_TOKENS", OsStr::new(TOKENS))];
        let elf = firmware::build(board, "story", &env)?;
        let run = qemu::capture(board, &elf, b"\n", Duration::from_secs(300))?;
        ensure!(run.exit_code == 0, "the exit code is {}; the log says {:#?}", run.exit_code, run.logs);
        let (report, host) = (run.report()?, &self.host);
        println!("stories260K on {}: {} instructions per token", board.name, report.decode);
        ensure!(
            (report.digest.as_str(), report.tokens as usize) == (&host.digest, host.tokens.len()),
            "{} tokens with digest {}, but the host has {} with {}",
            report.tokens,
            report.digest,
            host.tokens.len(),
            host.digest
        );
        let output = String::from_utf8_lossy(&run.output);
        ensure!(output.trim_end() == host.text.trim_end(), "wrote {output:?}, but the host {:?}", host.text);
        let (found, figure) = (u64::from(report.decode), bench::committed("stories260K", board, "decode")?);
        ensure!(
            found <= figure + figure / TOLERANCE,
            "found {found} instructions per token, wanted at most 1/{TOLERANCE} more than bench/figures.toml has, {figure}"
        );
        Ok(())
    }
}
