//! The decision: who gets through to the container, and in what shape their token does.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::identity_token::{self, Caller};
use super::service::Service;
use super::{AuthorizationHandling, Ingress};

pub(super) const SERVERLESS: HeaderName = HeaderName::from_static("x-serverless-authorization");

/// What takes the signature's place (google-cloud documents the header, and the text).
const REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

/// What the door says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Through to the container.
    LetIn {
        reason: &'static str,
        caller: Option<Caller>,
        /// The header whose token loses its signature, and what it then holds.
        stripped: Option<(HeaderName, HeaderValue)>,
    },
    /// 404, as if there were no service.
    NotFound { reason: &'static str },
    /// 401.
    Unauthorized { reason: &'static str },
    /// 403.
    Forbidden { reason: &'static str, caller: Option<Caller> },
}

/// Decides about a request for this path with these headers.
pub(super) fn decide(service: &Service, path: &str, headers: &HeaderMap) -> Verdict {
    let now = service.google.clock.unix_seconds();
    let settings = service.settings();
    if reserved(path) {
        return Verdict::NotFound { reason: "reserved path" };
    }
    if settings.ingress == Ingress::Internal {
        return Verdict::NotFound { reason: "internal ingress" };
    }
    if settings.open || service.invokers.everybody(now) {
        let reason = "no invoker check";
        return Verdict::LetIn { reason, caller: None, stripped: None };
    }
    let (name, token) = match credential(headers) {
        Ok(credential) => credential,
        Err(Missing::None) => return Verdict::Forbidden { reason: "no token", caller: None },
        Err(Missing::Unusable(reason)) => return Verdict::Unauthorized { reason },
    };
    let caller = match identity_token::verify(&service.google, token, &service.audiences()) {
        Ok(caller) => caller,
        Err(reason) => return Verdict::Unauthorized { reason },
    };
    let reason = match service.google.policy.role(&caller) {
        _ if service.invokers.include(&caller, now) => "invoker",
        Some(role) => role,
        None => return Verdict::Forbidden { reason: "no invoker role", caller: Some(caller) },
    };
    let strips = name == SERVERLESS
        || caller.person
        || settings.authorization == AuthorizationHandling::Stripped;
    let stripped = strips.then(|| without_signature(token)).flatten().map(|value| (name, value));
    Verdict::LetIn { reason, caller: Some(caller), stripped }
}

/// `/healthz` and the like, which Google's servers answer themselves
/// (<https://cloud.google.com/run/docs/known-issues#reserved-url-paths>).
fn reserved(path: &str) -> bool {
    let one_segment = path.strip_prefix('/').filter(|rest| !rest.contains('/'));
    one_segment.is_some_and(|name| name.ends_with('z'))
        || path == "/eventlog"
        || path == "/_ah"
        || path.starts_with("/_ah/")
}

enum Missing {
    None,
    Unusable(&'static str),
}

/// The header that decides, and the token in it. With `X-Serverless-Authorization` present, `Authorization` is not
/// looked at.
fn credential(headers: &HeaderMap) -> Result<(HeaderName, &str), Missing> {
    let name = if headers.contains_key(SERVERLESS) { SERVERLESS } else { AUTHORIZATION };
    let mut values = headers.get_all(&name).iter();
    let value = values.next().ok_or(Missing::None)?;
    if values.next().is_some() {
        return Err(Missing::Unusable("two tokens"));
    }
    let value = value.to_str().map_err(|_| Missing::Unusable("not a bearer token"))?;
    let (scheme, token) = value.trim().split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(Missing::Unusable("not a bearer token"));
    }
    let token = token.trim();
    if token.contains(',') {
        return Err(Missing::Unusable("two tokens"));
    }
    Ok((name, token))
}

/// With the scheme in lower case, as it arrives at containers.
fn without_signature(token: &str) -> Option<HeaderValue> {
    let (signed, _) = token.rsplit_once('.')?;
    let mut value = HeaderValue::from_str(&format!("bearer {signed}.{REMOVED}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_paths() {
        for path in ["/healthz", "/varz", "/z", "/eventlog", "/_ah/warmup", "/_ah"] {
            assert!(reserved(path), "{path}");
        }
        for path in ["/", "/health/live", "/entities/abcz", "/eventlogs", "/_ahoy", "/healthz/"] {
            assert!(!reserved(path), "{path}");
        }
    }

    fn bearer(values: &[&str]) -> Result<(HeaderName, String), &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        match credential(&headers) {
            Ok((name, token)) => Ok((name, token.to_owned())),
            Err(Missing::None) => Err("none"),
            Err(Missing::Unusable(reason)) => Err(reason),
        }
    }

    #[test]
    fn one_bearer_token_in_one_header() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer(&[value]), Ok((AUTHORIZATION, "a.b.c".to_owned())), "{value}");
        }
        assert_eq!(bearer(&[]), Err("none"));
        assert_eq!(bearer(&["Bearer a", "Bearer b"]), Err("two tokens"));
        assert_eq!(bearer(&["Bearer a, Bearer b"]), Err("two tokens"));
        for value in ["", "Bearer", "Bearer ", "Basic a", "Bearera", "a.b.c"] {
            assert_eq!(bearer(&[value]), Err("not a bearer token"), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_value_upsets_the_door(value: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(SERVERLESS, value);
                if let Ok((name, token)) = credential(&headers) {
                    proptest::prop_assert_eq!(name, SERVERLESS);
                    proptest::prop_assert!(!token.is_empty() && !token.contains(','));
                }
            }
        }
    }
}
