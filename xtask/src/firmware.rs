//! Builds the programs of `firmware/`.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use boards::Board;

use crate::command;

/// Builds a program for a board and returns the ELF file. A later build for another board may overwrite it. `env` sets further
/// variables, such as THUMBFORMER_MODEL.
pub fn build(board: &Board, program: &str, env: &[(&str, &OsStr)]) -> Result<PathBuf> {
    let messages = command::output(
        cargo(board, "build")
            .args(["--quiet", "--bin", program])
            .args(["--message-format", "json-render-diagnostics"])
            .envs(env.iter().copied()),
    )?;
    command::executable(&messages).with_context(|| format!("cargo built no program {program}"))
}

/// Cargo in `firmware/` with everything that the board asks for.
pub fn cargo(board: &Board, subcommand: &str) -> Command {
    // Not by CARGO_TARGET_..._RUSTFLAGS: cargo does not see that one for a target with a dot in its name.
    let flags = format!("target.{}.rustflags=[\"-Ctarget-cpu={}\"]", board.target, board.cpu);
    let mut cargo = command::cargo("firmware");
    cargo
        .args([subcommand, "--target", &board.target, "--config", &flags])
        .env("THUMBFORMER_BOARD", &board.name)
        // These would take the place of the board's flags.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo run` in firmware/ takes the processor from there, xtask from boards.toml.
    #[test]
    fn cargo_config_and_boards_agree() {
        let config = std::fs::read_to_string(command::root().join("firmware/.cargo/config.toml")).unwrap();
        for board in boards::all() {
            let default = boards::for_target(&board.target).unwrap();
            let flag = format!("-Ctarget-cpu={}", default.cpu);
            let section = format!("[target.{}]\nrustflags = [{flag:?}]\n", board.target);
            assert!(config.contains(&section), "{section}");
        }
        let default = boards::find(boards::DEFAULT).unwrap();
        assert!(config.contains(&format!("target = {:?}", default.target)));
    }
}
