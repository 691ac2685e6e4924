//! What changes in the headers on the way there and back.

use countersign::identity::X_SERVERLESS_AUTHORIZATION;
use countersign::outbound::Origin;
use http::header::{
    ALT_SVC, CONNECTION, EXPECT, HOST, LOCATION, ORIGIN, PROXY_AUTHORIZATION, REFERER, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// Takes out what was meant for the proxy, and puts the service's origin where the proxy's was: services compare
/// `Origin` with their own name.
pub fn to_service(headers: &mut HeaderMap, own_origin: &str, service: &Origin) {
    remove_hop_by_hop(headers);
    for name in [HOST, EXPECT, PROXY_AUTHORIZATION, X_SERVERLESS_AUTHORIZATION] {
        // The host is the URI's; the last is ours to send.
        headers.remove(name);
    }
    for name in [ORIGIN, REFERER] {
        let there = headers.get(&name).and_then(|value| value.to_str().ok());
        if let Some(there) = there.and_then(|value| moved(value, own_origin, service)) {
            headers.insert(name, there);
        }
    }
    // RFC 9110 section 7.6.3.
    headers.append(VIA, HeaderValue::from_static("1.1 countersign"));
}

/// The way back: a redirect within the service stays within the proxy, any other is the client's to follow.
pub fn to_client(headers: &mut HeaderMap, own_origin: &str, service: &Origin) {
    remove_hop_by_hop(headers);
    // It speaks of the service's own ports.
    headers.remove(ALT_SVC);
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(local) = location.and_then(|location| local(location, own_origin, service)) {
        headers.insert(LOCATION, local);
    }
}

/// RFC 9110 section 7.6.1.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.into_iter().chain([CONNECTION, TRANSFER_ENCODING, UPGRADE, TE]) {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}

/// `Origin` or `Referer` at the service, where it was the proxy's.
fn moved(value: &str, own_origin: &str, service: &Origin) -> Option<HeaderValue> {
    let (before, rest) = value.split_at_checked(own_origin.len())?;
    if !before.eq_ignore_ascii_case(own_origin) || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    HeaderValue::try_from(format!("{service}{rest}")).ok()
}

/// A location at the service, as one at the proxy. `None` where it needs no change: relative, or somewhere else.
fn local(location: &str, own_origin: &str, service: &Origin) -> Option<HeaderValue> {
    let url = if location.starts_with("//") {
        Url::parse(&service.to_string()).ok()?.join(location).ok()?
    } else {
        Url::parse(location).ok()?
    };
    if Origin::of(&url).ok()? != *service {
        return None;
    }
    let mut local = own_origin.to_owned() + url.path();
    for (mark, part) in [('?', url.query()), ('#', url.fragment())] {
        if let Some(part) = part {
            local.push(mark);
            local.push_str(part);
        }
    }
    HeaderValue::try_from(local).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://localhost:8081";

    fn service() -> Origin {
        Origin::of(&"https://a-1.europe-west1.run.app/".parse().unwrap()).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_meant_for_the_proxy_stays_here() {
        let mut headers = headers(&[
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("x-serverless-authorization", "Bearer theirs"),
            ("host", "localhost:8081"),
            ("upgrade", "h2c"),
            ("authorization", "Bearer firebase"),
            ("cookie", "a=b"),
            ("origin", "http://localhost:8081"),
            ("referer", "http://localhost:8081/page?x=1"),
        ]);
        to_service(&mut headers, OWN, &service());
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "cookie", "origin", "referer", "via"]);
        assert_eq!(headers["origin"], "https://a-1.europe-west1.run.app");
        assert_eq!(headers["referer"], "https://a-1.europe-west1.run.app/page?x=1");
    }

    #[test]
    fn a_referer_from_elsewhere_is_left_alone() {
        for referer in ["http://localhost:80812/", "https://evil.example/", "http://localhost"] {
            let mut headers = headers(&[("referer", referer)]);
            to_service(&mut headers, OWN, &service());
            assert_eq!(headers["referer"], referer);
        }
    }

    #[test]
    fn redirects_within_the_service_stay_within_the_proxy() {
        for (location, expected) in [
            ("https://a-1.europe-west1.run.app/x?y=1#z", "http://localhost:8081/x?y=1#z"),
            ("https://a-1.europe-west1.run.app", "http://localhost:8081/"),
            ("HTTPS://A-1.europe-west1.run.app:443/x", "http://localhost:8081/x"),
            ("//a-1.europe-west1.run.app/x", "http://localhost:8081/x"),
            // These are passed as they are.
            ("/x", "/x"),
            ("x?y", "x?y"),
            ("http://a-1.europe-west1.run.app/x", "http://a-1.europe-west1.run.app/x"),
            ("https://a-1.europe-west1.run.app:8443/", "https://a-1.europe-west1.run.app:8443/"),
            ("https://accounts.google.com/o", "https://accounts.google.com/o"),
            ("//evil.example/x", "//evil.example/x"),
            ("https://u@a-1.europe-west1.run.app/", "https://u@a-1.europe-west1.run.app/"),
            ("javascript:alert(1)", "javascript:alert(1)"),
        ] {
            let mut headers = headers(&[("location", location), ("alt-svc", "h3=\":443\"")]);
            to_client(&mut headers, OWN, &service());
            assert_eq!(headers["location"], expected, "{location}");
            assert!(!headers.contains_key("alt-svc"));
        }
    }
}
