//! Decodes Thumb as far as flow of control and stack go: Armv6-M to Armv8.1-M (DDI 0419, DDI 0403, DDI 0553).

use super::instruction::{Flow, Instruction, Stack};

/// Whether an instruction that begins with this halfword has two.
pub fn is_wide(first: u16) -> bool {
    first >> 11 >= 0b11101
}

/// How many instructions an `it` puts under a condition; none where this is none.
pub fn it_covers(first: u16) -> u32 {
    if first >> 8 == 0xbf && first & 15 != 0 { 4 - (first & 15).trailing_zeros() } else { 0 }
}

/// The instruction at an address.
pub fn decode(address: u64, first: u16, second: u16) -> Instruction {
    if is_wide(first) { wide(address, first, second) } else { narrow(address, first) }
}

/// Bytes of the registers that a list has.
fn list(registers: u16) -> i64 {
    4 * i64::from(registers.count_ones())
}

/// A number of so many bits with its sign.
fn signed(value: u32, bits: u32) -> i64 {
    i64::from((value << (32 - bits)) as i32 >> (32 - bits))
}

fn narrow(address: u64, first: u16) -> Instruction {
    let plain = Instruction::plain(2);
    let to = |offset: i64| Flow::Branch(address.wrapping_add(4).wrapping_add_signed(offset));
    let (low, register) = (u32::from(first & 0xff), (first >> 3 & 15) as u8);
    match first {
        // push, pop
        0xb400..=0xb5ff => plain.grows(list(first & 0x1ff)),
        0xbc00..=0xbcff => plain.grows(-list(first & 0xff)),
        0xbd00..=0xbdff => plain.grows(-list(first & 0x1ff)).goes(Flow::Return),
        // add sp, #; sub sp, #
        0xb000..=0xb07f => plain.grows(-4 * i64::from(first & 0x7f)),
        0xb080..=0xb0ff => plain.grows(4 * i64::from(first & 0x7f)),
        // b<c>, udf, svc
        0xd000..=0xddff => plain.may_go(to(signed(low << 1, 9))),
        0xde00..=0xdeff => plain.goes(Flow::Next),
        // b
        0xe000..=0xe7ff => plain.goes(to(signed(u32::from(first & 0x7ff) << 1, 12))),
        // add r7, sp, #
        0xaf00..=0xafff => Instruction { stack: Stack::MarksFrame(4 * i64::from(low)), ..plain },
        // cbz, cbnz
        _ if first & 0xf500 == 0xb100 => {
            let offset = (first >> 3 & 0x1f) << 1 | (first >> 9 & 1) << 6;
            plain.may_go(to(i64::from(offset)))
        }
        // add and mov with pc or sp as their destination
        _ if first & 0xff87 == 0x4487 => plain.goes(Flow::Table),
        _ if first & 0xff87 == 0x4687 && register == 14 => plain.goes(Flow::Return),
        _ if first & 0xff87 == 0x4687 => plain.goes(Flow::Jump),
        _ if first & 0xff87 == 0x4485 => plain.by(Some(register)),
        _ if first & 0xff87 == 0x4685 => plain.by(Some(register)),
        // bx, blx
        _ if first & 0xff80 == 0x4700 && register == 14 => plain.goes(Flow::Return),
        _ if first & 0xff80 == 0x4700 => plain.goes(Flow::Jump),
        _ if first & 0xff80 == 0x4780 => plain.may_go(Flow::CallRegister),
        _ => plain,
    }
}

fn wide(address: u64, first: u16, second: u16) -> Instruction {
    let plain = Instruction::plain(4);
    let base = first & 15;
    // stm, ldm
    match first {
        0xe92d => return plain.grows(list(second)),
        0xe8bd if second >> 15 == 1 => return plain.grows(-list(second)).goes(Flow::Return),
        0xe8bd => return plain.grows(-list(second)),
        _ if first & 0xfe40 == 0xe800 && (base == 13 && first & 0x20 != 0) => return plain.by(None),
        _ if first & 0xfe50 == 0xe810 && second >> 15 == 1 => return plain.goes(Flow::Jump),
        _ if first == 0xe8df && second & 0xffe0 == 0xf000 => return plain.goes(Flow::Table),
        _ => {}
    }
    // ldrd, strd that change their base
    if first & 0xfe60 == 0xe860 && base == 13 {
        let offset = 4 * i64::from(second & 0xff);
        return plain.grows(if first & 0x80 == 0 { offset } else { -offset });
    }
    // ldr, str of a word or less
    if first >> 9 == 0b1111100 {
        let changes_base = first & 0x80 == 0 && second & 0x0900 == 0x0900;
        let offset = i64::from(second & 0xff);
        let grown = match (changes_base && base == 13, second & 0x0200 == 0) {
            (true, true) => plain.grows(offset),
            (true, false) => plain.grows(-offset),
            (false, _) => plain,
        };
        let to_pc = first & 0x70 == 0x50 && second >> 12 == 15;
        return match (to_pc, changes_base && base == 13) {
            (true, true) => grown.goes(Flow::Return),
            (true, false) => grown.goes(Flow::Jump),
            (false, _) => grown,
        };
    }
    // vpush, vpop and what else changes the base among loads and stores of the FPU and of Helium
    if first & 0xfe2f == 0xec2d {
        let is_multiple = matches!(second >> 8 & 15, 10 | 11);
        return match first & 0xffbf {
            0xed2d if is_multiple => plain.grows(4 * i64::from(second & 0xff)),
            0xecbd if is_multiple => plain.grows(-4 * i64::from(second & 0xff)),
            _ => plain.by(None),
        };
    }
    if first >> 11 == 0b11110 {
        return if second >> 15 == 1 { branch(address, first, second) } else { immediate(first, second) };
    }
    // Operations with registers alone
    if first >> 9 == 0b1110101 && second >> 8 & 15 == 13 {
        return plain.by(None);
    }
    plain
}

/// Branches, and what shares their encodings.
fn branch(address: u64, first: u16, second: u16) -> Instruction {
    let plain = Instruction::plain(4);
    let to = |offset: i64| address.wrapping_add(4).wrapping_add_signed(offset);
    let (s, j1, j2) = (u32::from(first >> 10 & 1), u32::from(second >> 13 & 1), u32::from(second >> 11 & 1));
    let low = u32::from(second & 0x7ff) << 1;
    match second & 0xd000 {
        0x9000 | 0xd000 => {
            let (i1, i2) = (1 ^ j1 ^ s, 1 ^ j2 ^ s);
            let offset = signed(s << 24 | i1 << 23 | i2 << 22 | u32::from(first & 0x3ff) << 12 | low, 25);
            if second & 0x4000 == 0 {
                plain.goes(Flow::Branch(to(offset)))
            } else {
                plain.may_go(Flow::Call(to(offset)))
            }
        }
        // Loops: le goes back, wls may skip.
        0xc000 if second & 0xf001 == 0xc001 => {
            let offset = i64::from(second >> 1 & 0x3ff) << 2 | i64::from(second >> 11 & 1) << 1;
            plain.may_go(Flow::Branch(to(if first & 15 == 15 { -offset } else { offset })))
        }
        0x8000 if first >> 6 & 14 != 14 => {
            let offset = s << 20 | j2 << 19 | j1 << 18 | u32::from(first & 0x3f) << 12 | low;
            plain.may_go(Flow::Branch(to(signed(offset, 21))))
        }
        // udf
        0x8000 if first & 0xfff0 == 0xf7f0 && second >> 12 == 10 => plain.goes(Flow::Next),
        // msr to a stack pointer
        0x8000 if first & 0xffe0 == 0xf380 && matches!(second & 0xff, 8 | 9) => plain.by(None),
        _ => plain,
    }
}

/// Operations with a constant, of which the stack pointer may be the destination.
fn immediate(first: u16, second: u16) -> Instruction {
    let plain = Instruction::plain(4);
    if second >> 8 & 15 != 13 {
        return plain;
    }
    let parts =
        u32::from(first >> 10 & 1) << 11 | u32::from(second >> 12 & 7) << 8 | u32::from(second & 0xff);
    match first & 0xfbff {
        0xf10d => plain.grows(-expanded(parts)),
        0xf1ad => plain.grows(expanded(parts)),
        0xf20d => plain.grows(-i64::from(parts)),
        0xf2ad => plain.grows(i64::from(parts)),
        _ => plain.by(None),
    }
}

/// The constant of an operation from its twelve bits.
fn expanded(parts: u32) -> i64 {
    let byte = parts & 0xff;
    i64::from(match parts >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte * 0x0101_0101,
        _ => (0x80 | parts & 0x7f).rotate_right(parts >> 7),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(words: &[u16]) -> Instruction {
        decode(0x100, words[0], words.get(1).copied().unwrap_or(0))
    }

    #[test]
    fn the_stack_pointer_is_followed() {
        for (words, grows) in [
            (&[0xb5f0][..], 20),        // push {r4-r7, lr}
            (&[0xb084], 16),            // sub sp, #16
            (&[0xb004], -16),           // add sp, #16
            (&[0xe92d, 0x4ff0], 36),    // push.w {r4-r11, lr}
            (&[0xf84d, 0x8d04], 4),     // str r8, [sp, #-4]!
            (&[0xf5ad, 0x6d80], 1024),  // sub.w sp, sp, #1024
            (&[0xf2ad, 0x4d04], 1028),  // subw sp, sp, #1028
            (&[0xf60d, 0x0d04], -2052), // addw sp, sp, #2052
            (&[0xed2d, 0x8b10], 64),    // vpush {d8-d15}
            (&[0xe96d, 0x4502], 8),     // strd r4, r5, [sp, #-8]!
        ] {
            assert_eq!(at(words).stack, Stack::Grows(grows), "{words:x?}");
        }
        assert_eq!(at(&[0x46bd]).stack, Stack::By(Some(7)), "mov sp, r7");
        assert_eq!(at(&[0xaf03]).stack, Stack::MarksFrame(12), "add r7, sp, #12");
        assert_eq!(at(&[0x44b5]).stack, Stack::By(Some(6)), "add sp, r6");
        assert_eq!(at(&[0xea4f, 0x0d04]).stack, Stack::By(None), "mov.w sp, r4");
        for words in [&[0x9801][..], &[0xf8dd, 0x1010], &[0xe9cd, 0x1205], &[0xe89d, 0x007a], &[0xa901]] {
            assert_eq!(at(words).stack, Stack::Keeps, "{words:x?}");
        }
    }

    #[test]
    fn branches_find_their_targets() {
        for (words, flow, falls_through) in [
            (&[0xe7fe][..], Flow::Branch(0x100), false),     // b .
            (&[0xd1fd], Flow::Branch(0xfe), true),           // bne
            (&[0xb10a], Flow::Branch(0x106), true),          // cbz r2
            (&[0xf000, 0xf802], Flow::Call(0x108), true),    // bl
            (&[0xf7ff, 0xfffe], Flow::Call(0x100), true),    // bl .
            (&[0xf7ff, 0xbffe], Flow::Branch(0x100), false), // b.w .
            (&[0xf43f, 0xaffe], Flow::Branch(0x100), true),  // beq.w .
            (&[0xf00f, 0xc009], Flow::Branch(0xf4), true),   // le lr, back by 16 - 4
            (&[0xf042, 0xc005], Flow::Branch(0x10c), true),  // wls lr, r2
            (&[0xe8df, 0xf000], Flow::Table, false),         // tbb [pc, r0]
            (&[0x4770], Flow::Return, false),                // bx lr
            (&[0x4710], Flow::Jump, false),                  // bx r2
            (&[0x47a0], Flow::CallRegister, true),           // blx r4
            (&[0xbd10], Flow::Return, false),                // pop {r4, pc}
            (&[0xf85d, 0xfb04], Flow::Return, false),        // ldr pc, [sp], #4
            (&[0xf8dd, 0xf024], Flow::Jump, false),          // ldr.w pc, [sp, #36]
            (&[0xe89d, 0x907a], Flow::Jump, false),          // ldm sp, {..., pc}
            (&[0xe8bd, 0x8ff0], Flow::Return, false),        // pop.w {r4-r11, pc}
            (&[0xde00], Flow::Next, false),                  // udf
            (&[0xf3bf, 0x8f5f], Flow::Next, true),           // dmb
        ] {
            let found = at(words);
            assert_eq!((found.flow, found.falls_through), (flow, falls_through), "{words:x?}");
        }
        assert_eq!((it_covers(0xbf08), it_covers(0xbf04), it_covers(0xbf00)), (1, 2, 0));
    }
}
