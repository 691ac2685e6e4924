//! The caller: validates a request, posts a signed one to the called function, hands back its answer.
//!
//! One of the two files to edit for a service of your own. It verifies its own callers, too: a caller that is open
//! lends its identity to anybody.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use countersign::Problem;
use countersign::outbound::{IdTokenClient, SendError};
use countersign::server;
use countersign::telemetry::TraceContext;
use serde_json::{Value, json};

/// The longest answer that is handed back.
const LONGEST_ANSWER: usize = 1024 * 1024;

pub fn router(called: IdTokenClient) -> Router {
    Router::new()
        .route("/", post(call))
        .fallback(server::not_found)
        .method_not_allowed_fallback(server::method_not_allowed)
        .with_state(called)
}

async fn call(State(called): State<IdTokenClient>, body: Bytes) -> Result<Response<Body>, Problem> {
    let value = foo(&body)?;

    let mut request = called.post("").json(&json!({ "bar": value }));
    let mut trace = HeaderMap::new();
    TraceContext::current().unwrap_or_else(TraceContext::start).continue_in(&mut trace);
    for (name, value) in &trace {
        request = request.header(name.clone(), value.clone());
    }

    // What the client is told names the cause; the log says the rest.
    let answer = request.send().await.map_err(|error| not_sent(&error))?;
    hand_back(answer).await
}

fn foo(body: &[u8]) -> Result<Value, Problem> {
    server::json_object(body)?.remove("foo").filter(|value| !value.is_null()).ok_or_else(|| {
        let detail = "bad request, missing required field \"foo\"";
        Problem::new(StatusCode::BAD_REQUEST, "missing_field", detail)
    })
}

/// Successes, and refusals of what our own client asked for, are handed back. A 401 or 403 is not: it is this service
/// that was refused, and the client's token is not what was bad.
async fn hand_back(mut answer: reqwest::Response) -> Result<Response<Body>, Problem> {
    let status = answer.status();
    match status.as_u16() {
        200..=299 | 400 | 404 | 409 | 422 => {}
        401 | 403 => {
            tracing::error!(
                code = "downstream_refused_caller",
                downstream_status = status.as_u16(),
                "the called function, or IAM in front of it, refused this service: does its account have \
                 roles/run.invoker there, is it in the called function's ALLOWED_PRINCIPALS, and is CALLED_AUDIENCE \
                 one of its audiences?"
            );
            let detail = "the called function refused this service";
            return Err(downstream("downstream_refused_caller", detail)
                .with("downstream_status", status.as_u16()));
        }
        _ => {
            tracing::error!(
                code = "downstream_failed",
                downstream_status = status.as_u16(),
                "the called function failed"
            );
            let detail = "the called function failed";
            return Err(
                downstream("downstream_failed", detail).with("downstream_status", status.as_u16())
            );
        }
    }
    let content_type = answer.headers().get(CONTENT_TYPE).cloned();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| broken_off(&error))? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(downstream(
                "downstream_failed",
                "the called function's answer is too long",
            ));
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn not_sent(error: &SendError) -> Problem {
    tracing::error!(
        code = "downstream_call_failed",
        error = error as &dyn std::error::Error,
        "the call failed"
    );
    match error {
        SendError::TimedOut { .. } => timed_out(),
        SendError::Authorize(_) => {
            downstream("id_token_unavailable", "this service got no ID token for its call")
        }
        SendError::Unreachable { .. } => {
            downstream("downstream_unreachable", "the called function cannot be reached")
        }
        _ => downstream("downstream_failed", "the call to the called function broke"),
    }
}

fn broken_off(error: &reqwest::Error) -> Problem {
    tracing::error!(
        code = "downstream_call_failed",
        error = error as &dyn std::error::Error,
        "the answer broke off"
    );
    if error.is_timeout() {
        return timed_out();
    }
    downstream("downstream_failed", "the called function's answer broke off")
}

fn downstream(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, code, detail)
}

fn timed_out() -> Problem {
    let detail = "the called function did not answer in time";
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "downstream_timeout", detail)
}
