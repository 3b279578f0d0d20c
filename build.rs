//! Chooses the kernels, as `--cfg thumbformer_kernel="..."`. A value that is set by the user's RUSTFLAGS wins.
//!
//! Stable Rust does not say which extensions an Arm core has (`cfg(target_feature = "dsp")` is never set), and on
//! Armv8-M they depend on `-C target-cpu`. So a tiny program is assembled for the target under the user's flags.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let values = r#""portable", "vector", "armv6m", "armv7m", "dsp", "mve", "riscv""#;
    println!("cargo::rustc-check-cfg=cfg(thumbformer_kernel, values({values}))");
    if env::var_os("CARGO_CFG_THUMBFORMER_KERNEL").is_none() {
        println!(r#"cargo::rustc-cfg=thumbformer_kernel="{}""#, choose());
    }
}

fn choose() -> &'static str {
    let target = env::var("TARGET").unwrap_or_default();
    match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64" | "aarch64") => "vector",
        Ok("arm") if target.starts_with("thumbv") => {
            // Helium's registers are the FPU's, which start-up code switches on for the hard-float targets only.
            let registers = env::var("CARGO_CFG_TARGET_ABI").is_ok_and(|abi| abi == "eabihf");
            if registers && assembles("vmlava.s16 r0, q0, q1") {
                "mve"
            } else if assembles("smlad r0, r1, r2, r3") {
                "dsp"
            } else if !assembles("nop") && target.starts_with("thumbv7em") {
                // No probe compiles (-Zbuild-std without an installed core); this target has DSP by definition.
                "dsp"
            } else if target.starts_with("thumbv7") || target.starts_with("thumbv8m.main") {
                "armv7m"
            } else if target.starts_with("thumbv6m") {
                "armv6m"
            } else {
                "portable"
            }
        }
        Ok("riscv32")
            if env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|one| one == "m")) =>
        {
            "riscv"
        }
        _ => "portable",
    }
}

/// Whether the target's assembler takes this instruction.
fn assembles(instruction: &str) -> bool {
    probe(instruction).unwrap_or(false)
}

fn probe(instruction: &str) -> Option<bool> {
    let out_dir = env::var_os("OUT_DIR")?;
    let source = Path::new(&out_dir).join("probe.rs");
    fs::write(&source, format!("#![no_std]\ncore::arch::global_asm!(\"{instruction}\");\n")).ok()?;
    let rustc = env::var_os("RUSTC")?;
    // Cargo calls a wrapper with rustc's path as the first argument.
    let mut command = match env::var_os("RUSTC_WRAPPER").filter(|wrapper| !wrapper.is_empty()) {
        Some(wrapper) => {
            let mut command = Command::new(wrapper);
            command.arg(rustc);
            command
        }
        None => Command::new(rustc),
    };
    command
        .args(["--crate-name=probe", "--crate-type=lib", "--edition=2024", "--emit=obj", "--target"])
        .arg(env::var_os("TARGET")?)
        .arg("--out-dir")
        .arg(out_dir)
        .arg(source)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    command.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    command.status().ok().map(|status| status.success())
}
