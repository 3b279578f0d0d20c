//! What happens when something goes wrong: it is logged, and the program ends with failure.

use core::panic::PanicInfo;

use crate::exit;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    exit(false)
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!("hard fault at {=u32:#010x}", frame.pc());
    exit(false)
}

#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
fn exception() -> ! {
    defmt::error!(
        "exception {=usize} at {=usize:#010x}",
        riscv::register::mcause::read().code(),
        riscv::register::mepc::read()
    );
    exit(false)
}
