//! Problem details (RFC 9457): the one shape of every error body.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

/// An error answer, `application/problem+json`, with a stable `code` for programs.
///
/// Handlers return it as it is:
///
/// ```
/// use countersign::Problem;
/// use http::StatusCode;
///
/// async fn handler() -> Result<&'static str, Problem> {
///     Err(Problem::new(StatusCode::BAD_REQUEST, "missing_field", "missing required field \"bar\""))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    members: Map<String, Value>,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem with this status. `detail` is for the client: what was found, what was expected, no secrets.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), members: Map::new(), retry_after_seconds: None }
    }

    /// The same with a member of its own (RFC 9457 section 3.2).
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// The same with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The code for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// As an HTTP response over bytes.
    #[must_use]
    pub fn into_http(self) -> http::Response<Bytes> {
        let Self { status, code, detail, members: mut body, retry_after_seconds } = self;
        body.insert("type".to_owned(), format!("urn:countersign:problem:{code}").into());
        body.insert("title".to_owned(), status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".to_owned(), status.as_u16().into());
        body.insert("detail".to_owned(), detail.into());
        body.insert("code".to_owned(), code.into());
        let mut response = http::Response::new(Value::Object(body).to_string().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_http().map(Body::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_members_of_rfc_9457_and_its_own() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "later")
            .with("queue", 7)
            .retry_after(3)
            .into_http();
        assert_eq!(problem.status(), 503);
        assert_eq!(problem.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(problem.headers()[RETRY_AFTER], "3");
        let body: Value = serde_json::from_slice(problem.body()).unwrap();
        let expected = serde_json::json!({
            "type": "urn:countersign:problem:busy", "title": "Service Unavailable", "status": 503,
            "detail": "later", "code": "busy", "queue": 7,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn members_cannot_replace_the_standard_ones() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "bad", "no").with("status", 200);
        let body: Value = serde_json::from_slice(problem.into_http().body()).unwrap();
        assert_eq!(body["status"], 400);
    }
}
