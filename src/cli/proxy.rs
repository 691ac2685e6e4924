//! `countersign proxy URL`: a port of this machine by which a browser, Postman or a script reaches a private service.
//!
//! ```text
//! client ─> listener ─> gate ─> relay: headers, token ─> upstream ─> the one origin
//!                        │ this machine's pages and programs only; no forward proxy
//! ```
//!
//! Whoever can reach the port acts as the account that signs. So the port is on loopback, and the gate keeps the pages
//! of other sites from using the person's browser to reach it.

mod gate;
mod headers;
mod listener;
mod place;
mod relay;
mod route;
mod tunnel;
mod upstream;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Arg, ArgMatches, Command, value_parser};
use countersign::clock::SystemClock;
use countersign::config::{ConfigError, Settings, SourceConfig, https_roots};
use countersign::identity::{Audience, IdToken};
use countersign::outbound::{AuthorizerError, IdTokenCache};
use countersign::server::termination_signal;
use serde_json::Value;
use url::Url;

use self::listener::Listener;
use self::relay::{Relay, Target};
use self::upstream::{Limits, Upstream};
use super::refuse;
use super::settings::{SOURCES, settings, with_flags};

/// Always the same, so that bookmarks and the addresses that other programs were told stay good.
const DEFAULT_PORT: &str = "8081";

pub fn command() -> Command {
    let url = Arg::new("url")
        .value_name("URL")
        .required(true)
        .help("The service, such as https://SERVICE-PROJECTNUMBER.REGION.run.app");
    let audience = Arg::new("audience").long("audience").value_name("AUDIENCE").help(
        "For whom tokens are made out [default: derived from URL, where it is the service's own]",
    );
    let port = Arg::new("port")
        .long("port")
        .value_name("PORT")
        .value_parser(value_parser!(u16))
        .default_value(DEFAULT_PORT)
        .help("Port on 127.0.0.1; 0 takes a free one");
    let command = Command::new("proxy")
        .about("Reach a private service from this machine: every request to a local port goes there, signed")
        .after_help(
            "Whoever can reach the port acts as the account that signs: do not forward it to other machines.\n\
             Example: countersign proxy https://orders-123456789012.europe-west1.run.app",
        );
    let account = Arg::new("as")
        .long("as")
        .value_name("SERVICE_ACCOUNT")
        .conflicts_with("IMPERSONATE_SERVICE_ACCOUNT")
        .help("Sign as this service account: short for --impersonate-service-account");
    with_flags(command.args([url, audience, account, port]), &[SOURCES])
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    // First, so that a signal is not lost while the token is fetched.
    let ended = termination_signal();
    tokio::select! {
        biased;
        () = ended => ExitCode::SUCCESS,
        code = start(matches) => code,
    }
}

/// Comes back only where it cannot start.
async fn start(matches: &ArgMatches) -> ExitCode {
    let mut settings = settings(matches);
    if let Some(account) = matches.get_one::<String>("as") {
        settings = settings.with("IMPERSONATE_SERVICE_ACCOUNT", account);
    }
    let roots = match https_roots(&settings) {
        Ok(roots) => roots,
        Err(error) => return refuse(&error, 2),
    };
    let tokens = match tokens(&settings) {
        Ok(tokens) => tokens,
        Err(error) => return refuse(&error, 2),
    };
    let target = match target(matches, tokens.clone()) {
        Ok(target) => target,
        Err(message) => return refuse(&message, 2),
    };
    let upstream = match Upstream::new(target.url(), &roots, Limits::default()) {
        Ok(upstream) => upstream,
        Err(error) => return refuse(&error, 1),
    };
    let listener = match Listener::open(port(matches)).await {
        Ok(listener) => listener,
        Err(error) => return refuse(&error, 1),
    };
    if target.is_port_of_this_machine(listener.port()) {
        return refuse(&"URL is the proxy's own port: give --port another number", 2);
    }
    // Before anybody is told that it works: whoever may not have a token learns it here, and not from a browser.
    let token = match tokens.token(target.audience()).await {
        Ok(token) => token,
        Err(error) => {
            return refuse(&format_args!("no ID token for {}: {error}", target.audience()), 1);
        }
    };
    announce(&listener, &target, &token);
    listener.serve(Arc::new(Relay::new(listener.port(), target, upstream))).await
}

/// Where the tokens come from: the one place that knows.
fn tokens(settings: &Settings) -> Result<IdTokenCache, ConfigError> {
    let source = SourceConfig::read(settings, None)?.source;
    Ok(IdTokenCache::new(source, Arc::new(SystemClock)))
}

fn port(matches: &ArgMatches) -> u16 {
    matches.get_one("port").copied().unwrap_or_default()
}

fn target(matches: &ArgMatches, tokens: IdTokenCache) -> Result<Target, String> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let audience = match text("audience").map(str::parse::<Audience>).transpose() {
        Ok(audience) => audience,
        Err(error) => return Err(format!("--audience: {error}")),
    };
    Target::new(text("url").unwrap_or_default(), audience, tokens).map_err(|error| match error {
        AuthorizerError::NoAudience { origin } => format!(
            "URL: the audience of {origin} is not known: only *.run.app, *.cloudfunctions.net and loopback URLs tell \
             theirs; give --audience one that the service accepts"
        ),
        error => format!("URL: {error}"),
    })
}

/// Where it listens, whom it reaches, and as whom: what a person has to know before opening a page.
fn announce(listener: &Listener, target: &Target, token: &IdToken) {
    let local = local_url(listener.port(), target.url());
    // Whoever started it with its output closed can still use it.
    let _ = writeln!(
        std::io::stdout(),
        "{local} -> {}, signing as {} for audience {}",
        target.origin(),
        signer(token).escape_debug(),
        target.audience(),
    );
}

/// The local address of the page that was asked for.
fn local_url(port: u16, url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    format!("http://127.0.0.1:{port}{path}")
}

/// Whom the token is of, by its own words: its signature is the service's to verify.
fn signer(token: &IdToken) -> String {
    let payload = token.as_str().split('.').nth(1).unwrap_or_default();
    let claims: Option<Value> = URL_SAFE_NO_PAD
        .decode(payload)
        .ok()
        .and_then(|payload| serde_json::from_slice(&payload).ok());
    let text = |name: &str| claims.as_ref()?.get(name)?.as_str().map(str::to_owned);
    text("email")
        .or_else(|| text("sub").map(|subject| format!("the account with id {subject}")))
        .unwrap_or_else(|| "an account that the token does not name".to_owned())
}

#[cfg(test)]
#[cfg(feature = "emulator")]
mod tests;
