//! `countersign token print --audience URL`: the token alone on stdout, so that it can stand in a curl line.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use countersign::clock::SystemClock;
use countersign::config::SourceConfig;
use countersign::identity::Audience;
use countersign::outbound::IdTokenCache;

use crate::cli::refuse;
use crate::cli::settings::{SOURCES, settings, with_flags};

pub fn command() -> Command {
    let about = "Print an ID token for an audience, from the metadata server";
    let audience = Arg::new("audience")
        .long("audience")
        .value_name("AUDIENCE")
        .required(true)
        .help("For whom: the called service's URL or custom audience");
    let verbose = Arg::new("verbose")
        .long("verbose")
        .short('v')
        .action(ArgAction::SetTrue)
        .help("Say on stderr where the token came from and until when it is good");
    with_flags(Command::new("print").about(about).arg(audience).arg(verbose), &[SOURCES])
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    let text = matches.get_one::<String>("audience").map(String::as_str).unwrap_or_default();
    let audience: Audience = match text.parse() {
        Ok(audience) => audience,
        Err(error) => return refuse(&format_args!("--audience: {error}"), 2),
    };
    let source = match SourceConfig::read(&settings(matches)) {
        Ok(config) => config.metadata,
        Err(error) => return refuse(&error, 2),
    };
    let tokens = IdTokenCache::new(source, Arc::new(SystemClock));
    let token = match tokens.token(&audience).await {
        Ok(token) => token,
        Err(error) => return refuse(&error, 1),
    };
    if matches.get_flag("verbose") {
        eprintln!(
            "from the metadata server, for {}, good until {}",
            token.audience(),
            token.expires_at()
        );
    }
    // A closed pipe is not worth a panic.
    match writeln!(std::io::stdout(), "{}", token.as_str()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
