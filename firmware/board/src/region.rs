//! Measured regions, for two independent instruments: the counter of [`instructions`], and an observer of the emulator
//! that knows the two functions below by their addresses.

use core::arch::asm;

use crate::instructions;

// SAFETY of the two names: nothing else in a program has them.

/// Marks where a region begins.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn region_begin() {
    // SAFETY: a comment, by which the compiler cannot take the two functions for one.
    unsafe { asm!("/* begin */") }
}

/// Marks where a region ends.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn region_end() {
    // SAFETY: as above.
    unsafe { asm!("/* end */") }
}

/// Does the work and tells how many instructions that took, with those of the measurement itself, which are always as many.
#[inline(never)]
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let start = instructions();
    region_begin();
    let result = work();
    region_end();
    (result, instructions() - start)
}
