//! `countersign emulator`: Google's identity endpoints on a port of this machine, by themselves or around a command, and
//! credential files of one that runs.

mod child;
mod credentials;
mod gcloud;
mod guide;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches, Command, value_parser};
use countersign::emulator::{Emulator, EmulatorError};
use countersign::server::termination_signal;

use super::refuse;

/// Where it listens when it is there for others to find.
const DEFAULT_PORT: u16 = 9090;

pub fn command() -> Command {
    Command::new("emulator")
        .args_conflicts_with_subcommands(true)
        .subcommand(credentials::command())
        .about("Run Google's identity endpoints on this machine, or a command that is pointed at them")
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .value_parser(value_parser!(u16))
                .help("Port on 127.0.0.1; 0 takes a free one [default: 9090; with COMMAND a free one]"),
        )
        .arg(
            Arg::new("command")
                .last(true)
                .num_args(1..)
                .value_name("COMMAND")
                .value_parser(OsStringValueParser::new())
                .help("A command to run, with its arguments; the emulator ends with it, and with its exit code"),
        )
        .after_help("Example: countersign emulator -- countersign token print --audience https://called.demo")
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    if let Some(("credentials", matches)) = matches.subcommand() {
        return credentials::run(matches).await;
    }
    let command: Vec<OsString> =
        matches.get_many::<OsString>("command").into_iter().flatten().cloned().collect();
    let port = matches.get_one::<u16>("port").copied();
    match command.split_first() {
        Some((program, arguments)) => match start(port.unwrap_or(0)).await {
            Ok(emulator) => {
                let code = match gcloud::Configuration::empty() {
                    Ok(gcloud) => {
                        let environment = gcloud.added_to(emulator.environment());
                        child::run(program, arguments, environment).await
                    }
                    Err(error) => refuse(&error, 1),
                };
                emulator.shutdown().await;
                code
            }
            Err(error) => refuse(&error, 1),
        },
        None => match start(port.unwrap_or(DEFAULT_PORT)).await {
            Ok(emulator) => stay_up(emulator).await,
            Err(error) => refuse(&error, 1),
        },
    }
}

async fn start(port: u16) -> Result<Emulator, EmulatorError> {
    Emulator::builder().port(port).start().await
}

async fn stay_up(emulator: Emulator) -> ExitCode {
    let gcloud = match gcloud::Configuration::empty() {
        Ok(gcloud) => gcloud,
        Err(error) => return refuse(&error, 1),
    };
    let environment = gcloud.added_to(emulator.environment());
    let guide = async {
        // Whoever started it with its output closed can still use it.
        let _ = write!(std::io::stdout(), "{}", guide::text(&emulator, &environment));
    };
    // In this order: whoever has read the guide may end it.
    tokio::join!(biased; termination_signal(), guide);
    emulator.shutdown().await;
    ExitCode::SUCCESS
}
