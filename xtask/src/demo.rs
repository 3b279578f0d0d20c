//! From a text to tokens on an emulated microcontroller, by the commands that a user would type.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{
    cli, command, firmware,
    qemu::{self, Event},
    runner, setup,
    size::{Size, thousands},
};

/// Where everything that the demo makes is kept.
const FOLDER: &str = "demo";
/// The machine that writes.
const BOARD: &str = boards::DEFAULT;
/// The seed of the text that is written.
const SEED: &str = "7";

/// Trains a transformer on real text, exports it, and lets it write on an emulated Cortex-M4
///
/// The text is The Rust Programming Language from rust-docs, or what --corpus names. Everything is kept in demo/: a second run
/// trains nothing anew. Ctrl-C while it trains keeps the checkpoint, and the same command goes on from there.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The text to learn: a UTF-8 file or a folder of them
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// Minutes of training
    #[arg(long, value_name = "N", default_value_t = 3.0, conflicts_with = "steps")]
    minutes: f64,
    /// Steps of training, instead of minutes
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// The text to continue
    #[arg(long, default_value = "The ownership of")]
    prompt: String,
    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 160)]
    tokens: u32,
    /// Train anew what was trained before
    #[arg(long)]
    again: bool,
}

impl Args {
    /// Runs the demo.
    pub fn run(&self) -> Result<ExitCode> {
        let started = Instant::now();
        let line = qemu::line(&self.prompt)?;
        ensure!(self.tokens > 0, "--tokens: found 0, wanted at least 1");
        let folder = command::root().join(FOLDER).join(self.name()?);
        let (run, thumb) = (folder.join("run"), folder.join("model.thumb"));
        let checkpoint = run.join("model.safetensors");

        step(1, "set-up");
        setup::run()?;
        let thumbformer = cli::build()?;

        step(2, "train");
        if let Some(code) = self.train(&thumbformer, &folder, &run)? {
            return Ok(code);
        }

        step(3, "export to int8");
        command::call(Command::new(&thumbformer).arg("export").arg(&checkpoint).arg("-o").arg(&thumb))?;

        step(4, "evaluate on the held-out tail");
        let valid = run.join("valid.u16");
        let evaluate = |model: &Path| -> Result<Evaluation> {
            let mut eval = Command::new(&thumbformer);
            eval.arg("eval").arg(model).arg("--tokens").arg(&valid).arg("--json");
            Ok(serde_json::from_str(&command::output(&mut eval)?)?)
        };
        let (f32, int8) = (evaluate(&checkpoint)?, evaluate(&thumb)?);
        eprintln!("f32  {f32}\nint8 {int8}");
        ensure!(
            int8.saturations == Some(0),
            "the residual stream saturated {} times on the held-out tail: the export is not fit for use",
            int8.saturations.unwrap_or_default()
        );

        let board = boards::find(BOARD)?;
        step(5, &format!("write on {} ({}, emulated)", board.name, board.core));
        let tokens = self.tokens.to_string();
        let elf = firmware::build(
            board,
            "story",
            &[
                ("THUMBFORMER_MODEL", thumb.as_os_str()),
                ("THUMBFORMER_TOKENS", OsStr::new(&tokens)),
                ("THUMBFORMER_SEED", OsStr::new(SEED)),
            ],
        )?;
        let device =
            qemu::watch(board, &elf, line.as_bytes(), Duration::from_secs(600), |event| match event {
                // The table at the end tells it better.
                Event::Log(log) if log.message.starts_with("report ") => {}
                event => runner::print(event),
            })?;
        ensure!(device.exit_code == 0, "the firmware failed with exit code {}", device.exit_code);
        let report = device.report()?;

        step(6, "the same on the host");
        let mut host = Command::new(&thumbformer);
        host.arg("run").arg(&thumb).args(["--prompt", &self.prompt, "--max-tokens", &tokens]);
        host.args(["--temperature", "0.8", "--top-p", "0.9", "--seed", SEED, "--json"]);
        let host = cli::Written::of(&mut host)?;
        eprintln!("digest of all logits: host {}, device {}", host.digest, report.digest);

        let inspect = command::output(Command::new(&thumbformer).arg("inspect").arg(&thumb).arg("--json"))?;
        let model: Inspection = serde_json::from_str(&inspect)?;
        let size = Size::of(&elf)?;
        let same = host.digest == report.digest;
        println!();
        row("parameters", &thousands(model.parameters));
        row("flash", &format!("{} bytes, of which model {}", thousands(size.flash), thousands(model.bytes)));
        row("RAM: workspace", &format!("{} bytes", thousands(u64::from(report.workspace))));
        row("stack high-water mark", &format!("{} bytes", thousands(u64::from(report.stack))));
        row("instructions per token, prefill", &thousands(u64::from(report.prefill)));
        row("instructions per token, decode", &thousands(u64::from(report.decode)));
        row("validation loss, f32", &f32.to_string());
        row("validation loss, int8", &format!("{int8} ({:+.2} %)", 100.0 * (int8.loss / f32.loss - 1.0)));
        row("digest host = digest device", if same { "yes, the same bits" } else { "NO" });
        row("wall time", &format!("{:.0} s", started.elapsed().as_secs_f64()));
        println!("\nmore of it: cargo thumbformer run {} --prompt \"..\"", thumb.display());
        if !same {
            bail!("host and device computed different logits: {} and {}", host.digest, report.digest);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A name for what is trained: the corpus and the length of the training.
    fn name(&self) -> Result<String> {
        let corpus = match &self.corpus {
            None => "book".to_owned(),
            Some(path) => {
                let path =
                    path.canonicalize().with_context(|| format!("missing corpus: {}", path.display()))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!("{name}-{:08x}", thumbformer::format::crc32(path.as_os_str().as_encoded_bytes()))
            }
        };
        Ok(match self.steps {
            Some(steps) => format!("{corpus}-{steps}-steps"),
            None => format!("{corpus}-{}-minutes", self.minutes),
        })
    }

    /// Trains a model, or goes on where it was interrupted, unless it is there already. Where that did not come to its end, the
    /// trainer has said why, and its exit code is ours.
    fn train(&self, thumbformer: &Path, folder: &Path, run: &Path) -> Result<Option<ExitCode>> {
        let done = folder.join("trained");
        if self.again && folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        if done.exists() {
            eprintln!(
                "trained already, in {}; --again trains anew, for another text in the same place",
                run.display()
            );
            return Ok(None);
        }
        let mut train = Command::new(thumbformer);
        train.args(["train", "--plain"]).arg("--output").arg(run).stdout(Stdio::null());
        match self.steps {
            Some(steps) => train.args(["--steps", &steps.to_string()]),
            None => train.args(["--minutes", &self.minutes.to_string()]),
        };
        if let Some(corpus) = &self.corpus {
            train.arg("--corpus").arg(corpus);
        }
        if run.join("state.safetensors").exists() {
            train.arg("--resume");
        }
        // Ctrl-C reaches the trainer too, which saves what it has; only then is it our turn to end.
        ctrlc::set_handler(|| ()).context("cannot listen for Ctrl-C")?;
        let status = train.status().context("cannot start the trainer")?;
        match status.code() {
            Some(0) => {
                fs::write(&done, "")?;
                Ok(None)
            }
            Some(130) => {
                eprintln!("the checkpoint is in {}; the same command goes on from there", run.display());
                Ok(Some(ExitCode::from(130)))
            }
            Some(code) => {
                if run.exists() {
                    eprintln!("--again forgets {} and trains anew", run.display());
                }
                Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(2))))
            }
            None => bail!("the trainer was ended by a signal"),
        }
    }
}

/// What `thumbformer eval --json` prints.
#[derive(Debug, Deserialize)]
struct Evaluation {
    loss: f64,
    bits_per_byte: f64,
    saturations: Option<u32>,
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4} nats per token, {:.4} bits per byte", self.loss, self.bits_per_byte)
    }
}

/// What `thumbformer inspect --json` prints.
#[derive(Debug, Deserialize)]
struct Inspection {
    parameters: u64,
    bytes: u64,
}

fn step(number: u32, what: &str) {
    eprintln!("\n[{number}/6] {what}");
}

fn row(name: &str, value: &str) {
    println!("{name:34}{value}");
}
