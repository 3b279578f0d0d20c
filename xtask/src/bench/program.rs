//! A program's ELF file: where its functions lie, and which functions each address comes from.

use std::{borrow::Cow, fmt, fs, path::Path};

use addr2line::{
    Context as Frames,
    gimli::{Dwarf, EndianSlice, RunTimeEndian},
};
use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use super::parts;

/// A program.
pub struct Program {
    /// Whether the model's matrices lie in tiles, see [`parts::part`].
    in_tiles: bool,
    functions: Vec<Function>,
    /// Where machine code begins, and its bytes.
    text: Vec<(u64, Vec<u8>)>,
    frames: Frames<EndianSlice<'static, RunTimeEndian>>,
}

/// A function, as the linker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Function {
    start: u64,
    size: u64,
    name: String,
}

/// What an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function that says what is done there: the innermost that has a part, else the linker's.
    pub name: String,
    /// The part of a transformer.
    pub part: &'static str,
    /// Whether a function of that name begins there.
    pub is_entry: bool,
    /// Whether it is the runtime's and has no part.
    pub is_unknown: bool,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("functions", &self.functions.len()).finish_non_exhaustive()
    }
}

impl Program {
    /// Reads a program whose model's matrices lie in tiles, or as rows.
    pub fn read(elf: &Path, in_tiles: bool) -> Result<Self> {
        let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        // Never given back: there is one per machine, and the debug information borrows it.
        let file = object::File::parse(&*bytes.leak())?;
        let mut functions: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .map(|symbol| {
                let name = symbol.name()?;
                let name = addr2line::demangle_auto(Cow::from(name), None).into_owned();
                // Thumb marks its functions by an odd address.
                Ok(Function { start: symbol.address() & !1, size: symbol.size(), name })
            })
            .collect::<Result<_>>()?;
        functions.sort_by(|a: &Function, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        let text = file
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .map(|section| Ok((section.address(), section.data()?.to_vec())))
            .collect::<Result<_>>()?;
        let dwarf = Dwarf::load(|id| {
            let data = file.section_by_name(id.name()).map(|section| section.data()).transpose()?;
            Ok::<_, object::Error>(EndianSlice::new(data.unwrap_or_default(), RunTimeEndian::Little))
        })?;
        let frames = Frames::from_dwarf(dwarf)
            .with_context(|| format!("{} has no debug information that can be read", elf.display()))?;
        Ok(Self { in_tiles, functions, text, frames })
    }

    /// The address of the function of this name.
    pub fn address(&self, name: &str) -> Result<u64> {
        let mut functions = self.functions.iter();
        let function = functions.find(|function| function.name == name);
        Ok(function.with_context(|| format!("the program has no function {name}"))?.start)
    }

    /// The two halfwords at an address, as far as there is code.
    pub fn halfwords(&self, address: u64) -> Option<(u16, u16)> {
        let (start, bytes) = self
            .text
            .iter()
            .find(|(start, bytes)| (*start..start + bytes.len() as u64).contains(&address))?;
        let at = (address - start) as usize;
        let half = |at| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        Some((half(at)?, half(at + 2).unwrap_or_default()))
    }

    /// What an address belongs to.
    pub fn place(&self, address: u64) -> Place {
        let inlined = self.inlined(address);
        let linked = self.function(address);
        let names = || inlined.iter().chain(linked.map(|function| &function.name)).map(String::as_str);
        let found = parts::part(names(), self.in_tiles);
        let is_unknown = found.is_none() && names().any(parts::is_ours);
        let (name, part) = found.unwrap_or((linked.map_or("?", |f| &f.name), parts::OTHER));
        let name = name.split("::{{closure}}").next().unwrap_or(name);
        let is_entry = linked.is_some_and(|f| f.start == address && f.name == name);
        Place { name: name.to_owned(), part, is_entry, is_unknown }
    }

    /// The bytes of machine code of each part, in the order of [`parts::PARTS`].
    pub fn code(&self) -> Vec<(&'static str, u64)> {
        let mut code = parts::PARTS.map(|part| (part, 0));
        let mut counted = 0;
        for function in &self.functions {
            // Two names for the same code count once. Data between functions has no name and is not code.
            for address in (function.start.max(counted)..function.start + function.size).step_by(2) {
                let part = self.place(address).part;
                if let Some((_, bytes)) = code.iter_mut().find(|(name, _)| *name == part) {
                    *bytes += 2;
                }
            }
            counted = counted.max(function.start + function.size);
        }
        code.to_vec()
    }

    fn function(&self, address: u64) -> Option<&Function> {
        let before = self.functions.partition_point(|function| function.start <= address);
        let function = self.functions[..before].last()?;
        (address < function.start + function.size).then_some(function)
    }

    /// The functions that the compiler made this instruction of, the innermost first. None for assembly.
    fn inlined(&self, address: u64) -> Vec<String> {
        let mut names = Vec::new();
        if let Ok(mut frames) = self.frames.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = frames.next() {
                names.extend(frame.function.and_then(|f| Some(f.demangle().ok()?.into_owned())));
            }
        }
        names
    }
}
