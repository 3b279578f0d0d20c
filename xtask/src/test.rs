//! Every test: the host's, and the firmware on every board.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    fs,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use boards::Board;

use crate::{
    bench, command, firmware, float, golden,
    qemu::{self, Run},
    readme, setup,
    stories::{self, Stories},
};

/// Runs every test, on the host and on every board
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Only this board; may be given again
    #[arg(long)]
    board: Vec<String>,
    /// Also run the tests of the PyTorch engine, which takes 5 GB from PyPI where that was never done
    #[arg(long)]
    torch: bool,
}

impl Args {
    /// Runs the tests. Ends with one line that counts them.
    pub fn run(&self) -> Result<ExitCode> {
        let boards = self.boards()?;
        setup::run()?;
        let mut tally = Tally::default();
        host(&mut tally, &["--workspace", "--no-fail-fast"])?;
        for (file, test, program, args) in WHERE_INSTALLED {
            if command::succeeds(Command::new(program).args(args)) {
                tally.skipped.retain(|name| !name.starts_with(test));
                host(&mut tally, &["--package", "host-trainer", "--test", file, test, "--", "--ignored"])?;
            }
        }
        if self.torch {
            tally.skipped.retain(|name| !name.contains(TORCH));
            // One after the other: each takes all cores.
            let only =
                ["--package", "host-trainer", "--test", "torch", "--", "--ignored", "--test-threads", "1"];
            host(&mut tally, &only)?;
        }
        tally.check("host story is the golden one", golden::host().and_then(|text| golden::check(&text)));
        readme_commands(&mut tally)?;
        let name = "the two instruments of bench agree";
        match bench::check() {
            Ok(Err(why)) => tally.skipped.push(format!("{name}: {why}")),
            result => tally.check(name, result.map(drop)),
        }
        let stories = Stories::find()?;
        for board in boards {
            for (name, test) in BOARD_TESTS {
                tally.check(&format!("{} {name}", board.name), test(board));
            }
            let name = format!("{} writes with stories260K what the host writes", board.name);
            match &stories {
                _ if !Stories::fits(board) => {}
                Some(stories) => tally.check(&name, stories.check(board)),
                None => tally.skipped.push(format!("{name}: {}", stories::MISSING)),
            }
        }
        for name in &tally.skipped {
            println!("skipped: {name}");
        }
        println!("{tally}");
        Ok(ExitCode::from(u8::from(tally.failed > 0)))
    }

    fn boards(&self) -> Result<Vec<&'static Board>> {
        if self.board.is_empty() {
            return Ok(boards::all().iter().collect());
        }
        let named = self.board.iter().map(|name| boards::find(name));
        Ok(named.collect::<Result<_, _>>()?)
    }
}

/// How many tests passed, failed and were skipped.
#[derive(Debug, Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: Vec<String>,
}

impl Tally {
    fn check(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) => {
                self.failed += 1;
                println!("test {name} ... FAILED\n{error:#}");
            }
        }
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {} skipped", skipped.len())
    }
}

/// Test files, what their tests begin with that want another program, and how to see whether it is there.
const WHERE_INSTALLED: [(&str, &str, &str, &[&str]); 3] = [
    ("sweep", "gnu_parallel_does_the_list", "parallel", &["--version"]),
    ("sweep", "ray_tune_does_the_runs", "python3", &["-c", "from ray import tune"]),
    (
        "second_implementation",
        "python::",
        "python3",
        &["-c", "import sys; assert sys.version_info >= (3, 8)"],
    ),
];

/// In the reason that the tests of the PyTorch engine give for being ignored.
const TORCH: &str = "cargo xtask test --torch";

/// `cargo test`, whose output is shown and counted.
fn host(tally: &mut Tally, args: &[&str]) -> Result<()> {
    let list = std::env::temp_dir().join(format!("thumbformer-skipped-{}", std::process::id()));
    fs::write(&list, "").with_context(|| list.display().to_string())?;
    let mut cargo = command::cargo(".")
        .arg("test")
        .args(args)
        .env("THUMBFORMER_SKIPPED", &list)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = cargo.stdout.take().expect("it is piped");
    let before = tally.failed;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        tally.count_line(&line);
    }
    let skipped = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    fs::remove_file(&list)?;
    tally.take_back(&skipped);
    if !cargo.wait()?.success() && tally.failed == before {
        tally.check("the host's tests", Err(anyhow::anyhow!("they do not build or run")));
    }
    Ok(())
}

impl Tally {
    /// Counts a line of libtest's output, such as `test it_works ... ok`.
    fn count_line(&mut self, line: &str) {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match outcome.split([',', ' ']).next() {
            Some("ok") => self.passed += 1,
            Some("FAILED") => self.failed += 1,
            Some("ignored") => {
                let why = outcome.strip_prefix("ignored, ").map(|why| format!(": {why}"));
                self.skipped.push(format!("{name}{}", why.unwrap_or_default()));
            }
            _ => {}
        }
    }
}

impl Tally {
    /// Tests that passed, as libtest says, and that say themselves that they lacked something, a line
    /// `name: why` for each thing.
    fn take_back(&mut self, lines: &str) {
        let mut names = BTreeSet::new();
        for line in lines.lines() {
            if names.insert(line.split(": ").next()) {
                self.passed = self.passed.saturating_sub(1);
                self.skipped.push(line.to_owned());
            }
        }
    }
}

/// The commands of the README, one after the other.
fn readme_commands(tally: &mut Tally) -> Result<()> {
    let folder = readme::folder()?;
    for example in readme::examples()? {
        match example.obstacle() {
            None => tally.check(&example.to_string(), example.run(&folder)),
            Some(obstacle) => tally.skipped.push(format!("{example}: {obstacle}")),
        }
    }
    Ok(())
}

type BoardTest = fn(&Board) -> Result<()>;

const BOARD_TESTS: [(&str, BoardTest); 4] = [
    ("no floating point", no_floating_point),
    ("story is the golden one", story),
    ("selftest", selftest),
    ("a panic is a failure with a message", panic),
];

/// Nothing in the program that tells the story computes with floating point.
fn no_floating_point(board: &Board) -> Result<()> {
    float::check(&firmware::build(board, "story", &[])?, board.cpu == "cortex-m55")
}

/// The board writes what the golden file says, with the same digest of all logits.
fn story(board: &Board) -> Result<()> {
    let run = run(board, "story", golden::PROMPT)?;
    succeeded(&run)?;
    let report = run.report()?;
    golden::check(&golden::text(&run.output, report.tokens, &report.digest))
}

/// The checks that run on the board find nothing.
fn selftest(board: &Board) -> Result<()> {
    succeeded(&run(board, "selftest", "")?)
}

/// A panic ends the run with a failure and its message.
fn panic(board: &Board) -> Result<()> {
    let run = run(board, "panic", "")?;
    ensure!(run.exit_code == 1, "the exit code is {}", run.exit_code);
    let message = format!("{} panics on purpose", board.name);
    ensure!(
        run.logs.iter().any(|log| log.level == "error" && log.message.ends_with(&message)),
        "the log lacks the message: {:?}",
        run.logs
    );
    Ok(())
}

fn run(board: &Board, program: &str, line: &str) -> Result<Run> {
    let elf = firmware::build(board, program, &[])?;
    qemu::capture(board, &elf, format!("{line}\n").as_bytes(), qemu::TIME_LIMIT)
}

fn succeeded(run: &Run) -> Result<()> {
    if run.exit_code != 0 {
        bail!("the exit code is {}; the log says {:#?}", run.exit_code, run.logs);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_libtest_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test src/lib.rs - (line 3) - compile fail ... ok",
            "test c ... FAILED",
            "test d - should panic ... ok",
            "test e ... ignored, takes an hour",
            "test result: ok. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            tally.count_line(line);
        }
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 1 skipped");
        assert_eq!(tally.skipped, ["e: takes an hour"]);
        tally.take_back("d - should panic: no data\nd - should panic: no more data\n");
        assert_eq!(tally.to_string(), "2 passed, 1 failed, 2 skipped");
    }
}
