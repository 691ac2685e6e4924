//! The way through to the container and back: both bodies are streamed, nothing is held.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use http::header::{CONNECTION, EXPECT, FORWARDED, HOST, SERVER, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version, request};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::door::SERVERLESS;

/// To one container. hyper-util's own client, because it passes on paths and headers byte for byte.
pub(super) type Container = Client<HttpConnector, Incoming>;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_CLOUD_TRACE_CONTEXT: HeaderName = HeaderName::from_static("x-cloud-trace-context");

pub(super) fn container(http2: bool) -> Container {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(http2).build(connector)
}

/// Makes of what came in what the container gets.
pub(super) fn prepare(
    head: &mut request::Parts,
    client: IpAddr,
    stripped: Option<(HeaderName, HeaderValue)>,
) {
    // HTTP/2 names the host in the URI, HTTP/1 in a header; the container is to see the one the client asked for.
    if !head.headers.contains_key(HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    remove_hop_by_hop(&mut head.headers);
    head.headers.remove(EXPECT);
    if let Some((name, value)) = stripped {
        head.headers.insert(name, value);
    }
    add_forwarded(&mut head.headers, client);
    add_trace(&mut head.headers);
    let target = head.uri.path_and_query().cloned();
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(target);
    head.version = Version::HTTP_11;
}

/// The same request, to this address. `None` for a target that is no path (`OPTIONS *`).
pub(super) fn request(
    mut head: request::Parts,
    body: Incoming,
    to: SocketAddr,
) -> Option<Request<Incoming>> {
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(to.to_string()).ok()?);
    head.uri = Uri::from_parts(parts).ok()?;
    Some(Request::from_parts(head, body))
}

/// The container's answer, as the client gets it.
pub(super) fn response(answer: Response<Incoming>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    remove_hop_by_hop(&mut head.headers);
    head.headers.insert(SERVER, HeaderValue::from_static("Google Frontend"));
    head.version = Version::HTTP_11;
    head.extensions.clear();
    Response::from_parts(head, Body::new(body))
}

/// RFC 9110 section 7.6.1.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Whoever names these wants the door to lose them.
        .filter(|name| ![http::header::AUTHORIZATION, SERVERLESS, HOST].contains(name))
        .collect();
    // gRPC needs to hear that trailers are welcome.
    let trailers =
        headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn add_forwarded(headers: &mut HeaderMap, client: IpAddr) {
    let earlier: Vec<String> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .chain([client.to_string()])
        .collect();
    insert(headers, X_FORWARDED_FOR, &earlier.join(", "));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    insert(headers, FORWARDED, &format!("for=\"{client}\";proto=https"));
}

/// Both spellings of the trace, of one and the same where only one came in.
fn add_trace(headers: &mut HeaderMap) {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let known = text(&TRACEPARENT)
        .and_then(|value| {
            let mut parts = value.split('-').skip(1);
            let trace = u128::from_str_radix(parts.next()?, 16).ok()?;
            Some((trace, u64::from_str_radix(parts.next()?, 16).ok()?))
        })
        .or_else(|| {
            let (trace, rest) = text(&X_CLOUD_TRACE_CONTEXT)?.split_once('/')?;
            let span = rest.split(';').next()?.parse().ok()?;
            Some((u128::from_str_radix(trace, 16).ok()?, span))
        });
    // Zero is no valid id (W3C Trace Context section 3.2.2).
    let (trace, span) = known.unwrap_or_else(|| (fastrand::u128(1..), fastrand::u64(1..)));
    if !headers.contains_key(TRACEPARENT) {
        insert(headers, TRACEPARENT, &format!("00-{trace:032x}-{span:016x}-01"));
    }
    if !headers.contains_key(X_CLOUD_TRACE_CONTEXT) {
        // The span is decimal here, and only here.
        insert(headers, X_CLOUD_TRACE_CONTEXT, &format!("{trace:032x}/{span};o=1"));
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_trace_goes_on_in_both_spellings() {
        let mut one =
            headers(&[("traceparent", "00-0000000000000000000000000000000a-00000000000000ff-01")]);
        add_trace(&mut one);
        assert_eq!(one["x-cloud-trace-context"], "0000000000000000000000000000000a/255;o=1");
        let mut other =
            headers(&[("x-cloud-trace-context", "0000000000000000000000000000000a/255;o=1")]);
        add_trace(&mut other);
        assert_eq!(other["traceparent"], "00-0000000000000000000000000000000a-00000000000000ff-01");
        let mut garbage = headers(&[("traceparent", "garbage")]);
        add_trace(&mut garbage);
        assert_eq!(garbage["traceparent"], "garbage", "what came in is left alone");
    }

    #[test]
    fn hop_by_hop_headers_end_here_and_tokens_do_not() {
        let mut headers = headers(&[
            ("connection", "keep-alive, x-mine, authorization"),
            ("x-mine", "1"),
            ("authorization", "Bearer a"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("x-other", "2"),
        ]);
        remove_hop_by_hop(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(["authorization", "te", "x-other"].iter().all(|name| headers.contains_key(*name)));
    }

    #[test]
    fn the_client_is_appended_to_who_was_named_before() {
        let mut headers =
            headers(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "http")]);
        add_forwarded(&mut headers, IpAddr::from([127, 0, 0, 1]));
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=\"127.0.0.1\";proto=https");
    }
}
