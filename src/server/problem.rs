//! The few answers that the server gives itself.

use http::StatusCode;

use crate::problem::Problem;

/// Seconds after which a client should ask a server again that is starting or not ready.
const RETRY_SECONDS: u32 = 2;

/// 503 with `Retry-After`.
pub(super) fn not_yet(code: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(RETRY_SECONDS)
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
pub async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "nothing is served at this path")
}

/// For `Router::method_not_allowed_fallback`: 405 as a problem; axum adds `Allow`.
pub async fn method_not_allowed() -> Problem {
    let detail = "this path is served for other methods only: see the Allow field";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
