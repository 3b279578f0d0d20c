//! Everything that the runtime never does, so that a test can see that `certify` notices.

extern crate alloc;

use alloc::vec;
use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;

/// A heap that is always full.
struct Full;

// SAFETY: it gives no memory.
unsafe impl GlobalAlloc for Full {
    #[inline(never)]
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        black_box(core::ptr::null_mut())
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: Full = Full;

/// Divides, computes with floating point, allocates, and calls itself. SAFETY of the name: as for the other entries.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn probe_broken(depth: u32, divisor: u32) -> u32 {
    let numbers = vec![depth; black_box(8)];
    let real = black_box(depth as f32) / black_box(3.0);
    let below = if depth > 0 { probe_broken(black_box(depth - 1), divisor) } else { 0 };
    numbers[black_box(depth as usize)] / divisor + real as u32 + black_box(below)
}
