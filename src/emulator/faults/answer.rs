//! How each fault answers.

use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{FaultKind, body};
use crate::emulator::listener::HangUp;

impl FaultKind {
    /// Lets this go wrong with the answer that would have been right.
    pub(in crate::emulator) async fn spoil(
        self,
        right: impl Future<Output = Response<Body>>,
    ) -> Result<Response<Body>, HangUp> {
        Ok(match self {
            Self::Latency { milliseconds } => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                right.await
            }
            Self::Hang => std::future::pending().await,
            Self::CloseConnection => return Err(HangUp),
            Self::Status { status, retry_after } => {
                let mut answer =
                    plain(status, format!("the emulator was told to answer {status}\n"));
                insert(&mut answer, RETRY_AFTER, retry_after.as_deref());
                answer
            }
            Self::Redirect { location, status } => {
                let mut answer = plain(status, String::new());
                insert(&mut answer, LOCATION, Some(&location));
                answer
            }
            Self::GarbageBody => typed("application/json", "\u{fffd}}{ not JSON, not a token ]["),
            Self::HtmlBody => typed(
                "text/html",
                "<html><body>Please accept the terms of this network.</body></html>",
            ),
            Self::EmptyBody => plain(200, String::new()),
            Self::Body { content_type, body } => typed(&content_type, body),
            Self::HugeBody { bytes } => body::filler(Some(bytes)),
            Self::EndlessBody => body::filler(None),
            Self::TruncatedBody => body::truncated(right.await).await,
            Self::SlowDrip { milliseconds } => {
                body::dripping(right.await, Duration::from_millis(milliseconds)).await
            }
        })
    }
}

pub(super) fn plain(status: u16, text: String) -> Response<Body> {
    let mut answer = typed("text/plain; charset=utf-8", text);
    // Checked when the fault was injected.
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    answer
}

pub(super) fn typed(content_type: &str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    insert(&mut answer, CONTENT_TYPE, Some(content_type));
    answer
}

fn insert(answer: &mut Response<Body>, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        answer.headers_mut().insert(name, value);
    }
}

/// Says how long a body is that will not be that long.
pub(super) fn set_length(answer: &mut Response<Body>, bytes: usize) {
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
}
