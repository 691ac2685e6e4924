//! The command line: what there is, and which part runs it.
//!
//! Settings are not clap's business: it hands raw text to `config`, which reports everything that is wrong at once.

#[cfg(feature = "emulator")]
mod demo;
#[cfg(feature = "emulator")]
mod emulator;
#[cfg(feature = "emulator")]
mod loopback;
mod proxy;
mod serve;
mod settings;
mod token;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

/// Parses the arguments, runs the subcommand, and gives the process's exit code.
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("countersign: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(dispatch(&matches))
}

async fn dispatch(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("called", matches)) => serve::called(matches).await,
        Some(("caller", matches)) => serve::caller(matches).await,
        Some(("proxy", matches)) => proxy::run(matches).await,
        Some(("token", matches)) => token::run(matches).await,
        #[cfg(feature = "emulator")]
        Some(("demo", matches)) => demo::run(matches).await,
        #[cfg(feature = "emulator")]
        Some(("emulator", matches)) => emulator::run(matches).await,
        // clap lets nothing else through.
        _ => ExitCode::from(2),
    }
}

fn command() -> Command {
    let command = Command::new("countersign")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Function-to-function authentication on Google Cloud Run")
        .subcommand_required(true)
        .arg_required_else_help(true);
    #[cfg(feature = "emulator")]
    let command = command.subcommand(demo::command());
    let command = command.subcommand(serve::called_command()).subcommand(serve::caller_command());
    #[cfg(feature = "emulator")]
    let command = command.subcommand(emulator::command());
    command.subcommand(proxy::command()).subcommand(token::command())
}

/// Says on stderr why a subcommand cannot go on, and gives its exit code: 2 for what was asked for wrongly, 1 for what
/// failed.
fn refuse(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("countersign: {error}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
