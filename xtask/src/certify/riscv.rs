//! Decodes RV32IMAC as far as flow of control and stack go (The RISC-V Instruction Set Manual, volume I).

use super::instruction::{Flow, Instruction};

const RA: u32 = 1;
const SP: u32 = 2;

/// Whether an instruction that begins with this halfword has two.
pub fn is_wide(first: u16) -> bool {
    first & 3 == 3
}

/// The instruction at an address. `upper` is what the instruction before it, an `auipc`, left in which register.
pub fn decode(address: u64, first: u16, second: u16, upper: Option<(u32, u64)>) -> Instruction {
    if is_wide(first) {
        wide(address, u32::from(first) | u32::from(second) << 16, upper)
    } else {
        narrow(address, u32::from(first))
    }
}

/// The register and the address that an `auipc` sets.
pub fn upper(address: u64, first: u16, second: u16) -> Option<(u32, u64)> {
    let word = u32::from(first) | u32::from(second) << 16;
    (word & 0x7f == 0x17).then(|| (word >> 7 & 31, u64::from((address as u32).wrapping_add(word & !0xfff))))
}

/// The constant of a load, an addition or a `jalr`.
pub fn immediate(word: u32) -> i64 {
    i64::from(word as i32 >> 20)
}

/// Bits of a word, moved to a place.
fn bits(word: u32, from: u32, count: u32, to: u32) -> u32 {
    (word >> from & ((1 << count) - 1)) << to
}

fn signed(value: u32, bits: u32) -> i64 {
    i64::from((value << (32 - bits)) as i32 >> (32 - bits))
}

/// A jump to a known address that leaves the way back in a register, or in none.
fn jump(plain: Instruction, link: u32, target: u64) -> Instruction {
    if link == 0 { plain.goes(Flow::Branch(target)) } else { plain.may_go(Flow::Call(target)) }
}

/// A jump to an address in a register.
fn jump_register(plain: Instruction, link: u32, base: u32) -> Instruction {
    match (link, base) {
        (0, RA) => plain.goes(Flow::Return),
        (0, _) => plain.goes(Flow::Jump),
        _ => plain.may_go(Flow::CallRegister),
    }
}

fn wide(address: u64, word: u32, upper: Option<(u32, u64)>) -> Instruction {
    let plain = Instruction::plain(4);
    let (to, base) = (word >> 7 & 31, word >> 15 & 31);
    let target = |offset: i64| address.wrapping_add_signed(offset);
    match word & 0x7f {
        // jal
        0x6f => {
            let offset =
                bits(word, 31, 1, 20) | bits(word, 21, 10, 1) | bits(word, 20, 1, 11) | bits(word, 12, 8, 12);
            jump(plain, to, target(signed(offset, 21)))
        }
        // jalr, whose address is known behind an auipc
        0x67 => match upper {
            Some((register, start)) if register == base => {
                jump(plain, to, u64::from(start.wrapping_add_signed(immediate(word)) as u32 & !1))
            }
            _ => jump_register(plain, to, base),
        },
        // branches
        0x63 => {
            let offset =
                bits(word, 31, 1, 12) | bits(word, 25, 6, 5) | bits(word, 8, 4, 1) | bits(word, 7, 1, 11);
            plain.may_go(Flow::Branch(target(signed(offset, 13))))
        }
        // addi sp, sp
        0x13 if to == SP && base == SP && word >> 12 & 7 == 0 => plain.grows(-immediate(word)),
        // stores have no destination, nor have branches; the rest of them have
        0x23 | 0x0f => plain,
        _ if to == SP => plain.by(None),
        _ => plain,
    }
}

fn narrow(address: u64, half: u32) -> Instruction {
    let plain = Instruction::plain(2);
    let target = |offset: i64| address.wrapping_add_signed(offset);
    let (quadrant, function, register) = (half & 3, half >> 13, half >> 7 & 31);
    match (quadrant, function) {
        // c.jal, c.j
        (1, 1 | 5) => {
            let offset = bits(half, 12, 1, 11)
                | bits(half, 11, 1, 4)
                | bits(half, 9, 2, 8)
                | bits(half, 8, 1, 10)
                | bits(half, 7, 1, 6)
                | bits(half, 6, 1, 7)
                | bits(half, 3, 3, 1)
                | bits(half, 2, 1, 5);
            jump(plain, u32::from(function == 1), target(signed(offset, 12)))
        }
        // c.beqz, c.bnez
        (1, 6 | 7) => {
            let offset = bits(half, 12, 1, 8)
                | bits(half, 10, 2, 3)
                | bits(half, 5, 2, 6)
                | bits(half, 3, 2, 1)
                | bits(half, 2, 1, 5);
            plain.may_go(Flow::Branch(target(signed(offset, 9))))
        }
        // c.addi16sp
        (1, 3) if register == SP => {
            let bytes = bits(half, 12, 1, 9)
                | bits(half, 6, 1, 4)
                | bits(half, 5, 1, 6)
                | bits(half, 3, 2, 7)
                | bits(half, 2, 1, 5);
            plain.grows(-signed(bytes, 10))
        }
        // c.addi
        (1, 0) if register == SP => plain.grows(-signed(bits(half, 12, 1, 5) | bits(half, 2, 5, 0), 6)),
        // c.jr, c.jalr, c.ebreak, c.mv, c.add
        (2, 4) => match (half >> 12 & 1, register, half >> 2 & 31) {
            (0, base, 0) => jump_register(plain, 0, base),
            (1, 0, 0) => plain,
            (1, base, 0) => jump_register(plain, RA, base),
            (_, SP, _) => plain.by(None),
            _ => plain,
        },
        // c.li, c.slli, c.lwsp
        (1, 2) | (2, 0 | 2) if register == SP => plain.by(None),
        // what is not to be executed
        (0, 0) if half == 0 => plain.goes(Flow::Next),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruction::Stack;
    use super::*;

    fn at(word: u32, upper: Option<(u32, u64)>) -> Instruction {
        decode(0x8000_0100, word as u16, (word >> 16) as u16, upper)
    }

    #[test]
    fn the_stack_pointer_is_followed() {
        for (word, grows) in [
            (0x1141, 16),        // addi sp, sp, -16
            (0x7139, 64),        // addi sp, sp, -64
            (0x6121, -64),       // addi sp, sp, 64
            (0x0141, -16),       // addi sp, sp, 16
            (0x8101_0113, 2032), // addi sp, sp, -2032
        ] {
            assert_eq!(at(word, None).stack, Stack::Grows(grows), "{word:x}");
        }
        assert_eq!(at(0x0000_8113, None).stack, Stack::By(None), "addi sp, ra, 0");
        assert_eq!(at(0x0011_2423, None).stack, Stack::Keeps, "sw ra, 8(sp)");
        assert_eq!(at(0xc606, None).stack, Stack::Keeps, "c.swsp");
    }

    #[test]
    fn branches_find_their_targets() {
        for (word, flow, falls_through) in [
            (0x0100_00ef, Flow::Call(0x8000_0110), true),    // jal ra, +16
            (0xff1f_f06f, Flow::Branch(0x8000_00f0), false), // j -16
            (0xa001, Flow::Branch(0x8000_0100), false),      // c.j 0
            (0x2011, Flow::Call(0x8000_0104), true),         // c.jal 4
            (0xfe05_18e3, Flow::Branch(0x8000_00f0), true),  // bnez a0, -16
            (0xc111, Flow::Branch(0x8000_0104), true),       // c.beqz a0, 4
            (0x8082, Flow::Return, false),                   // ret
            (0x8782, Flow::Jump, false),                     // c.jr a5
            (0x9782, Flow::CallRegister, true),              // c.jalr a5
        ] {
            let found = at(word, None);
            assert_eq!((found.flow, found.falls_through), (flow, falls_through), "{word:x}");
        }
        let auipc = upper(0x8000_0100, 0x1097, 0x0000).unwrap();
        assert_eq!(auipc, (RA, 0x8000_1100));
        assert_eq!(at(0x0080_80e7, Some(auipc)).flow, Flow::Call(0x8000_1108), "jalr 8(ra)");
        assert_eq!(at(0x0080_80e7, None).flow, Flow::CallRegister);
    }
}
