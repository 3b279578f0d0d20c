//! What the probe says, over semihosting and without the standard formatting, which can panic.

use semihosting::sys::arm_compat::sys_writec;

/// Writes `stack NAME HEXADECIMAL`.
pub fn line(name: &str, bytes: usize) {
    write("stack ");
    write(name);
    write(" ");
    for shift in (0..8).rev() {
        let digit = (bytes >> (4 * shift) & 15) as u8;
        sys_writec(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
    write("\n");
}

fn write(text: &str) {
    text.bytes().for_each(sys_writec);
}
