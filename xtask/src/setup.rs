//! Installs what the other commands need: Rust's targets and components, and QEMU.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{call, output, root, succeeds};

/// Where the emulators are found, by package manager.
const QEMU_ELSEWHERE: &str = "QEMU's emulators for Arm and RISC-V are missing. Install them with one of
  apt     sudo apt-get install --no-install-recommends qemu-system-arm qemu-system-misc
  dnf     sudo dnf install qemu-system-arm qemu-system-riscv
  pacman  sudo pacman -S qemu-system-arm qemu-system-riscv
  brew    brew install qemu
  winget  winget install SoftwareFreedomConservancy.QEMU
and see that they are on the PATH:";

/// Installs what is missing and says what it does.
pub fn run() -> Result<()> {
    rust()?;
    qemu()
}

/// Rust's components and targets, as rust-toolchain.toml lists them. rustup installs them by itself where that is not
/// switched off.
fn rust() -> Result<()> {
    let wanted = toolchain()?;
    if !succeeds(rustup().arg("--version")) {
        eprintln!("rust     not from rustup: taking its targets for granted");
        return Ok(());
    }
    // Components are listed with the host's name after their own, except the one for all hosts.
    let installed = output(rustup().args(["component", "list", "--installed"]))?;
    let has = |name: &String| {
        let with_host = format!("{name}-");
        installed.lines().any(|line| line == name || line.starts_with(&with_host))
    };
    add("component", wanted.components, has)?;

    let installed = output(rustup().args(["target", "list", "--installed"]))?;
    add("target", wanted.targets, |name| installed.lines().any(|line| line == name))
}

/// Adds the components or targets that are not there.
fn add(kind: &str, wanted: Vec<String>, has: impl Fn(&String) -> bool) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        eprintln!("rust     {} {kind}s are installed", wanted.len());
        return Ok(());
    }
    call(rustup().args([kind, "add"]).args(missing))
}

fn rustup() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(root());
    rustup
}

#[derive(Deserialize)]
struct Toolchain {
    components: Vec<String>,
    targets: Vec<String>,
}

fn toolchain() -> Result<Toolchain> {
    #[derive(Deserialize)]
    struct File {
        toolchain: Toolchain,
    }
    let text = fs::read_to_string(root().join("rust-toolchain.toml"))?;
    let file: File = toml::from_str(&text).context("rust-toolchain.toml")?;
    Ok(file.toolchain)
}

/// The emulators of the boards: by apt-get where it may, else by telling how.
fn qemu() -> Result<()> {
    let missing = missing_emulators();
    if missing.is_empty() {
        eprintln!("qemu     the emulators are installed");
        return Ok(());
    }
    let Some(apt_get) = apt_get() else {
        bail!("{QEMU_ELSEWHERE} {}", missing.join(", "));
    };
    call(apt_get().arg("update"))?;
    let install = ["install", "--yes", "--no-install-recommends"];
    call(apt_get().args(install).args(["qemu-system-arm", "qemu-system-misc"]))?;
    // Newer Debians have taken RISC-V out of qemu-system-misc.
    if missing_emulators().contains(&"qemu-system-riscv32") {
        call(apt_get().args(install).arg("qemu-system-riscv"))?;
    }
    match missing_emulators()[..] {
        [] => Ok(()),
        ref missing => bail!("{QEMU_ELSEWHERE} {}", missing.join(", ")),
    }
}

fn missing_emulators() -> Vec<&'static str> {
    let mut binaries: Vec<_> = boards::all().iter().map(|b| b.qemu.binary.as_str()).collect();
    binaries.dedup();
    binaries.retain(|binary| !succeeds(Command::new(binary).arg("--version")));
    binaries
}

/// A way to call apt-get that needs no password.
fn apt_get() -> Option<fn() -> Command> {
    if !succeeds(Command::new("apt-get").arg("--version")) {
        None
    } else if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        Some(|| Command::new("apt-get"))
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        Some(|| {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "apt-get"]);
            sudo
        })
    } else {
        None
    }
}
