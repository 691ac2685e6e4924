//! `countersign emulator credentials KIND`: a credential file of a running emulator, alone on stdout.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::HeaderMap;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, value_parser};
use countersign::config::EmulatorConfig;
use countersign::emulator::{CredentialKind, CredentialSpec, EmulatorError};
use serde_json::Value;

use crate::cli::loopback::{Loopback, LoopbackError};
use crate::cli::refuse;
use crate::cli::settings::settings;

/// How long an emulator may take: it may have to generate keys first.
const DEADLINE: Duration = Duration::from_secs(30);

pub fn command() -> Command {
    let kinds = PossibleValuesParser::new(CredentialKind::ALL.iter().map(|kind| kind.name()));
    let text = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(placeholder).help(help)
    };
    Command::new("credentials")
        .about("Print a credential file that works against a running emulator")
        .arg(Arg::new("kind").value_name("KIND").required(true).value_parser(kinds).help("What it proves"))
        .arg(
            text(
                "port",
                "PORT",
                "The emulator's port on 127.0.0.1 [default: GCE_METADATA_HOST's, else 9090]",
            )
            .value_parser(value_parser!(u16).range(1..)),
        )
        .arg(text("account", "EMAIL", "Whose: a service account, or with authorized-user a person"))
        .arg(text(
            "subject-token-file",
            "PATH",
            "With external-account: read the subject token from this file; fill it from /subject-token",
        ))
        .after_help(
            "Example: countersign emulator credentials service-account > key.json\n\
             GOOGLE_APPLICATION_CREDENTIALS=key.json countersign token print --audience https://called.demo",
        )
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    let spec = match spec(matches) {
        Ok(spec) => spec,
        Err(error) => return refuse(&error, 2),
    };
    let url = matches.get_one::<u16>("port").map(|port| format!("http://127.0.0.1:{port}"));
    let url = match EmulatorConfig::read(&settings(matches), url.as_deref()) {
        Ok(config) => config.url,
        Err(error) => return refuse(&error, 2),
    };
    match ask(url.as_str(), &spec).await {
        // A closed pipe is not worth a panic.
        Ok(file) => match writeln!(std::io::stdout(), "{file:#}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => refuse(&error, 1),
    }
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum CredentialsError {
    #[error(
        "no emulator answers at {url}; start one with `countersign emulator`, or say with --port where it is"
    )]
    NoEmulator { url: String },
    #[error("the emulator at {url} gave no credentials: {source}")]
    Exchange { url: String, source: LoopbackError },
    #[error("the emulator refused: {why}")]
    Refused { why: String },
    #[error(
        "what answers at {url} is no emulator (it said {status}); start one with `countersign emulator`, or say with \
         --port where it is"
    )]
    NotAnEmulator { url: String, status: u16 },
}

fn spec(matches: &ArgMatches) -> Result<CredentialSpec, EmulatorError> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut spec = CredentialSpec::of(text("kind").unwrap_or_default().parse::<CredentialKind>()?);
    if let Some(account) = text("account") {
        spec = spec.account(account);
    }
    if let Some(path) = text("subject-token-file") {
        spec = spec.subject_token_file(path);
    }
    Ok(spec)
}

/// Asks the admin API of the emulator at `url`, which ends in a slash.
async fn ask(url: &str, spec: &CredentialSpec) -> Result<Value, CredentialsError> {
    let place = || url.trim_end_matches('/').to_owned();
    let document = serde_json::to_value(spec).unwrap_or_default();
    let answer = Loopback::new(DEADLINE)
        .post(&format!("{url}admin/credentials"), HeaderMap::new(), &document)
        .await
        .map_err(|error| match error {
            LoopbackError::Unreachable { .. } => CredentialsError::NoEmulator { url: place() },
            source => CredentialsError::Exchange { url: place(), source },
        })?;
    let said = answer.json();
    if answer.status.is_success() && said["type"].is_string() {
        return Ok(said);
    }
    match said["error"].as_str() {
        Some(why) => Err(CredentialsError::Refused { why: why.to_owned() }),
        None => {
            Err(CredentialsError::NotAnEmulator { url: place(), status: answer.status.as_u16() })
        }
    }
}
