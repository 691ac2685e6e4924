//! A refused request: one structured event in the log, one answer to the client.
//!
//! The event's target is [`TARGET`], its `code` the cause's. For a verified principal it says who it was. It never has
//! a token in it, nor the query of the URL.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::cause::Cause;
use super::rejection;
use crate::problem::Problem;

/// The target of the events about refused requests, for log filters.
pub const TARGET: &str = "countersign::denial";

/// Logs the refusal and makes the answer.
pub(super) fn answer<B>(cause: &Cause, request: &Request<B>) -> Response<Bytes> {
    answer_parts(cause, request.method(), request.uri(), request.headers())
}

/// The same for a request in parts.
pub(super) fn answer_parts(
    cause: &Cause,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response<Bytes> {
    let response = rejection::respond(cause, headers);
    let code = cause.code();
    let status = rejection::status(cause).as_u16();
    let (method, path) = (method.as_str(), uri.path());
    match cause {
        Cause::FrontEndMissing => tracing::error!(
            target: TARGET, code, http_request.method = method, http_request.url = path,
            http_request.status = status, "refused: {cause}"
        ),
        Cause::NotAllowed { principal, .. } => tracing::warn!(
            target: TARGET, code, principal, http_request.method = method,
            http_request.url = path, http_request.status = status, "refused: {cause}"
        ),
        _ => tracing::warn!(
            target: TARGET, code, http_request.method = method, http_request.url = path,
            http_request.status = status, "refused: {cause}"
        ),
    }
    response
}

/// A service that asks for a principal where no layer has put one: a mistake in the service, and nothing is let in.
pub(super) fn layer_missing(asking: &'static str) -> Response<Bytes> {
    tracing::error!(
        code = "authentication_layer_missing",
        "{asking} is used without the Authenticate layer around it; add .layer(Authenticate::new(…)) to the router"
    );
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let detail = "This service is set up wrongly and refuses every request.";
    Problem::new(status, "authentication_layer_missing", detail).into_http()
}
