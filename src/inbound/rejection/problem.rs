//! Problem details (RFC 9457).

use bytes::Bytes;
use http::StatusCode;

/// The media type of a problem.
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

/// A problem's body: the members of RFC 9457, and `code` for programs.
pub(crate) fn body(status: StatusCode, code: &str, detail: &str) -> Bytes {
    let problem = serde_json::json!({
        "type": format!("urn:countersign:problem:{code}"),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    problem.to_string().into()
}
