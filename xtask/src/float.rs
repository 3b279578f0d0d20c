//! Looks for floating point in a program: calls of soft-float routines, and instructions of the FPU.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind};

/// Routines that compilers call where a processor has no FPU: Arm's names, and those of libgcc.
const SOFT_FLOAT: [&str; 20] = [
    "__aeabi_f",
    "__aeabi_d",
    "__aeabi_cf",
    "__aeabi_cd",
    "__aeabi_i2f",
    "__aeabi_i2d",
    "__aeabi_ui2",
    "__aeabi_l2f",
    "__aeabi_l2d",
    "__aeabi_ul2",
    "__addsf3",
    "__subsf3",
    "__mulsf3",
    "__divsf3",
    "__adddf3",
    "__subdf3",
    "__muldf3",
    "__divdf3",
    "__floatsisf",
    "__fixsfsi",
];

/// An error that names the floating point that a program has.
///
/// The FPU's instructions are looked for on Arm, where they are those for coprocessors 10 and 11. Helium shares these
/// encodings, so that `vectors` leaves them out.
pub fn check(elf: &Path, vectors: bool) -> Result<()> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let file = object::File::parse(&*bytes)?;
    let routine = |name: &str| SOFT_FLOAT.iter().any(|start| name.starts_with(start));
    if let Some(name) = file.symbols().filter_map(|s| s.name().ok()).find(|name| routine(name)) {
        bail!("{}: calls the soft-float routine {name}", elf.display());
    }
    if file.architecture() != Architecture::Arm || vectors {
        return Ok(());
    }
    // $t and $d mark where code and data begin within a section.
    let mut marks: Vec<(u64, bool)> = file
        .symbols()
        .filter_map(|s| match s.name().ok()?.get(..2)? {
            "$t" => Some((s.address(), true)),
            "$d" => Some((s.address(), false)),
            _ => None,
        })
        .collect();
    marks.sort_unstable();
    let is_code = |address: u64| match marks.partition_point(|&(at, _)| at <= address) {
        0 => false,
        n => marks[n - 1].1,
    };
    for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        let data = section.data()?;
        let half = |at: usize| data.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let mut at = 0;
        while at + 1 < data.len() {
            let address = section.address() + at as u64;
            let (first, second) = (half(at), half(at + 2));
            let wide = first >> 11 >= 0b11101;
            if is_code(address) && wide && is_fpu(first, second) {
                bail!("{}: an instruction of the FPU at {address:#x}", elf.display());
            }
            at += if wide && is_code(address) { 4 } else { 2 };
        }
    }
    Ok(())
}

/// Whether a wide instruction is one for coprocessor 10 or 11 (Armv7-M Architecture Reference Manual, A5.3.18).
fn is_fpu(first: u16, second: u16) -> bool {
    first & 0xec00 == 0xec00 && matches!(second >> 8 & 15, 10 | 11)
}

#[cfg(test)]
mod tests {
    use super::is_fpu;

    #[test]
    fn instructions_are_told_apart() {
        assert!(is_fpu(0xee30, 0x0a20), "vadd.f32 s0, s0, s1");
        assert!(is_fpu(0xed2d, 0x8b02), "vpush {{d8}}");
        assert!(!is_fpu(0xfb22, 0x0301), "smlad r3, r2, r1, r0");
        assert!(!is_fpu(0xe92d, 0x4ff0), "push.w {{r4-r11, lr}}");
        assert!(!is_fpu(0xea4f, 0x0a01), "mov.w r10, r1");
    }
}
