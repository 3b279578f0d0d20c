//! The terminal behind a dashboard. Whatever happens to the run, the terminal is given back as it was.

use crate::train::interrupt;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use std::io::{Result, Stderr, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Whether the terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);
/// Held while a picture is drawn, so that none is drawn on a terminal that was given back meanwhile.
static DRAWING: Mutex<()> = Mutex::new(());
/// How long the listener for keys may take to see that it is over.
const POLL: Duration = Duration::from_millis(100);

/// The terminal, taken. Pictures go to standard error: standard output has the result of the run.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    keys: Option<JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal, and listens for keys.
    pub fn enter() -> Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        OURS.store(true, Ordering::SeqCst);
        // `Terminal::clear` would ask where the cursor is, which not every terminal answers.
        let begun = execute!(stderr(), EnterAlternateScreen, Clear(ClearType::All), Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stderr())));
        match begun {
            Ok(terminal) => Ok(Self { terminal, keys: Some(thread::spawn(listen)) }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws a picture, as long as the terminal is ours.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) {
        let _drawing = DRAWING.lock();
        if OURS.load(Ordering::SeqCst) {
            let _ = self.terminal.draw(picture);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        if let Some(keys) = self.keys.take() {
            let _ = keys.join();
        }
    }
}

/// Gives the terminal back, if it is ours; anyone may call it, at any time.
pub fn restore() {
    if !OURS.swap(false, Ordering::SeqCst) {
        return;
    }
    // A panic while a picture is drawn would wait for itself: a picture does not take this long.
    let _drawing = (0..20).find_map(|_| {
        drawn().or_else(|| {
            thread::sleep(Duration::from_millis(10));
            None
        })
    });
    let _ = execute!(stderr(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

fn drawn() -> Option<MutexGuard<'static, ()>> {
    match DRAWING.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Gives the terminal back before a panic says what it has to say.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
    });
}

/// Does what keys say until the terminal is given back. In raw mode, Ctrl-C is a key as any other.
fn listen() {
    while OURS.load(Ordering::SeqCst) {
        match event::poll(POLL) {
            Ok(false) => {}
            Ok(true) => match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => obey(key),
                Ok(_) => {}
                Err(_) => return,
            },
            Err(_) => return,
        }
    }
}

fn obey(key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => interrupt::ask(),
        // Unlike Ctrl-C, pressed twice it is still patient.
        KeyCode::Char('q') => interrupt::ask_patiently(),
        KeyCode::Char('s') => interrupt::ask_to_save(),
        _ => {}
    }
}
