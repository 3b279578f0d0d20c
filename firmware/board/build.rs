//! Turns the board's row of boards.toml into memory.x for the linker and constants for the code.

use std::{env, error::Error, fs, path::PathBuf};

use boards::{Board, Counter, UartKind};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=THUMBFORMER_BOARD");
    println!("cargo:rerun-if-changed=build.rs");

    let board = board(&env::var("TARGET")?)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("memory.x"), board.memory_x())?;
    fs::write(out.join("constants.rs"), constants(board))?;
    println!("cargo:rustc-link-search={}", out.display());
    Ok(())
}

/// The board that the environment names, or the one for this target.
fn board(target: &str) -> Result<&'static Board, Box<dyn Error>> {
    let Ok(name) = env::var("THUMBFORMER_BOARD") else {
        return boards::for_target(target)
            .ok_or_else(|| format!("no board of boards.toml has the target {target}").into());
    };
    let board = boards::find(&name).map_err(|error| error.to_string())?;
    if board.target != target {
        return Err(format!("{name} needs --target {}, not {target}", board.target).into());
    }
    Ok(board)
}

fn constants(board: &Board) -> String {
    let uart = match board.uart.kind {
        UartKind::Cmsdk => "Cmsdk",
        UartKind::Nrf51 => "Nrf51",
        UartKind::Ns16550 => "Ns16550",
    };
    let mut code = format!(
        "/// The board's name in boards.toml.\n\
         pub const NAME: &str = {:?};\n\
         /// The board's serial port.\n\
         pub type Uart = uart::{uart};\n\
         const UART_BASE: usize = {:#x};\n\
         /// Bytes of RAM.\n\
         pub const RAM: usize = {};\n",
        board.name,
        board.uart.base,
        board.ram.len()
    );
    if let Counter::SysTick { systick_hz } = board.counter {
        code += &format!("const SYSTICK_HZ: u64 = {systick_hz};\n");
    }
    code
}
