//! Each setting is also a flag of the same name, in lower case with dashes.

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches, Command};
use countersign::config::{SETTINGS, Setting, Settings};

/// Settings that every server has.
pub const SERVER: &[&str] =
    &["PORT", "HOST", "TRUST_EMULATOR", "LOG_FORMAT", "LOG_REQUESTS", "RUST_LOG"];

/// Settings of everything that verifies.
pub const INBOUND: &[&str] = &[
    "AUDIENCE",
    "ALLOWED_PRINCIPALS",
    "SIGNATURE_CHECK",
    "JWKS_URL",
    "ISSUERS",
    "CLOCK_SKEW_SECONDS",
];

/// Settings of everything that gets tokens.
pub const SOURCES: &[&str] = &[
    "GCE_METADATA_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "IMPERSONATE_SERVICE_ACCOUNT",
    "TOKEN_URL",
    "IAM_CREDENTIALS_URL",
];

/// Settings of the caller.
pub const CALLED: &[&str] = &["CALLED_URL", "CALLED_AUDIENCE", "CALLED_HEADERS"];

/// Adds flags for these settings.
pub fn with_flags(command: Command, names: &[&[&str]]) -> Command {
    let wanted = |setting: &&Setting| names.iter().any(|names| names.contains(&setting.name));
    SETTINGS.iter().filter(wanted).fold(command, |command, setting| {
        command.arg(
            Arg::new(setting.name)
                .long(setting.name.to_ascii_lowercase().replace('_', "-"))
                .value_name(setting.name)
                .help(setting.help)
                .value_parser(OsStringValueParser::new()),
        )
    })
}

/// The environment's settings, and over them the flags'.
pub fn settings(matches: &ArgMatches) -> Settings {
    SETTINGS.iter().fold(Settings::from_environment(), |settings, setting| {
        match matches.try_get_one::<std::ffi::OsString>(setting.name) {
            Ok(Some(value)) => settings.with(setting.name, value.clone()),
            // Not given, or not a flag of this subcommand.
            _ => settings,
        }
    })
}
