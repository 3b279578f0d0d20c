//! A program as functions of decoded instructions.

use std::{borrow::Cow, collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use super::{
    instruction::{Instruction, Stack},
    riscv, thumb,
};

/// A program.
#[derive(Debug)]
pub struct Program {
    /// Its functions, by address.
    pub functions: Vec<Function>,
    /// The functions whose addresses lie among the constants and variables.
    pub in_data: BTreeSet<usize>,
    /// The names of all symbols, as one reads them.
    pub symbols: BTreeSet<String>,
}

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name, as one reads it.
    pub name: String,
    /// The address of its first instruction.
    pub start: u64,
    end: u64,
    /// Its instructions, by address.
    pub code: Vec<(u64, Instruction)>,
    /// The addresses that it computes or loads.
    constants: BTreeSet<u64>,
    /// The functions whose addresses it takes.
    pub takes: BTreeSet<usize>,
}

impl Program {
    /// Reads an ELF file for Thumb or RV32.
    pub fn read(elf: &Path) -> Result<Self> {
        let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let file = object::File::parse(&*bytes)?;
        let is_thumb = match file.architecture() {
            Architecture::Arm => true,
            Architecture::Riscv32 => false,
            other => bail!("{}: found a program for {other:?}, wanted Arm or RV32", elf.display()),
        };
        let mut image = Image { text: Vec::new(), marks: Vec::new() };
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            image.text.push((section.address(), section.data()?.to_vec()));
        }
        let (mut functions, mut symbols): (Vec<Function>, _) = (Vec::new(), BTreeSet::new());
        for symbol in file.symbols() {
            let name = symbol.name().unwrap_or_default();
            if let Some(mark) = name.get(..2).filter(|mark| matches!(*mark, "$t" | "$x" | "$d")) {
                image.marks.push((symbol.address(), mark != "$d"));
                continue;
            }
            if !symbol.is_undefined() {
                symbols.insert(readable(name));
            }
            if symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
                let start = if is_thumb { symbol.address() & !1 } else { symbol.address() };
                functions.push(Function {
                    name: readable(name),
                    start,
                    end: start + symbol.size(),
                    code: Vec::new(),
                    constants: BTreeSet::new(),
                    takes: BTreeSet::new(),
                });
            }
        }
        image.marks.sort_unstable();
        // Of several names for the same code, an entry's is the one to keep.
        functions.sort_by_key(|f| (f.start, !f.name.starts_with(super::ENTRY), f.name.clone()));
        functions.dedup_by_key(|function| function.start);
        for function in &mut functions {
            if is_thumb { image.thumb(function)? } else { image.riscv(function)? }
        }
        let at = |address: u64| {
            let start = if is_thumb && address & 1 == 1 { address - 1 } else { address };
            let is_pointer = !is_thumb || address & 1 == 1;
            functions.binary_search_by_key(&start, |function| function.start).ok().filter(|_| is_pointer)
        };
        let takes: Vec<BTreeSet<usize>> = functions
            .iter()
            .map(|f| f.constants.iter().filter_map(|&address| at(address)).collect())
            .collect();
        let mut in_data = BTreeSet::new();
        for section in file.sections() {
            let is_data = matches!(section.kind(), SectionKind::ReadOnlyData | SectionKind::Data);
            // The vector table is the processor's, not the program's.
            if is_data && !section.name()?.contains("vector") {
                let words = section.data()?.chunks_exact(4).filter_map(|word| word.try_into().ok());
                in_data.extend(words.filter_map(|word| at(u64::from(u32::from_le_bytes(word)))));
            }
        }
        for (function, takes) in functions.iter_mut().zip(takes) {
            function.takes = takes;
        }
        Ok(Self { functions, in_data, symbols })
    }

    /// The function that begins at an address.
    pub fn at(&self, address: u64) -> Option<usize> {
        self.functions.binary_search_by_key(&address, |function| function.start).ok()
    }
}

impl Function {
    /// The place of an address among its instructions.
    pub fn index(&self, address: u64) -> Option<usize> {
        self.code.binary_search_by_key(&address, |(at, _)| *at).ok()
    }
}

/// A name without mangling and without the compiler's hash.
fn readable(name: &str) -> String {
    let name = addr2line::demangle_auto(Cow::from(name), None).into_owned();
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            rest.to_owned()
        }
        _ => name,
    }
}

/// The register that an instruction of Thumb sets, and how far below the frame pointer.
fn below_frame(first: u16, below: &[Option<(i64, usize)>; 8]) -> Option<(usize, i64)> {
    let (low, from) = (usize::from(first & 7), usize::from(first >> 3 & 7));
    match first {
        // subs from r7
        0x1e00..=0x1fff if from == 7 => Some((low, i64::from(first >> 6 & 7))),
        // subs from itself
        0x3800..=0x3fff => {
            let register = usize::from(first >> 8 & 7);
            Some((register, below[register]?.0 + i64::from(first & 0xff)))
        }
        _ => None,
    }
}

/// The machine code.
struct Image {
    text: Vec<(u64, Vec<u8>)>,
    /// Where code begins, and data between it.
    marks: Vec<(u64, bool)>,
}

impl Image {
    fn half(&self, address: u64) -> Option<u16> {
        let (start, bytes) = self.text.iter().rev().find(|(start, _)| *start <= address)?;
        let at = usize::try_from(address - start).ok()?;
        Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
    }

    fn word(&self, address: u64) -> Option<u32> {
        Some(u32::from(self.half(address)?) | u32::from(self.half(address + 2)?) << 16)
    }

    /// Calls `each` with the address and the halfwords of each instruction; it returns how long that is.
    fn walk(&self, function: &Function, mut each: impl FnMut(u64, u16, u16) -> u64) -> Result<()> {
        let mut address = function.start;
        while address < function.end {
            let mark = self.marks.partition_point(|&(at, _)| at <= address);
            if mark > 0 && !self.marks[mark - 1].1 {
                address = self.marks.get(mark).map_or(function.end, |&(at, _)| at);
                continue;
            }
            let next_is_data = self.marks.get(mark).is_some_and(|&(at, code)| at == address + 2 && !code);
            let first =
                self.half(address).with_context(|| format!("{}: no code at {address:#x}", function.name))?;
            if matches!(first, 0x46c0 | 0xbf00) && (next_is_data || address + 2 == function.end) {
                // Fills up.
                address += 2;
                continue;
            }
            address += each(address, first, self.half(address + 2).unwrap_or_default());
        }
        Ok(())
    }

    fn thumb(&self, function: &mut Function) -> Result<()> {
        let (mut code, mut constants) = (Vec::new(), BTreeSet::new());
        // What a register was last loaded with, and by which instruction.
        let mut loaded = [None::<(u32, usize)>; 16];
        // How far below the frame pointer r7 a register was last set, and by which instruction.
        let mut below = [None::<(i64, usize)>; 8];
        let mut conditional = 0;
        self.walk(function, |address, first, second| {
            let mut instruction = thumb::decode(address, first, second);
            if let Some((register, value)) = self.thumb_constant(address, first, second, &loaded) {
                constants.insert(u64::from(value));
                loaded[register] = Some((value, code.len()));
            }
            let place = code.len();
            let recent = |by: usize| by + 3 >= place;
            if let Some((register, bytes)) = below_frame(first, &below) {
                below[register] = Some((bytes, place));
            }
            if let Stack::By(Some(register)) = instruction.stack {
                let register = usize::from(register);
                instruction.stack = match (first & 0xff00, loaded[register], below.get(register)) {
                    // A frame that is larger than an instruction can say was loaded just before,
                    (0x4400, Some((value, by)), _) if recent(by) => Stack::Grows(-i64::from(value as i32)),
                    // and is given back by way of the frame pointer.
                    (0x4600, _, Some(&Some((bytes, by)))) if recent(by) => Stack::ToFrame(bytes),
                    _ => instruction.stack,
                };
            }
            if conditional > 0 {
                instruction = instruction.conditional();
                conditional -= 1;
            } else {
                conditional = thumb::it_covers(first);
            }
            code.push((address, instruction));
            instruction.len
        })?;
        (function.code, function.constants) = (code, constants);
        Ok(())
    }

    /// The constant that an instruction leaves in a register.
    fn thumb_constant(
        &self,
        address: u64,
        first: u16,
        second: u16,
        loaded: &[Option<(u32, usize)>; 16],
    ) -> Option<(usize, u32)> {
        let base = (address + 4) & !3;
        let sixteen = u32::from(first & 15) << 12
            | u32::from(first >> 10 & 1) << 11
            | u32::from(second >> 12 & 7) << 8
            | u32::from(second & 0xff);
        let (narrow, wide) = (usize::from(first >> 8 & 7), usize::from(second >> 8 & 15));
        Some(match first {
            // ldr from behind the code
            0x4800..=0x4fff => (narrow, self.word(base + 4 * u64::from(first & 0xff))?),
            0xf8df => (usize::from(second >> 12), self.word(base + u64::from(second & 0xfff))?),
            0xf85f => (usize::from(second >> 12), self.word(base - u64::from(second & 0xfff))?),
            // adr
            0xa000..=0xa7ff => (narrow, base as u32 + 4 * u32::from(first & 0xff)),
            0xf20f | 0xf60f => (wide, base as u32 + (sixteen & 0xfff)),
            0xf2af | 0xf6af => (wide, base as u32 - (sixteen & 0xfff)),
            // movw, movt
            _ if first & 0xfbf0 == 0xf240 && second >> 15 == 0 => (wide, sixteen),
            _ if first & 0xfbf0 == 0xf2c0 && second >> 15 == 0 => {
                (wide, sixteen << 16 | loaded[wide]?.0 & 0xffff)
            }
            _ => return None,
        })
    }

    fn riscv(&self, function: &mut Function) -> Result<()> {
        let (mut code, mut constants) = (Vec::new(), BTreeSet::new());
        let (mut upper, mut uppers) = (None, [None::<u64>; 32]);
        self.walk(function, |address, first, second| {
            let instruction = riscv::decode(address, first, second, upper);
            let word = u32::from(first) | u32::from(second) << 16;
            // addi
            if let (true, Some(start)) = (word & 0x707f == 0x13, uppers[(word >> 15 & 31) as usize]) {
                constants.insert(u64::from(start.wrapping_add_signed(riscv::immediate(word)) as u32));
            }
            upper = if riscv::is_wide(first) { riscv::upper(address, first, second) } else { None };
            if let Some((register, start)) = upper {
                uppers[register as usize] = Some(start);
            } else if word & 0x7f == 0x37 {
                uppers[(word >> 7 & 31) as usize] = Some(u64::from(word & !0xfff));
            }
            code.push((address, instruction));
            instruction.len
        })?;
        (function.code, function.constants) = (code, constants);
        Ok(())
    }
}
