//! The `thumbformer` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    host_trainer::cli::main()
}
