//! Counts instructions under QEMU's `-icount shift=6`, where every instruction takes 64 ns of virtual time.
//!
//! The count is exact to one instruction and the same in every run. On hardware these counters show time instead.

pub(crate) use machine::start;

/// How many instructions the processor has executed since [`Board::take`](crate::Board::take).
pub fn instructions() -> u64 {
    machine::instructions()
}

#[cfg(target_arch = "arm")]
mod machine {
    //! SysTick, whose 24 bits last for some ten million instructions, extended by an interrupt. Each wrap adds the few
    //! instructions of its handler to the count.

    use core::sync::atomic::{AtomicU32, Ordering};

    use cortex_m::peripheral::{SYST, syst::SystClkSource};
    use cortex_m_rt::exception;

    const PERIOD: u64 = 1 << 24;
    const NANOSECONDS_PER_INSTRUCTION: u64 = 64;

    static WRAPS: AtomicU32 = AtomicU32::new(0);

    #[exception]
    fn SysTick() {
        WRAPS.store(WRAPS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub fn start() {
        // SAFETY: `Board::take` calls this once, and no one else touches SysTick's registers.
        let mut systick = unsafe { cortex_m::Peripherals::steal().SYST };
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(PERIOD as u32 - 1);
        systick.clear_current();
        systick.enable_counter();
        systick.enable_interrupt();
    }

    pub fn instructions() -> u64 {
        let (wraps, current) = loop {
            let before = WRAPS.load(Ordering::Relaxed);
            let current = SYST::get_current();
            if before == WRAPS.load(Ordering::Relaxed) {
                break (before, current);
            }
        };
        // The timer counts down.
        let ticks = u64::from(wraps) * PERIOD + (PERIOD - 1 - u64::from(current));
        let nanoseconds_per_tick = 1_000_000_000 / (crate::SYSTICK_HZ / 1000);
        // Rounded to the nearest: a tick is not a whole number of instructions.
        let per_instruction = NANOSECONDS_PER_INSTRUCTION * 1000;
        (ticks * nanoseconds_per_tick + per_instruction / 2) / per_instruction
    }
}

#[cfg(target_arch = "riscv32")]
mod machine {
    //! minstret, which counts virtual nanoseconds under `-icount`.

    pub fn start() {
        riscv::register::minstret::write64(0);
    }

    pub fn instructions() -> u64 {
        riscv::register::minstret::read64() / 64
    }
}
