//! The `countersign` command.

#![warn(clippy::unwrap_used)]
#![allow(unreachable_pub, missing_docs, reason = "a binary has no public API")]

mod cli;
mod functions;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
