//! `countersign token …`: get a token, or make one with an emulator's keys.

#[cfg(feature = "emulator")]
mod mint;
mod print;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

pub fn command() -> Command {
    let command = Command::new("token")
        .about("Get ID tokens")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(print::command());
    #[cfg(feature = "emulator")]
    let command = command.subcommand(mint::command());
    command
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("print", matches)) => print::run(matches).await,
        #[cfg(feature = "emulator")]
        Some(("mint", matches)) => mint::run(matches).await,
        // clap lets nothing else through.
        _ => ExitCode::from(2),
    }
}
