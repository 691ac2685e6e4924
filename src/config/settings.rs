//! The settings as raw text: what the environment says, and over it what flags say.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// A setting that there is: its name in the environment, and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in the environment. The flag is the same in lower case with dashes.
    pub name: &'static str,
    /// What it means, for `--help`.
    pub help: &'static str,
}

const fn setting(name: &'static str, help: &'static str) -> Setting {
    Setting { name, help }
}

/// Every setting that has a flag of the same name.
pub const SETTINGS: &[Setting] = &[
    setting("PORT", "Port to listen on; 0 takes a free one [default: 8080]"),
    setting("HOST", "Address to listen on [default: 0.0.0.0, or 127.0.0.1 with TRUST_EMULATOR=1]"),
    setting(
        "AUDIENCE",
        "Accepted audiences, comma-separated [default on Cloud Run: the service's own run.app URL]",
    ),
    setting(
        "ALLOWED_PRINCIPALS",
        "Who may call: IAM members, comma-separated, e.g. serviceAccount:NAME@PROJECT.iam.gserviceaccount.com",
    ),
    setting(
        "SIGNATURE_CHECK",
        "`required`, or `cloud-run` where IAM is in front and callers send one header [default: required]",
    ),
    setting("JWKS_URL", "Where the keys come from [default: Google's]"),
    setting("ISSUERS", "Accepted issuers, comma-separated [default: Google's two spellings]"),
    setting("CLOCK_SKEW_SECONDS", "How far clocks may be apart, 0 to 300 [default: 60]"),
    setting("CALLED_URL", "The called function's URL"),
    setting(
        "CALLED_AUDIENCE",
        "Its audience [default: derived from CALLED_URL where that is possible]",
    ),
    setting(
        "CALLED_HEADERS",
        "Which headers carry the token: auto, both, authorization, serverless [default: auto]",
    ),
    setting(
        "GCE_METADATA_HOST",
        "The metadata server's host[:port] [default: metadata.google.internal]",
    ),
    setting("GOOGLE_APPLICATION_CREDENTIALS", "A credential file, as in Google's own libraries"),
    setting(
        "IMPERSONATE_SERVICE_ACCOUNT",
        "The service account whose tokens to get; accounts on the way to it before it, comma-separated",
    ),
    setting("TOKEN_URL", "Google's token endpoint [default: what the credential file says]"),
    setting(
        "IAM_CREDENTIALS_URL",
        "Where the IAM Credentials API is [default: https://iamcredentials.googleapis.com]",
    ),
    setting("TRUST_EMULATOR", "1 admits keys over http from 127.0.0.1, [::1] and localhost"),
    setting("LOG_FORMAT", "json or text [default: json on Cloud Run, text elsewhere]"),
    setting("LOG_REQUESTS", "Which requests get a log line: all, denied, none [default: denied]"),
    setting("RUST_LOG", "Which events are logged [default: info]"),
];

/// Read as well, but not for flags: what the platform sets.
const PLATFORM: &[&str] = &[
    "K_SERVICE",
    "K_REVISION",
    "KUBERNETES_SERVICE_HOST",
    "GOOGLE_CLOUD_PROJECT",
    "SSL_CERT_FILE",
    "NO_COLOR",
    "CLOUDSDK_CONFIG",
    "HOME",
    "APPDATA",
    "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
];

/// Raw settings by name.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, OsString>);

impl Settings {
    /// What the process's environment says. An empty value counts as not set.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn from_environment() -> Self {
        let names = SETTINGS.iter().map(|setting| setting.name).chain(PLATFORM.iter().copied());
        let set = names.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)));
        Self(set.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Settings that are given as pairs, for tests.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        pairs
            .into_iter()
            .fold(Self::default(), |settings, (name, value)| settings.with(name, value))
    }

    /// The same with one more, or another, value: flags win over the environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Whether the user wants no colours: `NO_COLOR` is set to anything at all (<https://no-color.org>).
    #[must_use]
    pub fn no_color(&self) -> bool {
        self.value("NO_COLOR").is_some()
    }

    /// The last words of a process that cannot start: text for people, and one JSON line on Cloud Run, where each line
    /// of text would be an entry of its own.
    pub(crate) fn start_up_failure(&self, error: &dyn std::fmt::Display) -> String {
        let format = self.value("LOG_FORMAT").and_then(|format| format.to_str());
        let json = format.map_or(self.value("K_SERVICE").is_some(), |format| format == "json");
        if json {
            serde_json::json!({"severity": "CRITICAL", "message": error.to_string()}).to_string()
        } else {
            format!("countersign: {error}")
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&OsString> {
        self.0.get(name).filter(|value| !value.is_empty())
    }
}

/// Names only: a value may be a secret one day.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
