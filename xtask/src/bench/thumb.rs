//! Lengths and classes of Thumb instructions (Armv7-M Architecture Reference Manual, chapter A5).

/// What an instruction does, as far as its time depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Moves, arithmetic, shifts, bit fields, hints.
    Simple,
    /// One load.
    Load,
    /// One store.
    Store,
    /// LDM, LDRD, POP: this many words.
    Loads(u32),
    /// STM, STRD, PUSH: this many words.
    Stores(u32),
    /// MUL.
    Multiply,
    /// MLA, MLS and the products of the DSP extension.
    MultiplyAdd,
    /// SMULL, UMULL.
    MultiplyLong,
    /// SMLAL, UMLAL and their kind.
    MultiplyAddLong,
    /// SDIV, UDIV.
    Divide,
    /// A branch to a fixed place, conditional or not.
    Branch,
    /// BL.
    Call,
    /// BX, BLX, or an ADD or MOV to the program counter.
    BranchRegister,
    /// LDM or POP of this many words, the program counter among them.
    LoadsAndBranch(u32),
    /// LDR to the program counter, TBB, TBH.
    LoadAndBranch,
    /// MRS, MSR, barriers, SVC.
    System,
    /// The floating-point unit, Helium and other coprocessors.
    Coprocessor,
}

/// An instruction's length in bytes.
pub const fn length(first: u16) -> u64 {
    if first >> 11 >= 0b11101 { 4 } else { 2 }
}

/// The class of the instruction that begins with these halfwords.
pub fn class(first: u16, second: u16) -> Class {
    if length(first) == 2 { narrow(first) } else { wide(first, second) }
}

fn narrow(x: u16) -> Class {
    use Class::*;
    match x >> 12 {
        0..=3 => Simple,
        4 => match x >> 8 & 15 {
            0..=3 if x >> 6 & 15 == 13 => Multiply,
            0..=3 => Simple,
            // ADD and MOV with any registers
            4 | 6 if x & 0x87 == 0x87 => BranchRegister,
            4..=6 => Simple,
            7 => BranchRegister,
            _ => Load,
        },
        5 => {
            if x >> 9 & 7 < 3 {
                Store
            } else {
                Load
            }
        }
        6..=9 => {
            if x & 1 << 11 != 0 {
                Load
            } else {
                Store
            }
        }
        10 => Simple,
        11 => match x >> 8 & 15 {
            4 | 5 => Stores((x & 0x1ff).count_ones()),
            12 => Loads((x & 0xff).count_ones()),
            13 => LoadsAndBranch((x & 0x1ff).count_ones()),
            1 | 3 | 9 | 11 => Branch, // CBZ, CBNZ
            6 if x >> 5 & 7 == 3 => System,
            _ => Simple,
        },
        12 => {
            let n = (x & 0xff).count_ones();
            if x & 1 << 11 != 0 { Loads(n) } else { Stores(n) }
        }
        13 if x >> 8 & 15 >= 14 => System,
        _ => Branch,
    }
}

fn wide(first: u16, second: u16) -> Class {
    use Class::*;
    let load = first & 1 << 4 != 0;
    match (first >> 11 & 3, first >> 4 & 0x7f) {
        (1, op) if op & 0x64 == 0 => {
            let n = second.count_ones();
            match (load, second >> 15) {
                (true, 1) => LoadsAndBranch(n),
                (true, _) => Loads(n),
                (false, _) => Stores(n),
            }
        }
        (1, op) if op & 0x64 == 4 => match (first & 0x120 != 0, load) {
            (true, true) => Loads(2),
            (true, false) => Stores(2),
            (false, true) if first & 0xfff0 == 0xe8d0 && second & 0xffe0 == 0xf000 => LoadAndBranch,
            (false, true) => Load,
            (false, false) => Store,
        },
        (1, op) if op & 0x60 == 0x20 => Simple,
        (2, _) if second >> 15 == 0 => Simple,
        (2, op) => match second >> 12 & 5 {
            0 if op >> 3 & 7 == 7 => System,
            5 => Call,
            _ => Branch,
        },
        (3, op) if op & 0x71 == 0 => Store,
        (3, op) if op & 0x61 == 1 && op & 6 != 6 => match (second >> 12, op & 6) {
            (15, 4) => LoadAndBranch,
            (15, _) => Simple, // hints
            _ => Load,
        },
        (3, op) if op & 0x70 == 0x20 => Simple,
        (3, op) if op & 0x78 == 0x30 => {
            // The accumulator's field says "none" in MUL.
            let plain = op & 7 == 0 && second >> 12 == 15 && second >> 4 & 15 == 0;
            if plain { Multiply } else { MultiplyAdd }
        }
        (3, op) if op & 0x78 == 0x38 => match op & 7 {
            0 | 2 => MultiplyLong,
            1 | 3 => Divide,
            _ => MultiplyAddLong,
        },
        _ => Coprocessor,
    }
}

#[cfg(test)]
mod tests {
    use super::Class::*;
    use super::*;

    #[test]
    fn narrow_instructions_are_told_apart() {
        for (code, wanted, text) in [
            (0x2000, Simple, "movs r0, #0"),
            (0x4348, Multiply, "muls r0, r1, r0"),
            (0x4308, Simple, "orrs r0, r1"),
            (0x4487, BranchRegister, "add pc, r0"),
            (0x46f7, BranchRegister, "mov pc, lr"),
            (0x4610, Simple, "mov r0, r2"),
            (0x4770, BranchRegister, "bx lr"),
            (0x4780, BranchRegister, "blx r0"),
            (0x4801, Load, "ldr r0, [pc, #4]"),
            (0x5081, Store, "str r1, [r0, r2]"),
            (0x5681, Load, "ldrsb r1, [r0, r2]"),
            (0x6801, Load, "ldr r1, [r0]"),
            (0x7001, Store, "strb r1, [r0]"),
            (0x9801, Load, "ldr r0, [sp, #4]"),
            (0xb5f0, Stores(5), "push {r4-r7, lr}"),
            (0xbc30, Loads(2), "pop {r4, r5}"),
            (0xbdf0, LoadsAndBranch(5), "pop {r4-r7, pc}"),
            (0xb108, Branch, "cbz r0, ."),
            (0xb2c0, Simple, "uxtb r0, r0"),
            (0xbf08, Simple, "it eq"),
            (0xb672, System, "cpsid i"),
            (0xc80e, Loads(3), "ldm r0!, {r1-r3}"),
            (0xc00e, Stores(3), "stm r0!, {r1-r3}"),
            (0xd1fd, Branch, "bne ."),
            (0xdf00, System, "svc #0"),
            (0xe7fe, Branch, "b ."),
        ] {
            assert_eq!((length(code), class(code, 0)), (2, wanted), "{text}");
        }
    }

    #[test]
    fn wide_instructions_are_told_apart() {
        for (first, second, wanted, text) in [
            (0xe92d, 0x4ff0, Stores(9), "push.w {r4-r11, lr}"),
            (0xe8bd, 0x8ff0, LoadsAndBranch(9), "pop.w {r4-r11, pc}"),
            (0xe893, 0x5c00, Loads(4), "ldm.w r3, {r10-r12, lr}"),
            (0xe9d0, 0x7800, Loads(2), "ldrd r7, r8, [r0]"),
            (0xe8f0, 0x7802, Loads(2), "ldrd r7, r8, [r0], #8"),
            (0xe9cd, 0x1400, Stores(2), "strd r1, r4, [sp]"),
            (0xe8df, 0xf001, LoadAndBranch, "tbb [pc, r1]"),
            (0xe850, 0x0f00, Load, "ldrex r0, [r0]"),
            (0xea4f, 0x0a01, Simple, "mov.w r10, r1"),
            (0xf240, 0x1023, Simple, "movw r0, #0x123"),
            (0xf3c0, 0x0107, Simple, "ubfx r1, r0, #0, #8"),
            (0xf000, 0xf801, Call, "bl ."),
            (0xf000, 0xb801, Branch, "b.w ."),
            (0xf040, 0x8001, Branch, "bne.w ."),
            (0xf3bf, 0x8f4f, System, "dsb sy"),
            (0xf8c0, 0x1000, Store, "str.w r1, [r0]"),
            (0xf850, 0x1b04, Load, "ldr r1, [r0], #4"),
            (0xf850, 0xf021, LoadAndBranch, "ldr.w pc, [r0, r1, lsl #2]"),
            (0xf931, 0x8b02, Load, "ldrsh r8, [r1], #2"),
            (0xf890, 0xf000, Simple, "pld [r0]"),
            (0xfa2f, 0xf987, Simple, "sxtb16 r9, r7"),
            (0xfab0, 0xf080, Simple, "clz r0, r0"),
            (0xfb00, 0xf001, Multiply, "mul r0, r0, r1"),
            (0xfb00, 0x2001, MultiplyAdd, "mla r0, r0, r1, r2"),
            (0xfb22, 0x0301, MultiplyAdd, "smlad r3, r2, r1, r0"),
            (0xfb80, 0x2301, MultiplyLong, "smull r2, r3, r0, r1"),
            (0xfba0, 0x2301, MultiplyLong, "umull r2, r3, r0, r1"),
            (0xfbe0, 0x2301, MultiplyAddLong, "umlal r2, r3, r0, r1"),
            (0xfbb0, 0xf0f1, Divide, "udiv r0, r0, r1"),
            (0xee30, 0x0a20, Coprocessor, "vadd.f32 s0, s0, s1"),
        ] {
            assert_eq!((length(first), class(first, second)), (4, wanted), "{text}");
        }
    }
}
