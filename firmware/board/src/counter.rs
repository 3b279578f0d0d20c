//! Counts instructions under QEMU's `-icount shift=6`, where every instruction takes 64 ns of
//! virtual time.
//!
//! A reading is within one instruction of the truth and the same in every run. On hardware these
//! counters show time instead.

use core::arch::asm;

pub use machine::instructions;
pub(crate) use machine::start;

/// Executes `2 * n` instructions and a few around them, for `n > 0`: something known to count.
#[inline(never)]
pub fn spin(n: u32) {
    assert!(n > 0, "a loop that counts down from 0 would wrap");
    #[cfg(target_arch = "arm")]
    // SAFETY: the loop changes a register and the flags, nothing else.
    unsafe {
        asm!("2:", "subs {n}, #1", "bne 2b", n = inout(reg) n => _, options(nomem, nostack));
    }
    #[cfg(target_arch = "riscv32")]
    // SAFETY: the loop changes a register, nothing else.
    unsafe {
        asm!("2:", "addi {n}, {n}, -1", "bnez {n}, 2b", n = inout(reg) n => _, options(nomem, nostack));
    }
}

#[cfg(target_arch = "arm")]
mod machine {
    //! SysTick, whose 24 bits last for some ten million instructions, extended by an interrupt. Each
    //! wrap adds the few instructions of its handler to the count.

    use core::sync::atomic::{AtomicU32, Ordering};

    use cortex_m::peripheral::{SYST, syst::SystClkSource};
    use cortex_m_rt::exception;

    const PERIOD: u64 = 1 << 24;

    /// Instructions of 64 ns during 256 ticks.
    const PER_256_TICKS: u64 = 256 * 15_625_000 / crate::SYSTICK_HZ;
    const _: () = assert!(PER_256_TICKS * crate::SYSTICK_HZ == 256 * 15_625_000);

    static WRAPS: AtomicU32 = AtomicU32::new(0);

    #[exception]
    fn SysTick() {
        WRAPS.store(WRAPS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn start() {
        // SAFETY: `Board::take` calls this once, and no one else touches SysTick's registers.
        let mut systick = unsafe { cortex_m::Peripherals::steal().SYST };
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(PERIOD as u32 - 1);
        systick.clear_current();
        systick.enable_counter();
        systick.enable_interrupt();
    }

    /// How many instructions the processor has executed since [`Board::take`](crate::Board::take).
    pub fn instructions() -> u64 {
        // An interrupt between the two readings starts them again.
        let (wraps, current) = loop {
            let wraps = WRAPS.load(Ordering::Relaxed);
            let current = SYST::get_current();
            if wraps == WRAPS.load(Ordering::Relaxed) {
                break (wraps, current);
            }
        };
        // The timer counts down.
        let ticks = u64::from(wraps) * PERIOD + (PERIOD - 1 - u64::from(current));
        // Rounded to the nearest, for a tick is not a whole number of instructions. No division: how long it takes
        // would depend on the time, and it would count.
        (ticks * PER_256_TICKS + 128) / 256
    }
}

#[cfg(target_arch = "riscv32")]
mod machine {
    //! minstret, which QEMU advances by 64 with every instruction.

    use riscv::register::minstret;

    /// Nothing is to be done. The counter is not set to 0: where it was written, QEMU 7.2 subtracts each half for itself
    /// and loses the borrow.
    pub(crate) fn start() {}

    /// How many instructions the processor has executed since its reset.
    pub fn instructions() -> u64 {
        minstret::read64() / 64
    }
}
