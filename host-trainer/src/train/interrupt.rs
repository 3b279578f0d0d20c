//! Ctrl-C and termination while runs are under way, and the wish to save.

use super::dashboard;
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static RUNS: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicBool = AtomicBool::new(false);
static SAVE: AtomicBool = AtomicBool::new(false);

/// The exit code that shells give a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// While one lives, the first Ctrl-C only asks to stop; a second one, or one at any other time,
/// ends the process as usual.
#[derive(Debug)]
pub struct Interruptible(());

impl Interruptible {
    /// Starts to listen.
    pub fn new() -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            if let Err(error) = ctrlc::set_handler(ask) {
                eprintln!("Ctrl-C will end this run without a checkpoint: {error}");
            }
        });
        if RUNS.fetch_add(1, Ordering::SeqCst) == 0 {
            ASKED.store(false, Ordering::SeqCst);
            SAVE.store(false, Ordering::SeqCst);
        }
        Self(())
    }

    /// Whether someone asked to stop.
    pub fn asked(&self) -> bool {
        ASKED.load(Ordering::SeqCst)
    }

    /// Whether someone asked for a checkpoint since the last call.
    pub fn asked_to_save(&self) -> bool {
        SAVE.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        RUNS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What Ctrl-C does.
pub fn ask() {
    let listening = RUNS.load(Ordering::SeqCst) > 0;
    if !listening || ASKED.swap(true, Ordering::SeqCst) {
        dashboard::restore();
        process::exit(INTERRUPTED);
    }
}

/// Asks to stop, however often.
pub fn ask_patiently() {
    ASKED.store(true, Ordering::SeqCst);
}

/// Asks for a checkpoint.
pub fn ask_to_save() {
    SAVE.store(true, Ordering::SeqCst);
}
