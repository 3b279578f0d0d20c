//! Links the programs with the startup code's script and defmt's, and brings the model where they include it.

use std::{env, error::Error, fs, path::Path};

/// The model of a program where THUMBFORMER_MODEL names no other.
const MODEL: &str = "models/book.thumb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=-Tdefmt.x");

    println!("cargo:rerun-if-env-changed=THUMBFORMER_MODEL");
    let model = env::var("THUMBFORMER_MODEL").unwrap_or_else(|_| MODEL.to_owned());
    println!("cargo:rerun-if-changed={model}");
    fs::copy(&model, Path::new(&env::var("OUT_DIR")?).join("model.thumb"))
        .map_err(|error| format!("{model}: {error}"))?;
    Ok(())
}
