//! How deep the stack has been: its free part is painted at the start, and what is no longer paint was used.

use core::{hint::black_box, ops::Range, ptr};

const PAINT: u32 = 0x5AFE_57AC;
const WORD: usize = size_of::<u32>();

unsafe extern "C" {
    /// The end of the variables, where the stack ends that grows down towards them.
    #[cfg_attr(target_arch = "arm", link_name = "__sheap")]
    #[cfg_attr(target_arch = "riscv32", link_name = "__eheap")]
    static BOTTOM: u8;
    /// Where the stack begins.
    #[link_name = "_stack_start"]
    static TOP: u8;
}

/// The addresses of the stack.
fn stack() -> Range<usize> {
    (&raw const BOTTOM).addr()..(&raw const TOP).addr()
}

/// Whether the word at this address of the stack has never been used.
fn is_painted(address: usize) -> bool {
    // SAFETY: all of the stack is readable RAM.
    unsafe { ptr::with_exposed_provenance::<u32>(address).read_volatile() == PAINT }
}

/// Paints what is free of the stack.
#[inline(never)]
pub(crate) fn paint() {
    let in_use = 0;
    // This function's own frame reaches a little further down.
    let free = stack().start..black_box(&raw const in_use).addr() - 16 * WORD;
    for address in free.step_by(WORD) {
        // SAFETY: below the frame in use, nothing lives on the stack.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(PAINT) }
    }
}

/// The most bytes that the stack has held since [`Board::take`](crate::Board::take).
pub fn high_water() -> usize {
    let deepest = stack().step_by(WORD).find(|&address| !is_painted(address));
    stack().end - deepest.unwrap_or(stack().end)
}

/// Whether the stack has reached the variables below it. True also where it was never painted.
pub(crate) fn overflowed() -> bool {
    !is_painted(stack().start)
}
