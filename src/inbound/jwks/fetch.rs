//! One request for a key set, bounded in every way: time, bytes, redirects, and what may be asked at all.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, HeaderMap, HeaderValue};
use url::Url;

use super::document::{DocumentError, KeySet};
use crate::http_client::{self, HttpClientError, Roots};
use crate::identity::audience::is_loopback;

/// Where keys are fetched from: https, or, by an explicit wish, http on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUrl(Url);

/// Why a URL cannot serve keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyUrlError {
    /// Not a URL.
    #[error("{0:?} is not a URL; expected for example {google}", google = super::GOOGLE_JWKS_URL)]
    NotAUrl(String),
    /// Keys that come over http can be replaced by anybody on the way.
    #[error(
        "{0:?}: keys are fetched over https only (http is for an emulator on 127.0.0.1, [::1] or localhost, with \
         TRUST_EMULATOR=1)"
    )]
    NotHttps(String),
    /// User name or password in the URL.
    #[error("a key set's URL has no user name or password in it")]
    Credentials,
}

impl KeyUrl {
    /// Checks a URL. `trust_loopback` admits http on loopback literals, for an emulator.
    ///
    /// # Errors
    /// When it is not a URL, is neither https nor an admitted loopback URL, or carries credentials.
    pub fn parse(text: &str, trust_loopback: bool) -> Result<Self, KeyUrlError> {
        let url =
            Url::parse(text).map_err(|_| KeyUrlError::NotAUrl(http_client::without_user(text)))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(KeyUrlError::Credentials);
        }
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if trust_loopback && is_loopback(&url) => Ok(Self(url)),
            _ => Err(KeyUrlError::NotHttps(text.to_owned())),
        }
    }

    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// What one fetch may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// For opening the connection. 2 s by default.
    pub connect: Duration,
    /// For all of it. 5 s by default.
    pub whole: Duration,
    /// Largest body, in bytes. 256 KiB by default.
    pub body_bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        let (connect, whole) = (Duration::from_secs(2), Duration::from_secs(5));
        Self { connect, whole, body_bytes: 256 * 1024 }
    }
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Not within the time.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// No connection, or it broke.
    #[error("no connection to the key server: {}", http_client::innermost(.0))]
    Transport(#[from] reqwest::Error),
    /// Another status than 200. Redirects are not followed.
    #[error("the answer is {status}; expected 200{}", redirect_note(.status))]
    Status {
        /// The status.
        status: http::StatusCode,
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    /// A body that no key set has.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// Not a usable key set.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl FetchError {
    /// How long the server asked us to wait before the next try.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A fetched set and how long it may be used before the next one is asked for, as the server says.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    /// `max-age` minus `Age` (RFC 9111 section 4.2), where the server says so.
    pub(crate) lifetime: Option<Duration>,
}

/// Fetches one key set from one place.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    client: reqwest::Client,
    url: KeyUrl,
    limits: FetchLimits,
}

impl Fetcher {
    pub(crate) fn new(
        url: KeyUrl,
        limits: FetchLimits,
        roots: &Roots,
    ) -> Result<Self, HttpClientError> {
        let client = http_client::for_url(&url.0, limits.connect, roots)?;
        Ok(Self { client, url, limits })
    }

    pub(crate) fn url(&self) -> &KeyUrl {
        &self.url
    }

    /// The longest time that a fetch takes unless the process is stopped meanwhile.
    pub(crate) fn longest(&self) -> Duration {
        self.limits.whole
    }

    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let whole = self.limits.whole;
        tokio::time::timeout(whole, self.exchange())
            .await
            .map_err(|_| FetchError::Timeout(whole))?
    }

    async fn exchange(&self) -> Result<Fetched, FetchError> {
        let mut response = self.client.get(self.url.0.clone()).send().await?;
        let status = response.status();
        if status != http::StatusCode::OK {
            return Err(FetchError::Status {
                status,
                retry_after: http_client::retry_after(response.headers()),
            });
        }
        let lifetime = lifetime(response.headers());
        let limit = self.limits.body_bytes;
        let body = http_client::bounded_body(&mut response, limit)
            .await?
            .ok_or(FetchError::TooLarge(limit))?;
        Ok(Fetched { keys: KeySet::parse(&body)?, lifetime })
    }
}

/// `max-age` minus `Age`; zero where the server forbids keeping it. What becomes of an extreme is the cache's business.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let mut seconds = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, argument) = directive
                .split_once('=')
                .map_or((directive, ""), |(name, argument)| (name, argument));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => seconds = argument.trim().trim_matches('"').parse::<u64>().ok(),
                _ => {}
            }
        }
    }
    let age = number(headers.get(AGE)).unwrap_or(0);
    seconds.map(|seconds| Duration::from_secs(seconds.saturating_sub(age)))
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.trim().parse().ok()
}

fn redirect_note(status: &http::StatusCode) -> &'static str {
    if status.is_redirection() { " (redirects are not followed)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_lifetime_is_max_age_minus_age() {
        let google = "public, max-age=23641, must-revalidate, no-transform";
        let table: [(&[(&'static str, &str)], Option<u64>); 8] = [
            (&[("cache-control", google)], Some(23_641)),
            (&[("cache-control", google), ("age", "641")], Some(23_000)),
            (&[("cache-control", "max-age=10"), ("age", "60")], Some(0)),
            (&[("cache-control", "public"), ("cache-control", "MAX-AGE=\"7\"")], Some(7)),
            (&[("cache-control", "max-age=10, no-store")], Some(0)),
            (&[("cache-control", "max-age=-1")], None),
            (&[("cache-control", "max-age")], None),
            (&[], None),
        ];
        for (list, expected) in table {
            assert_eq!(lifetime(&headers(list)), expected.map(Duration::from_secs), "{list:?}");
        }
    }

    #[test]
    fn keys_come_over_https_or_from_a_trusted_loopback() {
        assert!(KeyUrl::parse(super::super::GOOGLE_JWKS_URL, false).is_ok());
        for url in ["http://127.0.0.1:9090/certs", "http://[::1]:1/", "http://localhost/"] {
            assert!(KeyUrl::parse(url, true).is_ok(), "{url}");
            assert!(matches!(KeyUrl::parse(url, false), Err(KeyUrlError::NotHttps(_))), "{url}");
        }
        for url in [
            "http://169.254.169.254/",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "data:application/json,{}",
        ] {
            assert!(matches!(KeyUrl::parse(url, true), Err(KeyUrlError::NotHttps(_))), "{url}");
        }
        assert!(matches!(KeyUrl::parse("https://a:b@c/", true), Err(KeyUrlError::Credentials)));
        assert!(matches!(KeyUrl::parse("www.googleapis.com", true), Err(KeyUrlError::NotAUrl(_))));
    }
}
