//! `countersign token mint`: a token of a running emulator, good or deliberately bad, alone on stdout.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::HeaderMap;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use countersign::config::EmulatorConfig;
use countersign::emulator::{BadToken, TokenSpec};
use serde_json::Value;

use crate::cli::loopback::{Loopback, LoopbackError};
use crate::cli::refuse;
use crate::cli::settings::settings;

/// How long an emulator may take: it may have to generate a forger's key first.
const DEADLINE: Duration = Duration::from_secs(30);

pub fn command() -> Command {
    let about =
        "Print an ID token signed by a running emulator: good, or bad in a way that has a name";
    let list = Arg::new("list")
        .long("list")
        .action(ArgAction::SetTrue)
        .help("Print the names for --bad and what is wrong with each");
    let enough = ArgGroup::new("what")
        .args(["audience", "as-person", "list", "bad"])
        .required(true)
        .multiple(true);
    let person = "Whose: a person, with gcloud's audience unless one is given";
    let claim = "One more claim; a VALUE that is JSON is taken as JSON";
    let emulator =
        "Where the emulator is [default: GCE_METADATA_HOST's, else http://127.0.0.1:9090]";
    Command::new("mint")
        .about(about)
        .arg(text_flag(
            "audience",
            "AUDIENCE",
            "For whom: the called service's URL or custom audience",
        ))
        .arg(text_flag("account", "EMAIL", "Whose: a service account [default: the emulator's]"))
        .arg(text_flag("as-person", "EMAIL", person).conflicts_with("account"))
        .arg(text_flag("bad", "NAME", "What is wrong with it; `list` prints the names"))
        .arg(list)
        .arg(seconds_flag("issued-offset", "When it is issued, from now: -3660 is 61 minutes ago"))
        .arg(seconds_flag("lifetime", "exp minus iat [default: 3600]"))
        .arg(text_flag("claim", "NAME=VALUE", claim).action(ArgAction::Append))
        .arg(text_flag("emulator", "URL", emulator))
        .group(enough)
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    let bad = text(matches, "bad");
    if matches.get_flag("list") || bad == Some("list") {
        return list();
    }
    let spec = match spec(matches) {
        Ok(spec) => spec,
        Err(error) => return refuse(&error, 2),
    };
    let url = match EmulatorConfig::read(&settings(matches), text(matches, "emulator")) {
        Ok(config) => config.url,
        Err(error) => return refuse(&error, 2),
    };
    match mint(url.as_str(), &spec).await {
        // A closed pipe is not worth a panic.
        Ok(token) => match writeln!(std::io::stdout(), "{token}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => refuse(&error, 1),
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum MintError {
    #[error(
        "--audience: not set; expected whom the token is for, for example --audience https://called.demo"
    )]
    NoAudience,
    #[error("--bad: {0}")]
    Bad(#[from] countersign::emulator::UnknownBadToken),
    #[error("--claim: found {found:?}, expected NAME=VALUE, for example --claim hd=example.com")]
    Claim { found: String },
    #[error(
        "no emulator answers at {url}; start one with `countersign emulator`, or say with --emulator where it is"
    )]
    NoEmulator { url: String },
    #[error("the emulator at {url} gave no token: {source}")]
    Exchange { url: String, source: LoopbackError },
    #[error("the emulator refused: {why}")]
    Refused { why: String },
    #[error(
        "what answers at {url} is no emulator (it said {status}); start one with `countersign emulator`, or say with \
         --emulator where it is"
    )]
    NotAnEmulator { url: String, status: u16 },
}

fn spec(matches: &ArgMatches) -> Result<TokenSpec, MintError> {
    let mut spec = match text(matches, "as-person") {
        Some(person) => TokenSpec::for_person(person),
        None => TokenSpec::default(),
    };
    spec = match text(matches, "audience") {
        Some(audience) => spec.audience(audience),
        None if text(matches, "as-person").is_none() => return Err(MintError::NoAudience),
        None => spec,
    };
    if let Some(account) = text(matches, "account") {
        spec = spec.account(account);
    }
    if let Some(name) = text(matches, "bad") {
        spec = spec.bad(name.parse::<BadToken>()?);
    }
    if let Some(seconds) = matches.get_one::<i64>("issued-offset") {
        spec = spec.issued_offset(*seconds);
    }
    if let Some(seconds) = matches.get_one::<i64>("lifetime") {
        spec = spec.lifetime(*seconds);
    }
    for claim in matches.get_many::<String>("claim").into_iter().flatten() {
        let (name, value) = claim
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| MintError::Claim { found: claim.clone() })?;
        spec = spec.claim(name, value.parse().unwrap_or_else(|_| Value::from(value)));
    }
    Ok(spec)
}

/// Asks the admin API of the emulator at `url`, which ends in a slash.
async fn mint(url: &str, spec: &TokenSpec) -> Result<String, MintError> {
    let place = || url.trim_end_matches('/').to_owned();
    let document = serde_json::to_value(spec).unwrap_or_default();
    let answer = Loopback::new(DEADLINE)
        .post(&format!("{url}admin/tokens"), HeaderMap::new(), &document)
        .await
        .map_err(|error| match error {
            LoopbackError::Unreachable { .. } => MintError::NoEmulator { url: place() },
            source => MintError::Exchange { url: place(), source },
        })?;
    let said = answer.json();
    match (said["token"].as_str(), said["error"].as_str()) {
        (Some(token), _) if answer.status.is_success() => Ok(token.to_owned()),
        (_, Some(why)) => Err(MintError::Refused { why: why.to_owned() }),
        _ => Err(MintError::NotAnEmulator { url: place(), status: answer.status.as_u16() }),
    }
}

fn list() -> ExitCode {
    let width = BadToken::ALL.iter().map(|bad| bad.name().len()).max().unwrap_or_default();
    let lines: Vec<String> = BadToken::ALL
        .iter()
        .map(|bad| format!("{:width$}  {}\n", bad.name(), bad.description()))
        .collect();
    match write!(std::io::stdout(), "{}", lines.concat()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn text_flag(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn seconds_flag(name: &'static str, help: &'static str) -> Arg {
    text_flag(name, "SECONDS", help).allow_negative_numbers(true).value_parser(value_parser!(i64))
}

fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of(arguments: &[&str]) -> Result<TokenSpec, String> {
        let arguments = ["mint"].iter().chain(arguments);
        let matches =
            command().try_get_matches_from(arguments).map_err(|error| error.to_string())?;
        spec(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_a_specification() {
        let spec = spec_of(&[
            "--audience=https://x",
            "--account=a@demo.iam.gserviceaccount.com",
            "--bad=alg-none",
            "--issued-offset=-3660",
            "--lifetime=10",
            "--claim=hd=example.com",
            "--claim=roles=[\"a\"]",
        ]);
        let expected = TokenSpec::for_audience("https://x")
            .account("a@demo.iam.gserviceaccount.com")
            .bad(BadToken::AlgNone)
            .issued_offset(-3660)
            .lifetime(10)
            .claim("hd", "example.com")
            .claim("roles", vec!["a"]);
        assert_eq!(spec.unwrap(), expected);
        let person = spec_of(&["--as-person", "alice@example.com"]).unwrap();
        assert_eq!(person, TokenSpec::for_person("alice@example.com"));
    }

    #[test]
    fn mistakes_are_told_with_what_is_expected() {
        for (arguments, expected) in [
            (&["--audience=x", "--bad=none"][..], "alg-none"),
            (&["--audience=x", "--claim=novalue"], "NAME=VALUE"),
            (&["--audience=x", "--claim==1"], "NAME=VALUE"),
            (&["--bad=expired"], "--audience"),
            (&["--as-person=a@b.c", "--account=d@e.f", "--audience=x"], "cannot be used with"),
            (&[], "--audience"),
            (&["--audience=x", "--lifetime=long"], "--lifetime"),
        ] {
            let error = spec_of(arguments).unwrap_err();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }
}
