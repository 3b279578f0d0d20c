//! Runs firmware on an emulated board.
//!
//! What the firmware writes over semihosting, defmt's frames, is QEMU's standard output and is decoded here. The serial port is
//! a connection of its own on the loopback interface.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use boards::Board;
use defmt_decoder::{DecodeError, Table};

/// How long a program may run where nothing else is said.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// What happens while the firmware runs.
#[derive(Debug)]
pub enum Event {
    /// Bytes from the serial port.
    Output(Vec<u8>),
    /// A message of the log.
    Log(Log),
}

/// A message of the firmware's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The level, in lower case; empty where the message has none.
    pub level: &'static str,
    /// The text.
    pub message: String,
}

/// Runs the program on the board, sends `input` to its serial port and hands every event to `on_event` as it happens.
/// Returns the exit code. A program that runs longer than `limit` is an error.
pub fn run(
    board: &Board,
    elf: &Path,
    input: &[u8],
    limit: Duration,
    on_event: impl FnMut(Event),
) -> Result<i32> {
    run_with(board, elf, input, limit, &[], on_event)
}

/// [`run`], with further arguments for QEMU.
fn run_with(
    board: &Board,
    elf: &Path,
    input: &[u8],
    limit: Duration,
    arguments: &[OsString],
    mut on_event: impl FnMut(Event),
) -> Result<i32> {
    let deadline = Instant::now() + limit;
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let table = Table::parse(&bytes)?.with_context(|| format!("{} has no .defmt section", elf.display()))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no loopback interface")?;
    let address = listener.local_addr()?;
    let mut qemu = KillOnDrop(start(board, elf, address, arguments)?);
    let mut stdout = qemu.0.stdout.take().expect("it is piped");

    thread::scope(|scope| {
        let (events, received) = channel();
        let logs = events.clone();
        scope.spawn(move || serve_uart(&listener, input, events));
        scope.spawn(move || {
            decode_logs(&mut stdout, &table, logs);
            // QEMU is gone. If it never connected, the other thread still waits for a connection: here is one.
            drop(TcpStream::connect(address));
        });
        let in_time = hand_over(received, deadline, &mut on_event);
        if !in_time {
            qemu.0.kill()?;
            bail!("{}: stopped after {} s, the time limit", board.name, limit.as_secs());
        }
        let status = qemu.0.wait()?;
        status.code().ok_or_else(|| anyhow!("{}: QEMU was ended by a signal", board.name))
    })
}

/// What the serial port is sent for a prompt: a line. One that the firmware would cut is refused.
pub fn line(prompt: &str) -> Result<String> {
    let len = prompt.len();
    ensure!(len <= app::MAX_PROMPT, "prompt: found {len} bytes, wanted at most {}", app::MAX_PROMPT);
    ensure!(!prompt.contains('\n'), "prompt: found a line break, wanted one line");
    Ok(format!("{prompt}\n"))
}

/// What a program did.
#[derive(Debug)]
pub struct Run {
    /// What it wrote to the serial port.
    pub output: Vec<u8>,
    /// What it logged.
    pub logs: Vec<Log>,
    /// How it ended.
    pub exit_code: i32,
}

impl Run {
    /// The report that the program `story` logs at its end.
    pub fn report(&self) -> Result<Report> {
        let fields = self
            .logs
            .iter()
            .find_map(|log| log.message.strip_prefix("report "))
            .with_context(|| format!("no report among {:#?}", self.logs))?;
        Report::parse(fields)
    }
}

/// What `story` took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tokens read from the prompt.
    pub prompt: u32,
    /// Tokens written.
    pub tokens: u32,
    /// The digest of every step's logits, 16 hexadecimal digits.
    pub digest: String,
    /// Instructions for a token of the prompt.
    pub prefill: u32,
    /// Instructions for a token of the continuation.
    pub decode: u32,
    /// Bytes of the workspace.
    pub workspace: u32,
    /// The most bytes that the stack held.
    pub stack: u32,
    /// The name of the kernels.
    pub kernel: String,
}

impl Report {
    /// Reads `name=value` pairs.
    fn parse(fields: &str) -> Result<Self> {
        let text = |name| field(fields, name);
        let number = |name| Ok::<u32, anyhow::Error>(text(name)?.parse()?);
        Ok(Self {
            prompt: number("prompt")?,
            tokens: number("tokens")?,
            digest: text("digest")?.to_owned(),
            prefill: number("prefill")?,
            decode: number("decode")?,
            workspace: number("workspace")?,
            stack: number("stack")?,
            kernel: text("kernel")?.to_owned(),
        })
    }
}

/// The value of a field among `name=value` pairs.
pub fn field<'a>(fields: &'a str, name: &str) -> Result<&'a str> {
    fields
        .split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        .with_context(|| format!("the report {fields:?} lacks {name:?}"))
}

/// Runs the program like [`run`] and keeps what happens.
pub fn capture(board: &Board, elf: &Path, input: &[u8], limit: Duration) -> Result<Run> {
    capture_with(board, elf, input, limit, &[])
}

/// [`capture`], with further arguments for QEMU.
pub fn capture_with(
    board: &Board,
    elf: &Path,
    input: &[u8],
    limit: Duration,
    arguments: &[OsString],
) -> Result<Run> {
    keep(|on_event| run_with(board, elf, input, limit, arguments, on_event), |_| ())
}

/// [`capture`], with every event shown as it happens.
pub fn watch(
    board: &Board,
    elf: &Path,
    input: &[u8],
    limit: Duration,
    show: impl FnMut(&Event),
) -> Result<Run> {
    keep(|on_event| run(board, elf, input, limit, on_event), show)
}

/// Keeps the events of a run, each of which is shown first.
fn keep(run: impl FnOnce(&mut dyn FnMut(Event)) -> Result<i32>, mut show: impl FnMut(&Event)) -> Result<Run> {
    let (mut output, mut logs) = (Vec::new(), Vec::new());
    let exit_code = run(&mut |event| {
        show(&event);
        match event {
            Event::Output(bytes) => output.extend(bytes),
            Event::Log(log) => logs.push(log),
        }
    })?;
    Ok(Run { output, logs, exit_code })
}

fn start(board: &Board, elf: &Path, uart: SocketAddr, arguments: &[OsString]) -> Result<Child> {
    let qemu = &board.qemu;
    Command::new(&qemu.binary)
        .args(["-machine", &qemu.machine])
        .args(&qemu.args)
        .args(["-display", "none", "-monitor", "none"])
        .args(["-chardev", &format!("socket,id=uart,host={},port={}", uart.ip(), uart.port())])
        .args(["-serial", "chardev:uart"])
        .args(["-semihosting-config", "enable=on,target=native"])
        // Every instruction takes 64 ns of virtual time, which makes runs repeatable and instructions countable.
        .args(["-icount", "shift=6"])
        .args(arguments)
        .arg("-kernel")
        .arg(elf)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}; `cargo xtask setup` installs it", qemu.binary))
}

/// Hands over what the threads send until both are done. False where the deadline came first.
fn hand_over(received: Receiver<Event>, deadline: Instant, on_event: &mut impl FnMut(Event)) -> bool {
    loop {
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => on_event(event),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// Sends the input to the serial port and forwards what comes back.
fn serve_uart(listener: &TcpListener, input: &[u8], events: Sender<Event>) {
    let Ok((mut uart, _)) = listener.accept() else {
        return;
    };
    // A program that ends before it has read everything has closed the connection, which is no error.
    let _ = uart.write_all(input);
    forward(&mut uart, |bytes| events.send(Event::Output(bytes.to_vec())).is_ok());
}

/// Decodes the log and forwards its messages.
fn decode_logs(stdout: &mut impl Read, table: &Table, events: Sender<Event>) {
    let mut decoder = table.new_stream_decoder();
    forward(stdout, |bytes| {
        decoder.received(bytes);
        loop {
            let log = match decoder.decode() {
                Ok(frame) => Log {
                    level: frame.level().map_or("", |level| level.as_str()),
                    message: frame.display_message().to_string(),
                },
                Err(DecodeError::UnexpectedEof) => return true,
                Err(DecodeError::Malformed) => {
                    Log { level: "error", message: "a malformed frame in the log".to_owned() }
                }
            };
            if events.send(Event::Log(log)).is_err() {
                return false;
            }
        }
    });
}

/// Gives `sink` what `source` yields, until either wants no more.
fn forward(source: &mut impl Read, mut sink: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = source.read(&mut buffer) {
        if !sink(&buffer[..n]) {
            break;
        }
    }
}

/// A process that does not outlive its owner.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It has ended already, except where an error cut the run short.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
