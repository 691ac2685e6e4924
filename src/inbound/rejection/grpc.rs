//! Refusals for gRPC: status 200 and the verdict in `grpc-status`, without a body (a trailers-only answer, see gRPC's
//! `PROTOCOL-HTTP2.md`).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::inbound::cause::Cause;

/// Whether the request is gRPC: its content type begins with `application/grpc`.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.and_then(|value| value.split_at_checked(GRPC.len())).is_some_and(
        |(start, rest)| {
            start.eq_ignore_ascii_case(GRPC)
                && matches!(rest.first(), None | Some(b'+' | b';' | b'-'))
        },
    )
}

pub(crate) fn refusal(cause: &Cause) -> Response<Bytes> {
    let status = match super::status(cause) {
        StatusCode::FORBIDDEN => "7",
        StatusCode::SERVICE_UNAVAILABLE => "14",
        _ => "16",
    };
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(status));
    // Printable ASCII without `%` stands for itself (percent-encoding of grpc-message); a test says so.
    headers.insert("grpc-message", HeaderValue::from_static(cause.description()));
    response
}
