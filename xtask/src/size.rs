//! How much flash and RAM the firmware takes on each board.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use object::{
    Object, ObjectSection, SectionFlags, SectionKind,
    elf::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE},
};

use crate::firmware;

/// Shows how much flash and RAM a program takes on each board
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The program
    #[arg(default_value = "story")]
    program: String,
}

impl Args {
    /// Builds the program for every board and prints a table.
    pub fn run(&self) -> Result<()> {
        println!("{:14} {:>8} {:>10} {:>8} {:>8}", "board", "code", "read-only", "flash", "RAM");
        for board in boards::all() {
            let elf = firmware::build(board, &self.program, &[])?;
            let size = Size::of(&elf)?;
            println!(
                "{:14} {:8} {:10} {:8} {:8}",
                board.name, size.code, size.read_only, size.flash, size.ram
            );
        }
        Ok(())
    }
}

/// What a program takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Machine code.
    pub code: u64,
    /// Constants, the model among them.
    pub read_only: u64,
    /// Everything in flash: code, constants and the initial values of variables.
    pub flash: u64,
    /// Variables. The stack comes on top.
    pub ram: u64,
}

impl Size {
    /// Reads it from the program's ELF file.
    pub fn of(elf: &Path) -> Result<Self> {
        let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let file = object::File::parse(&*bytes)?;
        let mut size = Self::default();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                bail!("{} is no ELF file", elf.display());
            };
            // RISC-V's linker script makes what RAM is left over a section.
            if sh_flags & u64::from(SHF_ALLOC) == 0 || section.name()? == ".stack" {
                continue;
            }
            let bytes = section.size();
            let writable = sh_flags & u64::from(SHF_WRITE) != 0;
            if writable {
                size.ram += bytes;
            } else if sh_flags & u64::from(SHF_EXECINSTR) != 0 {
                size.code += bytes;
            } else {
                size.read_only += bytes;
            }
            if section.kind() != SectionKind::UninitializedData {
                size.flash += bytes;
            }
        }
        Ok(size)
    }
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_apart() {
        let texts = [0, 999, 1_000, 1_234_567].map(super::thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
