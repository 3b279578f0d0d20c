//! How much stack a call takes: all below the caller is painted first, and what is no longer paint was used.

use core::arch::asm;
use core::ptr;

const PAINT: u32 = 0x5AFE_57AC;
const WORD: usize = size_of::<u32>();

unsafe extern "C" {
    /// The end of the variables, where the stack ends that grows down towards them.
    #[cfg_attr(target_arch = "arm", link_name = "__sheap")]
    #[cfg_attr(target_arch = "riscv32", link_name = "__eheap")]
    static BOTTOM: u8;
}

/// Does the call and tells how many bytes below its caller's frame it used.
#[inline(never)]
pub fn measure<T>(call: impl FnOnce() -> T) -> (usize, T) {
    let (bottom, top) = ((&raw const BOTTOM).addr(), stack_pointer());
    // No call in these loops: there is no frame below this one.
    for address in (bottom..top).step_by(WORD) {
        // SAFETY: between the variables and the stack pointer nothing lives.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(PAINT) }
    }
    let result = call();
    let mut deepest = bottom;
    // SAFETY: all of the stack is readable RAM.
    while deepest < top && unsafe { ptr::with_exposed_provenance::<u32>(deepest).read_volatile() } == PAINT {
        deepest += WORD;
    }
    (top - deepest, result)
}

/// Where the frame of the caller ends.
#[inline(always)]
fn stack_pointer() -> usize {
    let sp;
    // SAFETY: it reads a register.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("mv {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags));
    }
    sp
}
