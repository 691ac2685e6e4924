//! WebSockets: a request that turns its connection into a stream of bytes both ways (RFC 9110 section 7.8).

use axum::body::Body;
use countersign::Problem;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::place::Place;

/// What a connection may become. Nothing else: over an upgrade to HTTP/2 (`h2c`) a client could send requests that
/// nobody signs and nobody looks at.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether the client wants a WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    named && is_websocket(headers)
}

/// The client's end of the connection, once it has been answered.
pub fn client_end(request: &mut Request<Incoming>) -> OnUpgrade {
    hyper::upgrade::on(request)
}

/// Says to the next hop that a WebSocket is wanted, or had.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Joins both ends, in a task of its own: it lasts longer than the exchange, and keeps the client's place.
pub fn join(
    client: OnUpgrade,
    answer: &mut Response<Incoming>,
    place: Place,
) -> Result<(), Problem> {
    if !is_websocket(answer.headers()) {
        return Err(not_wanted());
    }
    let service = hyper::upgrade::on(answer);
    tokio::spawn(async move {
        let Ok((client, service)) = tokio::try_join!(client, service) else { return };
        let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
        // However it ends, both ends are closed, and see it.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut service).await;
        drop(place);
    });
    Ok(())
}

/// The service changed the protocol to another one, or unasked.
pub fn not_wanted() -> Problem {
    let detail = "the service switched to a protocol that was not asked for";
    Problem::new(StatusCode::BAD_GATEWAY, "upstream_broken", detail)
}

/// The answer that switches the client's connection.
pub fn switching(mut head: http::response::Parts) -> Response<Body> {
    mark(&mut head.headers);
    Response::from_parts(head, Body::empty())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(UPGRADE).iter();
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    values.next().is_some_and(websocket) && values.next().is_none()
}
