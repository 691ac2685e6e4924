//! The one place that a token may be sent to: a scheme, a host and a port (RFC 6454 section 4).

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};
use url::Url;

use crate::identity::audience::is_loopback;

/// A scheme, a host and a port: https, or http on a loopback literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    /// In lower case, IPv6 in brackets, as the `url` crate normalises it.
    host: Box<str>,
    port: u16,
}

/// Why a URL names no origin that a token may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// Neither https nor http on a loopback literal.
    #[error(
        "{found:?} is not safe to send a token to: expected https:// (or http:// on 127.0.0.1, [::1] or localhost)"
    )]
    Insecure {
        /// The origin that was found.
        found: String,
    },
    /// The URL has a user or a password in it; they are not repeated here.
    #[error(
        "the URL for host {host:?} has a user or a password in it: remove what is before the `@`"
    )]
    UserInfo {
        /// The URL's host.
        host: String,
    },
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    /// When it is neither https nor http on a loopback literal, or has a user in it.
    pub fn of(url: &Url) -> Result<Self, OriginError> {
        let insecure = || OriginError::Insecure { found: url.origin().ascii_serialization() };
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" if is_loopback(url) => Scheme::HTTP,
            _ => return Err(insecure()),
        };
        let host = url.host_str().ok_or_else(insecure)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError::UserInfo { host: host.to_owned() });
        }
        let port = url.port_or_known_default().ok_or_else(insecure)?;
        Ok(Self { scheme, host: host.into(), port })
    }

    /// Whether a request to `uri` goes to this origin. A relative URI does not say, so it does not; neither does one
    /// with a user in it, which makes a host look like another.
    #[must_use]
    pub fn covers(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return false;
        };
        *scheme == self.scheme && self.is_at(authority)
    }

    /// Whether host and port are this origin's, and nothing stands before them.
    pub(super) fn is_at(&self, authority: &Authority) -> bool {
        !authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(&self.host)
            && port(authority, self.default_port()) == Some(self.port)
    }

    /// Whether connections to this origin are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host and port, without a port that goes without saying.
    pub(super) fn authority(&self) -> String {
        if self.port == self.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn default_port(&self) -> u16 {
        if self.is_https() { 443 } else { 80 }
    }
}

/// The port that a client would connect to; nothing where it is not a number that a port can have.
fn port(authority: &Authority, default: u16) -> Option<u16> {
    let after_host = authority.as_str().strip_prefix(authority.host())?;
    match after_host.strip_prefix(':') {
        None if after_host.is_empty() => Some(default),
        Some("") => Some(default),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok(),
        _ => None,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Result<Origin, OriginError> {
        Origin::of(&url.parse().unwrap())
    }

    #[test]
    fn https_anywhere_and_http_on_loopback_only() {
        for (url, shown) in [
            ("https://A.run.app/x?y", "https://a.run.app"),
            ("https://a.run.app:443/", "https://a.run.app"),
            ("https://a.run.app:8443/", "https://a.run.app:8443"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://localhost/", "http://localhost"),
            ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(origin(url).unwrap().to_string(), shown);
        }
        for url in [
            "http://a.run.app/",
            "http://127.0.0.2/",
            "http://localhost.evil.example/",
            "http://169.254.169.254/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "data:,x",
        ] {
            assert!(matches!(origin(url), Err(OriginError::Insecure { .. })), "{url}");
        }
        let error = origin("https://user:secret@a.run.app/").unwrap_err().to_string();
        assert!(error.contains("a.run.app") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn covers_its_own_uris_in_any_spelling() {
        let own = origin("https://orders.example/base").unwrap();
        for uri in [
            "https://orders.example/",
            "https://orders.example",
            "https://ORDERS.Example/x?y=z",
            "HTTPS://orders.example:443/",
        ] {
            assert!(own.covers(&uri.parse().unwrap()), "{uri}");
        }
        assert!(origin("http://[::1]:80/").unwrap().covers(&Uri::from_static("http://[::1]/x")));
    }

    #[test]
    fn covers_nothing_else() {
        let own = origin("https://orders.example/").unwrap();
        for uri in [
            "/x",
            "*",
            "orders.example:443",
            "http://orders.example/",
            "http://orders.example:443/",
            "https://orders.example:8443/",
            "https://orders.example:0/",
            "https://orders.example./",
            "https://orders.example.evil.example/",
            "https://evil.example/orders.example",
            "https://evilorders.example/",
            "https://x.orders.example/",
            "https://orders.example@evil.example/",
            "https://user@orders.example/",
            "https://@orders.example/",
            "https://user:pw@orders.example:443/",
        ] {
            // What the parser refuses cannot be sent at all.
            if let Ok(uri) = uri.parse() {
                assert!(!own.covers(&uri), "{uri}");
            }
        }
    }

    proptest::proptest! {
        /// What this says about a URI is what a browser's URL parser says, or stricter.
        #[test]
        fn never_covers_what_the_url_standard_sends_elsewhere(
            text in "(https?|HTTPS)://[a-bA-B.@:0-9\\[\\]\\\\%/?#-]{1,12}"
        ) {
            let own = origin("https://a.b/").unwrap();
            if let Ok(uri) = text.parse::<Uri>() && own.covers(&uri) {
                let url: Url = text.parse().unwrap();
                proptest::prop_assert_eq!(Origin::of(&url), Ok(own));
            }
        }
    }
}
