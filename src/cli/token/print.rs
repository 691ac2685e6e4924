//! `countersign token print --audience URL`: the token alone on stdout, so that it can stand in a curl line.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use countersign::clock::{Clock, SystemClock};
use countersign::config::SourceConfig;
use countersign::identity::{Audience, IdToken};
use countersign::outbound::{ApplicationDefault, CredentialKind, IdTokenCache, IdTokenSource as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::refuse;
use crate::cli::settings::{SOURCES, settings, with_flags};

pub fn command() -> Command {
    let about = "Print an ID token for an audience, by Application Default Credentials";
    let audience = Arg::new("audience")
        .long("audience")
        .value_name("AUDIENCE")
        .required_unless_present("audience-from-client-id")
        .help("For whom: the called service's URL or custom audience");
    let from_client_id = Arg::new("audience-from-client-id")
        .long("audience-from-client-id")
        .action(ArgAction::SetTrue)
        .conflicts_with("IMPERSONATE_SERVICE_ACCOUNT")
        .help("Of gcloud's login, hand over the token that it has: made out to gcloud's own client id");
    let source = Arg::new("source").long("source").value_name("KIND").help(
        "Take this kind of credential only: service-account, impersonated, authorized-user, external-account, metadata",
    );
    let verbose = Arg::new("verbose")
        .long("verbose")
        .short('v')
        .action(ArgAction::SetTrue)
        .help("Say on stderr where the token came from and until when it is good");
    let command = Command::new("print").about(about);
    with_flags(command.args([audience, from_client_id, source, verbose]), &[SOURCES])
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    let kind = match matches.get_one::<String>("source").map(|kind| kind.parse()).transpose() {
        Ok(kind) => kind,
        Err(error) => return refuse(&format_args!("--source: {error}"), 2),
    };
    let source = match source(matches, kind) {
        Ok(source) => source,
        Err(error) => return refuse(&error, 2),
    };
    let audience = match audience(matches, &source) {
        Ok(audience) => audience,
        Err(error) => return refuse(&error, 2),
    };
    let verbose = matches.get_flag("verbose");
    let tokens = IdTokenCache::new(source.clone(), Arc::new(SystemClock));
    let token = match tokens.token(&audience).await {
        Ok(token) => token,
        Err(error) => {
            let last = error.clone().after(Vec::new());
            let list = list(error.before().iter().map(String::as_str), &last.to_string());
            return refuse(
                &format_args!("no ID token for {audience}; tried, in this order:{list}"),
                1,
            );
        }
    };
    if verbose {
        let last = format!("{}: gave this token", source.name());
        eprintln!(
            "tried, in this order:{}",
            list(source.steps().iter().map(String::as_str), &last)
        );
        eprintln!("for {}, {}", token.audience(), good_until(&token));
    }
    // A closed pipe is not worth a panic.
    match writeln!(std::io::stdout(), "{}", token.as_str()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn source(
    matches: &ArgMatches,
    kind: Option<CredentialKind>,
) -> Result<ApplicationDefault, countersign::config::ConfigError> {
    SourceConfig::read(&settings(matches), kind).map(|config| config.source)
}

/// For whom the token is asked.
fn audience(matches: &ArgMatches, source: &ApplicationDefault) -> Result<Audience, String> {
    if matches.get_flag("audience-from-client-id") {
        return source.client_id().cloned().ok_or_else(|| match source.kind() {
            CredentialKind::AuthorizedUser => "--audience-from-client-id: IMPERSONATE_SERVICE_ACCOUNT is set, and a \
                                               service account has no client id: unset it, or use --audience"
                .to_owned(),
            kind => format!(
                "--audience-from-client-id: the credential found is no person's login, but of the kind {kind}, which \
                 gives tokens for any audience: use --audience"
            ),
        });
    }
    let text = matches.get_one::<String>("audience").map(String::as_str).unwrap_or_default();
    text.parse().map_err(|error| format!("--audience: {error}"))
}

fn list<'a>(steps: impl Iterator<Item = &'a str>, last: &'a str) -> String {
    let mut lines = String::new();
    for (number, step) in (1..).zip(steps.chain([last])) {
        // Writing to a string does not fail.
        let _ = write!(lines, "\n  {number}. {step}");
    }
    lines
}

/// `good until 2026-01-01T00:00:00Z (59 minutes)`.
fn good_until(token: &IdToken) -> String {
    let left = token.expires_at().saturating_sub(SystemClock.now().unix_seconds());
    let until = OffsetDateTime::from_unix_timestamp(token.expires_at())
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| token.expires_at().to_string());
    format!("good until {until} ({} minutes)", left.div_euclid(60))
}
