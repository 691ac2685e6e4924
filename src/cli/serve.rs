//! `countersign called` and `countersign caller`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use countersign::service;

use super::settings::{CALLED, INBOUND, SERVER, SOURCES, settings, with_flags};
use crate::functions::{called, caller};

pub fn called_command() -> Command {
    let about = "Run the called function: verifies its callers, stores entities";
    with_flags(Command::new("called").about(about), &[SERVER, INBOUND, &["GCE_METADATA_HOST"]])
}

pub fn caller_command() -> Command {
    let about = "Run the caller: verifies its callers, signs its calls to CALLED_URL";
    with_flags(Command::new("caller").about(about), &[SERVER, INBOUND, CALLED, SOURCES])
}

pub async fn called(matches: &ArgMatches) -> ExitCode {
    let router = called::router(called::InMemory::default());
    service::serve_called(&settings(matches), router).await
}

pub async fn caller(matches: &ArgMatches) -> ExitCode {
    service::serve_caller(&settings(matches), caller::router).await
}
