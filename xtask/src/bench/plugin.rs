//! The plugin that counts instructions in QEMU: building it, calling it, reading what it wrote.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use boards::Board;

use crate::command::{self, root};

use super::program::Program;

/// The plugin, built for one emulator.
#[derive(Debug)]
pub struct Plugin {
    library: PathBuf,
}

/// One instruction of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// Its address.
    pub address: u64,
    /// How often it was executed.
    pub count: u64,
    /// How often something other than the following instruction came next.
    pub left: u64,
    /// The bytes that it read from flash.
    pub flash: u64,
}

impl Plugin {
    /// Builds the plugin for the board's emulator. Where that cannot be, the text says why.
    pub fn build(board: &Board) -> Result<Result<Self, String>> {
        if cfg!(windows) {
            return Ok(Err("QEMU has no plugins on Windows".to_owned()));
        }
        let emulator = &board.qemu.binary;
        if !command::succeeds(Command::new("cc").arg("--version")) {
            return Ok(Err("no C compiler `cc` was found".to_owned()));
        }
        let help = command::output(Command::new(emulator).arg("-help"))?;
        if !help.contains("\n-plugin ") {
            return Ok(Err(format!("{emulator} was built without plugins")));
        }
        let version = command::output(Command::new(emulator).arg("--version"))?;
        let version =
            api_version(&version).with_context(|| format!("{emulator} --version says {version:?}"))?;
        let folder = root().join("target/bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let library = folder.join(format!("regions-{version}.so"));
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", &format!("-DAPI_VERSION={version}")]);
        if cfg!(target_os = "macos") {
            // QEMU's functions are found when it loads the plugin.
            cc.args(["-undefined", "dynamic_lookup"]);
        }
        cc.arg("-o").arg(&library).arg(root().join("xtask/plugin/regions.c"));
        command::output(&mut cc)?;
        Ok(Ok(Self { library }))
    }

    /// QEMU's arguments that count the program's regions into `out`.
    pub fn arguments(&self, board: &Board, program: &Program, out: &Path) -> Result<[OsString; 2]> {
        // QEMU separates by commas, and has no way to write one.
        for path in [&*self.library, out] {
            ensure!(
                !path.to_string_lossy().contains(','),
                "QEMU takes no path with a comma: {}",
                path.display()
            );
        }
        let (begin, end) = (program.address("region_begin")?, program.address("region_end")?);
        let flash = u64::from(board.flash.origin);
        let flash_end = flash + board.flash.len();
        let mut argument = self.library.clone().into_os_string();
        argument
            .push(format!(",begin={begin:#x},end={end:#x},flash={flash:#x},flash_end={flash_end:#x},out="));
        argument.push(out);
        Ok(["-plugin".into(), argument])
    }
}

/// The version of the plugin interface to ask for: 2 from QEMU 9 on, which does not know 1 any more.
fn api_version(text: &str) -> Option<u32> {
    let version = text.split("version ").nth(1)?;
    let major: u32 = version.split('.').next()?.parse().ok()?;
    Some(if major >= 9 { 2 } else { 1 })
}

/// Reads the plugin's file: the instructions of each region.
pub fn parse(text: &str) -> Result<Vec<Vec<Executed>>> {
    let mut regions: Vec<Vec<Executed>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line == "end" {
            return Ok(regions);
        }
        if line.starts_with("region ") {
            regions.push(Vec::new());
            continue;
        }
        let executed = executed(line);
        let executed =
            executed.with_context(|| format!("line {} of the plugin's file is {line:?}", number + 1))?;
        let region = regions.last_mut().context("the plugin's file lacks its first region")?;
        region.push(executed);
    }
    bail!("the plugin's file has {} regions and no end: the emulator was ended early", regions.len())
}

fn executed(line: &str) -> Option<Executed> {
    let mut fields = line.split(' ');
    let address = u64::from_str_radix(fields.next()?, 16).ok()?;
    let mut number = || fields.next()?.parse().ok();
    let executed = Executed { address, count: number()?, left: number()?, flash: number()? };
    fields.next().is_none().then_some(executed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read() {
        let regions = parse("region 0\nregion 1\n1a 3 1 12\nff02 1 0 0\nend\n").unwrap();
        let [first, second] = &regions[..] else { panic!("{regions:?}") };
        assert_eq!(*first, []);
        assert_eq!(second[0], Executed { address: 0x1a, count: 3, left: 1, flash: 12 });
        assert_eq!(second[1].address, 0xff02);
    }

    #[test]
    fn a_file_that_is_cut_or_malformed_is_refused() {
        for (text, why) in [
            ("region 0\n1a 3 1 12\n", "no end"),
            ("region 0\n1a 3 1\nend\n", "line 2"),
            ("region 0\n1a 3 1 2 4\nend\n", "line 2"),
            ("1a 3 1 12\nend\n", "lacks its first region"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_interface_follows_the_emulator() {
        assert_eq!(api_version("QEMU emulator version 7.2.22 (Debian 1:7.2)\n"), Some(1));
        assert_eq!(api_version("QEMU emulator version 10.0.2\n"), Some(2));
        assert_eq!(api_version("what?"), None);
    }
}
