//! The runtime and as little else as can be: what `cargo xtask certify` reads for panics, heap, floating point, recursion
//! and the need of stack, and runs for the stack that is really taken.
//!
//! The model is hidden from the compiler, so that what is proven of this program's code holds for every model.
#![no_std]
#![no_main]

#[cfg(feature = "broken")]
mod broken;
mod entries;
#[cfg(target_os = "none")]
mod machine;

use core::panic::PanicInfo;

/// Never linked where nothing can panic: its name in a program is the proof to the contrary.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
