//! What `cargo run` in `firmware/` calls: the serial port on standard output, the log on standard error.

use std::{
    env,
    io::{Write, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use boards::Board;

use crate::qemu::{self, Event};

/// Runs a program of the firmware under QEMU.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The program, an ELF file
    elf: PathBuf,
    /// The board [default: THUMBFORMER_BOARD, else the first with the program's target]
    #[arg(long)]
    board: Option<String>,
    /// The line that the program reads from its serial port
    #[arg(long, default_value = "")]
    prompt: String,
    /// Seconds after which the program is stopped
    #[arg(long, default_value_t = qemu::TIME_LIMIT.as_secs())]
    limit: u64,
}

impl Args {
    /// Runs the program and passes on its exit code.
    pub fn run(&self) -> Result<ExitCode> {
        let code = qemu::run(
            self.board()?,
            &self.elf,
            qemu::line(&self.prompt)?.as_bytes(),
            Duration::from_secs(self.limit),
            |event| print(&event),
        )?;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }

    fn board(&self) -> Result<&'static Board> {
        match self.board.clone().or(env::var("THUMBFORMER_BOARD").ok()) {
            Some(name) => Ok(boards::find(&name)?),
            None => from_path(&self.elf).context("the path names no target of boards.toml; give --board"),
        }
    }
}

/// The board of the target that cargo's path to the program names: target/TARGET/PROFILE/PROGRAM.
fn from_path(elf: &Path) -> Option<&'static Board> {
    let target = elf.parent()?.parent()?.file_name()?.to_str()?;
    boards::for_target(target)
}

/// Prints an event as it happens. Nobody may be listening any more, which is no reason to stop.
pub fn print(event: &Event) {
    match event {
        Event::Output(bytes) => {
            let mut out = stdout().lock();
            let _ = out.write_all(bytes).and_then(|()| out.flush());
        }
        Event::Log(log) => {
            let _ = writeln!(stderr(), "{:5} {}", log.level, log.message);
        }
    }
}
