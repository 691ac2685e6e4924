//! The audience of an ID token: for whom it was made.
//!
//! Audiences are compared byte by byte (RFC 7519 section 4.1.3, StringOrURI): `https://a.run.app` and
//! `https://a.run.app/` are two audiences.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::{Host, Url};

/// Longest audience that is accepted, in bytes.
pub const MAX_AUDIENCE_BYTES: usize = 2_048;

/// One audience, compared byte by byte. Cheap to clone.
///
/// ```
/// use countersign::identity::Audience;
///
/// let audience: Audience = "https://orders-123456789.europe-west1.run.app".parse()?;
/// assert_eq!(audience.as_str(), "https://orders-123456789.europe-west1.run.app");
/// # Ok::<(), countersign::identity::AudienceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audience(Arc<str>);

/// Why a text cannot be an audience.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AudienceError {
    /// Nothing was given.
    #[error(
        "an audience is empty; write the service's URL, for example https://SERVICE-PROJECTNUMBER.REGION.run.app"
    )]
    Empty,
    /// Longer than [`MAX_AUDIENCE_BYTES`].
    #[error("an audience of {found} bytes is longer than {MAX_AUDIENCE_BYTES}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// White space or a control character, which no token's audience has.
    #[error("audience {0:?} has white space or a control character in it; remove it")]
    WhiteSpace(String),
    /// A URL with a query or a fragment: Cloud Run answers 401 to such a token.
    #[error(
        "audience {0:?} has a query or a fragment; write the URL without what follows `?` or `#`"
    )]
    QueryOrFragment(String),
}

impl Audience {
    /// The audience as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The audience that Google's front ends expect for a call to `url`, where the URL alone tells:
    ///
    /// - `*.run.app`: the origin, without the prefix of a traffic tag (`https://TAG---…`);
    /// - `*.cloudfunctions.net`: the URL with its path;
    /// - loopback: the origin, port included;
    /// - anything else (custom domains, load balancers): `None`, because only its owner knows.
    ///
    /// Source: <https://cloud.google.com/run/docs/authenticating/service-to-service>.
    ///
    /// ```
    /// use countersign::identity::Audience;
    ///
    /// let url = "https://canary---orders-abc-ew.a.run.app/v1?x=1".parse()?;
    /// let audience = Audience::for_url(&url).expect("a run.app URL");
    /// assert_eq!(audience.as_str(), "https://orders-abc-ew.a.run.app");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn for_url(url: &Url) -> Option<Self> {
        if is_loopback(url) {
            return Some(Self(url.origin().ascii_serialization().into()));
        }
        if url.scheme() != "https" || url.port().is_some() {
            return None;
        }
        let host = url.host_str()?;
        if host.ends_with(".run.app") {
            let own = host.split_once("---").map_or(host, |(_tag, own)| own);
            return Some(Self(format!("https://{own}").into()));
        }
        if host.ends_with(".cloudfunctions.net") {
            return Some(Self(format!("https://{host}{}", url.path()).into()));
        }
        None
    }

    /// Whether this is an OAuth client id, the audience of tokens that people get for themselves
    /// (`gcloud auth print-identity-token`, sign-in).
    #[must_use]
    pub fn is_oauth_client_id(&self) -> bool {
        self.0.ends_with(".apps.googleusercontent.com") && !self.0.contains("://")
    }
}

/// Whether the URL's host is a loopback literal: `127.0.0.1`, `[::1]` or `localhost`.
///
/// Names that merely resolve to loopback do not count: a resolver is not to be trusted with that.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.octets() == [127, 0, 0, 1],
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl FromStr for Audience {
    type Err = AudienceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(AudienceError::Empty);
        }
        if text.len() > MAX_AUDIENCE_BYTES {
            return Err(AudienceError::TooLong { found: text.len() });
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AudienceError::WhiteSpace(text.to_owned()));
        }
        if text.contains("://") && text.contains(['?', '#']) {
            return Err(AudienceError::QueryOrFragment(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Audience {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(url: &str) -> Option<String> {
        Audience::for_url(&url.parse().unwrap()).map(|audience| audience.to_string())
    }

    #[test]
    fn audience_of_a_url_where_the_url_tells() {
        let table = [
            ("https://a-1.europe-west1.run.app/x?y=1", Some("https://a-1.europe-west1.run.app")),
            ("https://tag---a-h-ew.a.run.app", Some("https://a-h-ew.a.run.app")),
            ("https://r-p.cloudfunctions.net/f?a=b", Some("https://r-p.cloudfunctions.net/f")),
            ("http://127.0.0.1:8081/x", Some("http://127.0.0.1:8081")),
            ("http://[::1]:8081/", Some("http://[::1]:8081")),
            ("http://localhost/", Some("http://localhost")),
            ("https://api.example.com/", None),
            ("https://evilrun.app/", None),
            ("https://a.run.app.evil.example/", None),
            ("https://a-1.europe-west1.run.app:8443/", None),
            ("http://a-1.europe-west1.run.app/", None),
            ("http://127.0.0.2:8081/", None),
        ];
        for (url, expected) in table {
            assert_eq!(derived(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn refuses_what_no_token_carries() {
        assert_eq!("".parse::<Audience>(), Err(AudienceError::Empty));
        for text in [" https://a", "https://a ", "a\u{0}b", "a b", "a\u{a0}"] {
            assert!(
                matches!(text.parse::<Audience>(), Err(AudienceError::WhiteSpace(_))),
                "{text:?}"
            );
        }
        for text in ["https://a/?x=1", "https://a/#x"] {
            assert!(
                matches!(text.parse::<Audience>(), Err(AudienceError::QueryOrFragment(_))),
                "{text:?}"
            );
        }
        let long = "a".repeat(MAX_AUDIENCE_BYTES + 1);
        assert!(matches!(long.parse::<Audience>(), Err(AudienceError::TooLong { .. })));
    }

    #[test]
    fn client_ids_are_recognised_by_their_end() {
        let client: Audience = "32555940559.apps.googleusercontent.com".parse().unwrap();
        assert!(client.is_oauth_client_id());
        let url: Audience = "https://x.apps.googleusercontent.com".parse().unwrap();
        assert!(!url.is_oauth_client_id());
    }
}
