//! How deep the stack has been: its free part is painted at the start, and what is no longer paint was used.

use core::ptr::{self, addr_of};

const PAINT: u32 = 0x5AFE_57AC;

// The linker scripts call the bounds of the stack differently.
#[cfg(target_arch = "arm")]
unsafe extern "C" {
    #[link_name = "_stack_start"]
    static TOP: u32;
    #[link_name = "__sheap"]
    static BOTTOM: u32;
}
#[cfg(target_arch = "riscv32")]
unsafe extern "C" {
    #[link_name = "_stack_start"]
    static TOP: u32;
    #[link_name = "__eheap"]
    static BOTTOM: u32;
}

/// Paints the stack below the caller's frame.
#[inline(never)]
pub(crate) fn paint() {
    let here = 0u32;
    // Some words stay free for this function's own frame.
    let end = addr_of!(here).wrapping_sub(64);
    let mut word = addr_of!(BOTTOM).cast_mut();
    while word.cast_const() < end {
        // SAFETY: from the end of the variables up to this frame, RAM belongs to the stack and holds nothing yet.
        unsafe {
            ptr::write_volatile(word, PAINT);
            word = word.add(1);
        }
    }
}

/// The most bytes that the stack has held since [`Board::take`](crate::Board::take).
pub fn high_water() -> usize {
    let top = addr_of!(TOP);
    let mut word = addr_of!(BOTTOM);
    // SAFETY: every word from the end of the variables to the top of the stack is readable RAM.
    while word < top && unsafe { ptr::read_volatile(word) } == PAINT {
        word = word.wrapping_add(1);
    }
    top.addr() - word.addr()
}
