//! The few answers that the server gives itself, as `application/problem+json` (RFC 9457).

use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// How long a client should wait before it asks a server again that is starting or not ready.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// An answer with this status and a `code` that programs can rely on.
pub(super) fn response(status: StatusCode, code: &str, detail: &str) -> Response<Body> {
    with_members(status, code, detail, json!({}))
}

/// The same with members of its own.
pub(super) fn with_members(
    status: StatusCode,
    code: &str,
    detail: &str,
    mut body: Value,
) -> Response<Body> {
    body["type"] = "about:blank".into();
    body["title"] = status.canonical_reason().unwrap_or("Error").into();
    body["status"] = status.as_u16().into();
    body["code"] = code.into();
    body["detail"] = detail.into();
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

/// For `Router::fallback`: 404 as a problem.
///
/// ```
/// use countersign::server;
///
/// let router: axum::Router = axum::Router::new()
///     .fallback(server::not_found)
///     .method_not_allowed_fallback(server::method_not_allowed);
/// ```
pub async fn not_found() -> Response<Body> {
    response(StatusCode::NOT_FOUND, "not_found", "nothing is served at this path")
}

/// For `Router::method_not_allowed_fallback`: 405 as a problem; axum adds `Allow`.
pub async fn method_not_allowed() -> Response<Body> {
    let detail = "this path is served for other methods only: see the Allow field";
    response(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
