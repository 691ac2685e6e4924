//! Who may ask: programs of this machine, and pages that came through the proxy itself.
//!
//! A browser on this machine obeys the pages of strangers, and the proxy would sign what they ask for. Three of its
//! headers cannot be forged by a page: `Host` (against names that are made to point to 127.0.0.1: DNS rebinding),
//! `Origin` and `Sec-Fetch-Site` (W3C Fetch Metadata).

use countersign::Problem;
use http::header::{HOST, ORIGIN};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, StatusCode, request};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names of this machine that a client may use.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The proxy's door.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    port: u16,
}

/// A request that may pass.
#[derive(Debug)]
pub struct Admitted {
    /// What it asks for.
    pub path: PathAndQuery,
    /// The proxy's own origin, by the name that the client uses.
    pub own_origin: String,
}

impl Gate {
    /// The door of the proxy on this port.
    pub fn new(port: u16) -> Self {
        Self { port }
    }

    /// Lets a request pass, or says why not.
    pub fn admit(&self, head: &request::Parts) -> Result<Admitted, Problem> {
        let path = self.path(head)?;
        let own_origin = self.own_origin(&head.headers)?;
        refuse_other_sites(&head.headers, &own_origin)?;
        Ok(Admitted { path, own_origin })
    }

    /// Of `GET /path` only: an absolute URI or CONNECT asks for a way to anywhere.
    fn path(&self, head: &request::Parts) -> Result<PathAndQuery, Problem> {
        let uri = &head.uri;
        let elsewhere = uri.scheme().is_some() || uri.authority().is_some();
        match uri.path_and_query() {
            Some(path)
                if !elsewhere
                    && head.method != Method::CONNECT
                    && path.as_str().starts_with('/') =>
            {
                Ok(path.clone())
            }
            _ => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "not_a_forward_proxy",
                format!(
                    "this port leads to one service only: ask it for a path, as in http://127.0.0.1:{}/path, and do \
                     not set it as the client's proxy",
                    self.port
                ),
            )),
        }
    }

    fn own_origin(&self, headers: &HeaderMap) -> Result<String, Problem> {
        let mut hosts = headers.get_all(HOST).iter();
        let (host, more) = (hosts.next(), hosts.next());
        let own = host.filter(|_| more.is_none()).and_then(|host| {
            let own = |name: &&&str| {
                let with_port = format!("{name}:{}", self.port);
                host.as_bytes().eq_ignore_ascii_case(with_port.as_bytes())
                    || self.port == 80 && host.as_bytes().eq_ignore_ascii_case(name.as_bytes())
            };
            NAMES.iter().find(own)
        });
        match own {
            // 80 goes without saying in an origin.
            Some(name) if self.port == 80 => Ok(format!("http://{name}")),
            Some(name) => Ok(format!("http://{name}:{}", self.port)),
            None => Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "other_host",
                format!(
                    "the request's Host is not this proxy's: expected 127.0.0.1:{0}, localhost:{0} or [::1]:{0}",
                    self.port
                ),
            )),
        }
    }
}

/// What the page of another site has the browser send, be it one on another port of this machine.
fn refuse_other_sites(headers: &HeaderMap, own_origin: &str) -> Result<(), Problem> {
    let own =
        |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(own_origin.as_bytes());
    // `none` is a person who typed the address.
    let same = |value: &http::HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
    if headers.get_all(ORIGIN).iter().all(own) && headers.get_all(SEC_FETCH_SITE).iter().all(same) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        format!(
            "a page of another site asked for this, and the proxy signs for nobody but {own_origin} itself: type the \
             address instead of following a link"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(port: u16, target: &str, headers: &[(&str, &str)]) -> Result<String, String> {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let admitted = Gate::new(port).admit(&head).map_err(|problem| problem.code().to_owned());
        admitted.map(|admitted| admitted.own_origin)
    }

    #[test]
    fn its_own_names_with_its_own_port_are_admitted() {
        for (host, origin) in [
            ("127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("LocalHost:8081", "http://localhost:8081"),
            ("[::1]:8081", "http://[::1]:8081"),
        ] {
            assert_eq!(code(8081, "/", &[("host", host)]), Ok(origin.to_owned()));
        }
        assert_eq!(code(80, "/", &[("host", "localhost")]), Ok("http://localhost".to_owned()));
        assert_eq!(code(80, "/", &[("host", "localhost:80")]), Ok("http://localhost".to_owned()));
    }

    #[test]
    fn every_other_host_is_refused() {
        for host in [
            "",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:8082",
            "localhost.:8081",
            "evil.example:8081",
            "127.0.0.1.evil.example:8081",
            "user@127.0.0.1:8081",
            "127.0.0.1:8081, evil.example",
            "127.0.0.1:08081",
            "0.0.0.0:8081",
            "2130706433:8081",
        ] {
            assert_eq!(code(8081, "/", &[("host", host)]), Err("other_host".into()), "{host}");
        }
        assert_eq!(code(8081, "/", &[]), Err("other_host".into()));
        let twice = [("host", "localhost:8081"), ("host", "localhost:8081")];
        assert_eq!(code(8081, "/", &twice), Err("other_host".into()));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let host = ("host", "localhost:8081");
        for header in [
            ("origin", "http://localhost:8081"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(code(8081, "/", &[host, header]).is_ok(), "{header:?}");
        }
        for header in [
            ("origin", "null"),
            ("origin", ""),
            ("origin", "https://localhost:8081"),
            ("origin", "http://localhost:3000"),
            ("origin", "http://127.0.0.1:8081"),
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", ""),
        ] {
            assert_eq!(code(8081, "/", &[host, header]), Err("cross_site".into()), "{header:?}");
        }
    }

    #[test]
    fn nothing_but_a_path_is_a_target() {
        let host = [("host", "localhost:8081")];
        assert!(code(8081, "/a//b?c", &host).is_ok());
        for target in ["http://localhost:8081/", "http://evil.example/", "evil.example:443", "*"] {
            assert_eq!(code(8081, target, &host), Err("not_a_forward_proxy".into()), "{target}");
        }
    }
}
