//! Where credentials are sent to get tokens: https, or http on loopback, and what goes for every such place.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::exchange::{Budget, Exchange};
use super::origin::Origin;
use crate::clock::{Clock, SystemClock};
use crate::http_client::{self, HttpClientError, Roots, without_user};

/// What all sources that talk to Google's public endpoints share.
///
/// A call takes at most the *budget* at each endpoint it needs; see [`IdTokenSource::budget`](super::IdTokenSource).
#[derive(Clone, Debug)]
#[must_use]
pub struct SourceOptions {
    pub(super) roots: Roots,
    pub(super) connect_timeout: Duration,
    pub(super) budget: Duration,
    pub(super) first_pause: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) token_url: Option<Url>,
    pub(super) iam_credentials_url: Option<Url>,
    pub(super) allow_executables: bool,
}

impl Default for SourceOptions {
    /// Mozilla's authorities, 2 s to connect, 5 s in all at each endpoint, the system's clock, Google's endpoints (or
    /// those that the credential file names), no executables.
    fn default() -> Self {
        Self {
            roots: Roots::bundled(),
            connect_timeout: Duration::from_secs(2),
            budget: Duration::from_secs(5),
            first_pause: Duration::from_millis(100),
            clock: Arc::new(SystemClock),
            token_url: None,
            iam_credentials_url: None,
            allow_executables: false,
        }
    }
}

impl SourceOptions {
    /// Whom https connections trust.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// How long a call may take at one endpoint, with every try and every pause.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// The pause before the second try; each later one is twice as long, and each is shortened by up to a half at
    /// random.
    pub fn first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// The clock by which assertions are dated and tokens have expired or not.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The OAuth token endpoint for key files and gcloud's login, in place of the credential file's `token_uri`.
    pub fn token_url(mut self, url: Url) -> Self {
        self.token_url = Some(url);
        self
    }

    /// Where the IAM Credentials API is, in place of `https://iamcredentials.googleapis.com` or what the credential
    /// file names. Its path is replaced.
    pub fn iam_credentials_url(mut self, url: Url) -> Self {
        self.iam_credentials_url = Some(url);
        self
    }

    /// Whether an `external_account` file may name a program that is run to get the subject token
    /// (`GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1` in Google's own libraries).
    pub fn allow_executables(mut self, allow: bool) -> Self {
        self.allow_executables = allow;
        self
    }

    pub(super) fn exchange(&self, url: &Url) -> Result<Exchange, HttpClientError> {
        Ok(Exchange {
            client: http_client::for_url(url, self.connect_timeout, &self.roots)?,
            budget: Budget::new(self.budget, self.budget),
            first_pause: self.first_pause,
            clock: Arc::clone(&self.clock),
            mark: None,
        })
    }
}

/// A URL that credentials may be sent to.
///
/// # Errors
/// One line, without the place it was found in.
pub(super) fn safe_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("found {:?}, which is not a URL ({error})", without_user(text)))?;
    Origin::of(&url).map_err(|error| error.to_string())?;
    Ok(url)
}

/// What stands in a URL, without its query.
pub(super) fn shown(kind: impl Display, url: &Url) -> String {
    format!("{kind} at {}{}", url.origin().ascii_serialization(), url.path())
}
