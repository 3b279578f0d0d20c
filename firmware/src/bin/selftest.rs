//! Checks on the board what no host can check.
#![no_std]
#![no_main]

use board::Board;
use thumbformer::{audio, kernel};

#[board::entry]
fn main() -> ! {
    let _board = Board::take();
    instructions_are_counted();
    kernels_compute_what_the_reference_does();
    features_are_the_same_everywhere();
    board::exit(true)
}

/// A loop of `2 * n` instructions counts as that and the same few more for every n. Where a tick is hardly longer than an
/// instruction (microbit), each of the four readings may be one off; a wrap of SysTick, after some eight million instructions, adds its
/// handler's.
fn instructions_are_counted() {
    let count = |n: u32| {
        let start = board::instructions();
        board::spin(n);
        board::instructions() - start
    };
    let around = count(1) - 2;
    for n in [2, 10, 1000, 1_000_000, 8_000_000] {
        let expected = u64::from(2 * n) + around;
        let off = count(n).abs_diff(expected);
        let wraps = u64::from(n / 3_000_000);
        assert!(off <= 4 + 10 * wraps, "{expected} instructions, {off} off");
    }
}

/// Every kernel that this processor can run gives the numbers of the obvious loops.
fn kernels_compute_what_the_reference_does() {
    match kernel::selftest() {
        Ok(products) => defmt::info!("{=str} and others: {} products", kernel::NAME, products),
        Err(failure) => panic!("{failure:?}"),
    }
}

/// The front ends compute here what they compute on the host; says what a second of sound takes.
#[inline(never)]
fn features_are_the_same_everywhere() {
    let mut counted = [(0, 0); 2];
    let result = audio::selftest(|spec, work| {
        let ((), instructions) = board::measure(work);
        if let Some((rate, all)) = counted.get_mut(usize::from(spec.rate == 8000)) {
            (*rate, *all) = (spec.rate, *all + instructions);
        }
    });
    if let Err(failure) = result {
        panic!("{failure:?}");
    }
    for (rate, all) in counted {
        let second = all * u64::from(rate) / audio::VOICE_LEN as u64;
        defmt::info!("features of a second at {} Hz: {} instructions", rate, second);
    }
}
