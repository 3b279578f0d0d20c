//! Links the probe with the startup code's script and the board's memory, and brings the model.

use std::{env, error::Error, fs, path::PathBuf};

/// The model where THUMBFORMER_MODEL names no other.
const MODEL: &str = "../models/book.thumb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=THUMBFORMER_MODEL");
    println!("cargo:rerun-if-env-changed=THUMBFORMER_BOARD");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;

    let model = env::var("THUMBFORMER_MODEL").unwrap_or_else(|_| MODEL.to_owned());
    println!("cargo:rerun-if-changed={model}");
    fs::copy(&model, out.join("model.thumb")).map_err(|error| format!("{model}: {error}"))?;
    println!("cargo:rerun-if-env-changed=THUMBFORMER_WIDE");
    let wide = env::var("THUMBFORMER_WIDE").unwrap_or(model);
    println!("cargo:rerun-if-changed={wide}");
    fs::copy(&wide, out.join("wide.thumb")).map_err(|error| format!("{wide}: {error}"))?;

    if target.starts_with("wasm32") {
        println!("cargo:rustc-link-arg-bins=--no-entry");
        return Ok(());
    }
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // The same processor may have several ABIs: unlike a board's own programs, the probe takes any target.
    let board = match env::var("THUMBFORMER_BOARD") {
        Ok(name) => boards::find(&name).map_err(|error| error.to_string())?,
        Err(_) => boards::for_target(&target)
            .ok_or_else(|| format!("no board of boards.toml has the target {target}"))?,
    };
    fs::write(out.join("memory.x"), board.memory_x())?;
    fs::write(
        out.join("board.rs"),
        format!("/// Bytes of RAM.\npub const RAM: usize = {};\n", board.ram.len()),
    )?;
    println!("cargo:rustc-link-search={}", out.display());
    Ok(())
}
