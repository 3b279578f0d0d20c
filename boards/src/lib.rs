//! The machines that the firmware runs on, as `firmware/boards.toml` lists them.
//!
//! Everyone who needs to know a machine asks here: the firmware's build script (memory.x, registers), the runner (QEMU), the
//! tests, and `thumbformer inspect` (which machines a model fits).

use std::sync::LazyLock;

use serde::Deserialize;

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The name by which `--board` and `THUMBFORMER_BOARD` know it.
    pub name: String,
    /// The processor core, as its maker writes it.
    pub core: String,
    /// The target triple.
    pub target: String,
    /// The value of `-C target-cpu`.
    pub cpu: String,
    /// The value of `thumbformer export --target`: the order of matrices that its kernels are fastest with.
    pub pack: String,
    /// How QEMU emulates it.
    pub qemu: Qemu,
    /// Where code and model lie.
    pub flash: Memory,
    /// Where variables and the stack lie.
    pub ram: Memory,
    /// The serial port.
    pub uart: Uart,
    /// What counts instructions.
    pub counter: Counter,
    /// What is worth knowing about it.
    pub note: String,
}

impl Board {
    /// The linker's script with the machine's memory.
    pub fn memory_x(&self) -> String {
        let Self { flash, ram, .. } = self;
        let mut script = format!(
            "MEMORY {{\n  FLASH : ORIGIN = {:#010x}, LENGTH = {}K\n  RAM : ORIGIN = {:#010x}, LENGTH = {}K\n}}\n",
            flash.origin, flash.kib, ram.origin, ram.kib
        );
        if self.target.starts_with("riscv") {
            for (region, memory) in [
                ("TEXT", "FLASH"),
                ("RODATA", "FLASH"),
                ("DATA", "RAM"),
                ("BSS", "RAM"),
                ("HEAP", "RAM"),
                ("STACK", "RAM"),
            ] {
                script += &format!("REGION_ALIAS(\"REGION_{region}\", {memory});\n");
            }
            // Nothing unwinds; Cortex-M's linker script knows that by itself.
            script += "SECTIONS { /DISCARD/ : { *(.eh_frame .eh_frame.*) } }\n";
        }
        script
    }
}

/// How QEMU emulates a machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    /// The program, such as `qemu-system-arm`.
    pub binary: String,
    /// The value of `-machine`.
    pub machine: String,
    /// Further arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

/// A span of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The first address.
    pub origin: u32,
    /// The length in KiB.
    pub kib: u32,
}

impl Memory {
    /// The length in bytes.
    pub const fn len(self) -> u64 {
        self.kib as u64 * 1024
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.kib == 0
    }
}

/// A serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uart {
    /// Which driver it needs.
    pub kind: UartKind,
    /// The address of its registers.
    pub base: u32,
}

/// The serial ports that the firmware has drivers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UartKind {
    /// Arm's Cortex-M System Design Kit, on the MPS boards.
    Cmsdk,
    /// Nordic's nRF51.
    Nrf51,
    /// The PC's 16550.
    Ns16550,
}

/// What counts instructions on a machine under `-icount shift=6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Counter {
    /// The 24-bit timer of every Cortex-M.
    SysTick {
        /// Its clock.
        systick_hz: u32,
    },
    /// RISC-V's counter of retired instructions.
    MInstRet(MInstRet),
}

/// The word `minstret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MInstRet {
    /// RISC-V's counter of retired instructions.
    MInstRet,
}

/// Bytes of flash that a program takes beside the model, at most; the `story` firmware takes 65,768 on
/// the microbit.
pub const PROGRAM_FLASH: u64 = 72 * 1024;
/// Bytes of RAM that a program takes beside the workspace, at most: stack and variables, of which the `story` firmware
/// has been seen to use 3,148 on the microbit and less elsewhere.
pub const PROGRAM_RAM: u64 = 4 * 1024;

/// The machine that is meant where none is named.
pub const DEFAULT: &str = "mps2-an386";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    board: Vec<Board>,
    bench: Vec<Board>,
}

static FILE: LazyLock<File> = LazyLock::new(|| {
    toml::from_str(include_str!("../../firmware/boards.toml")).expect("firmware/boards.toml is well formed")
});

/// Every machine, in the order of boards.toml.
pub fn all() -> &'static [Board] {
    &FILE.board
}

/// The machines that serve counting only.
pub fn bench() -> &'static [Board] {
    &FILE.bench
}

/// The machine of this name, be it one for counting only.
pub fn find(name: &str) -> Result<&'static Board, UnknownBoard> {
    let mut every = all().iter().chain(bench());
    every.find(|board| board.name == name).ok_or_else(|| UnknownBoard(name.to_owned()))
}

/// The machine that a build for `target` is meant for where none is named: the default if it has this target, else the
/// first that has.
pub fn for_target(target: &str) -> Option<&'static Board> {
    let mut boards = all().iter().filter(|board| board.target == target);
    let first = boards.next();
    boards.find(|board| board.name == DEFAULT).or(first)
}

/// No machine has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBoard(String);

impl std::fmt::Display for UnknownBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no board {:?}; boards.toml has", self.0)?;
        for board in all().iter().chain(bench()) {
            write!(f, " {}", board.name)?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownBoard {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_exists_and_names_are_unique() {
        assert!(find(DEFAULT).is_ok());
        for board in all().iter().chain(bench()) {
            assert_eq!(find(&board.name), Ok(board));
        }
    }

    #[test]
    fn a_target_alone_finds_a_board() {
        for board in all() {
            assert_eq!(for_target(&board.target).unwrap().target, board.target);
        }
        assert_eq!(for_target("thumbv7em-none-eabihf").unwrap().name, DEFAULT);
        assert_eq!(for_target("x86_64-unknown-linux-gnu"), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = find("an386").unwrap_err().to_string();
        assert!(message.contains("\"an386\"") && message.contains("mps2-an386"));
    }
}
