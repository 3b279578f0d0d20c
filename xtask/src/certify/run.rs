//! Runs the probe on an emulated machine, for the stack that its calls really take.

use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use boards::Board;

/// How long the probe may run.
const LIMIT: Duration = Duration::from_secs(120);

/// The most bytes of stack that each entry was seen to take.
pub fn marks(board: &Board, elf: &Path) -> Result<BTreeMap<String, u64>> {
    let qemu = &board.qemu;
    let mut child = Command::new(&qemu.binary)
        .args(["-machine", &qemu.machine])
        .args(&qemu.args)
        .args(["-display", "none", "-monitor", "none", "-serial", "none"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(elf)
        .stdin(Stdio::null())
        // Where single characters go depends on QEMU's version.
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}; `cargo xtask setup` installs it", qemu.binary))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("{}: the probe was stopped after {} s", board.name, LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let mut text = String::new();
    child.stdout.take().context("it is piped")?.read_to_string(&mut text)?;
    child.stderr.take().context("it is piped")?.read_to_string(&mut text)?;
    ensure!(status.success(), "{}: the probe ended with {status} after {text:?}", board.name);
    parse(&text)
}

/// Reads lines such as `stack probe_step 000004a8`; of several for an entry the largest counts.
fn parse(text: &str) -> Result<BTreeMap<String, u64>> {
    let mut marks = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("stack ")) {
        let (name, bytes) = line.split_once(' ').with_context(|| format!("the probe says {line:?}"))?;
        let bytes = u64::from_str_radix(bytes, 16).with_context(|| format!("the probe says {line:?}"))?;
        let mark = marks.entry(name.to_owned()).or_insert(bytes);
        *mark = bytes.max(*mark);
    }
    ensure!(!marks.is_empty(), "the probe says nothing of its stack");
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn marks_are_hexadecimal_and_the_largest_counts() {
        let marks = parse("stack probe_step 00000010\nnoise\nstack probe_step 0000000f\n").unwrap();
        assert_eq!(marks["probe_step"], 16);
        assert!(parse("noise").is_err() && parse("stack probe_step\n").is_err());
    }
}
