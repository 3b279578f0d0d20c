//! The builds that a certificate is about.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use boards::Board;

use crate::{command, firmware};

/// A machine and an ABI to build for.
#[derive(Debug)]
pub struct Build {
    /// The machine, with the target that is meant.
    pub board: Board,
    /// rustc's `opt-level`.
    pub opt_level: &'static str,
}

/// The files of the models that the probe runs.
#[derive(Debug)]
pub struct Models {
    /// The one that the certificate is for.
    pub model: PathBuf,
    /// One that takes more stack.
    pub wide: PathBuf,
}

/// The targets by the boards that run them; of two with the same processor one is enough.
const BOARDS: [(&str, Option<&str>); 7] = [
    ("microbit", None),
    ("mps2-an385", None),
    ("mps2-an386", Some("thumbv7em-none-eabi")),
    ("mps2-an386", None),
    ("mps2-an505", None),
    ("mps3-an547", None),
    ("riscv32-virt", None),
];

/// What rustc calls WebAssembly.
pub const WEB: &str = "wasm32-unknown-unknown";

/// Every target at both levels of optimisation.
pub fn all() -> Result<Vec<Build>> {
    let mut builds = Vec::new();
    for opt_level in ["3", "s"] {
        for (name, target) in BOARDS {
            let mut board = boards::find(name)?.clone();
            board.target = target.map_or(board.target, str::to_owned);
            builds.push(Build { board, opt_level });
        }
    }
    Ok(builds)
}

/// The one whose floating point is all calls.
pub fn soft_float() -> Result<Build> {
    let builds = all()?.into_iter();
    builds.max_by_key(|build| build.board.target == "thumbv7em-none-eabi").context("there are no builds")
}

impl Build {
    /// What it is called where a name has to do.
    pub fn name(&self) -> String {
        format!("{} {} at {}", self.board.target, self.board.cpu, self.opt_level)
    }

    /// Builds the probe and returns its ELF file, a copy in `folder`.
    pub fn probe(&self, models: &Models, features: &[&str], folder: &Path) -> Result<PathBuf> {
        let mut cargo = firmware::cargo(&self.board, "build");
        let elf = probe(cargo.args(level(self.opt_level)?).args(features), models)?;
        let copy = folder.join(format!("{}.elf", self.name().replace(' ', "-")));
        fs::copy(&elf, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        Ok(copy)
    }
}

/// Builds the probe for WebAssembly.
pub fn web(models: &Models) -> Result<PathBuf> {
    let mut cargo = command::cargo("firmware");
    cargo.args(["build", "--target", WEB]).env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    probe(&mut cargo, models)
}

/// Cargo's arguments for a level of optimisation, which is a number or a text.
fn level(level: &str) -> Result<[String; 2]> {
    let value = if level.parse::<u8>().is_ok() { level.to_owned() } else { format!("{level:?}") };
    Ok(["--config".to_owned(), format!("profile.release.opt-level={value}")])
}

fn probe(cargo: &mut std::process::Command, models: &Models) -> Result<PathBuf> {
    let messages = command::output(
        cargo
            .args([
                "--quiet",
                "--release",
                "--package",
                "probe",
                "--message-format",
                "json-render-diagnostics",
            ])
            .env("THUMBFORMER_MODEL", &models.model)
            .env("THUMBFORMER_WIDE", &models.wide),
    )?;
    command::executable(&messages).context("cargo built no probe")
}
