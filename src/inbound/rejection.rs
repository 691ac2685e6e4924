//! The one place where a [`Cause`] becomes an answer.
//!
//! | cause | HTTP | gRPC |
//! |---|---|---|
//! | no token, or no bearer token | 401, `WWW-Authenticate: Bearer` | 16 UNAUTHENTICATED |
//! | several tokens | 400, `error="invalid_request"` | 16 |
//! | a bad token | 401, `error="invalid_token"` | 16 |
//! | a good token of somebody who is not allowed | 403 | 7 PERMISSION_DENIED |
//! | no usable keys, or IAM is not in front as it was said to be | 503, `Retry-After` | 14 UNAVAILABLE |
//!
//! Sources: RFC 6750 section 3, RFC 9457, gRPC's `doc/http-grpc-status-mapping.md` and `statuscodes.md`.

pub(crate) mod body;
pub(crate) mod grpc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::cause::Cause;
use crate::problem::Problem;

pub use body::ResponseBody;

/// Seconds after which a client may try again: the back-off of the key fetch, and a little.
const RETRY_AFTER_SECONDS: &str = "5";

/// The HTTP status that a cause gives.
#[must_use]
pub const fn status(cause: &Cause) -> StatusCode {
    match cause {
        Cause::SeveralTokens { .. } => StatusCode::BAD_REQUEST,
        Cause::NotAllowed { .. } => StatusCode::FORBIDDEN,
        Cause::NoKeys { .. } | Cause::FrontEndMissing => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// The answer to a request that is refused for this cause. `request` are the request's headers: they tell gRPC from
/// the rest.
#[must_use]
pub fn respond(cause: &Cause, request: &HeaderMap) -> Response<Bytes> {
    let mut response =
        if grpc::is_grpc(request) { grpc::refusal(cause) } else { http_refusal(cause) };
    if status(cause) == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}

fn http_refusal(cause: &Cause) -> Response<Bytes> {
    let mut response = Problem::new(status(cause), cause.code(), cause.description()).into_http();
    if let Some(challenge) = challenge(cause) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// RFC 6750 section 3.1: no error code where no token was sent.
fn challenge(cause: &Cause) -> Option<HeaderValue> {
    let error = match cause {
        Cause::NoToken | Cause::NotBearer { .. } => {
            return Some(HeaderValue::from_static("Bearer"));
        }
        Cause::SeveralTokens { .. } => "invalid_request",
        Cause::NotAllowed { .. } | Cause::NoKeys { .. } | Cause::FrontEndMissing => return None,
        _ => "invalid_token",
    };
    let description = cause.description();
    // Descriptions are fixed sentences without quotes or control characters; a test says so.
    format!("Bearer error=\"{error}\", error_description=\"{description}\"").parse().ok()
}

#[cfg(test)]
mod tests;
