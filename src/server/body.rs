//! A request's body on its way to the application: no larger than allowed, and not standing still.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::connection::Meter;
use crate::problem::Problem;

pin_project_lite::pin_project! {
    /// The body that the application reads.
    pub(super) struct RequestBody {
        #[pin]
        inner: Limited<Incoming>,
        stall: Option<Stall>,
        upload: Arc<Upload>,
        unread: Unread,
    }
}

impl RequestBody {
    /// `stall` applies to HTTP/1 only.
    pub(super) fn new(
        body: Incoming,
        version: Version,
        limit: usize,
        stall: Duration,
        meter: &Arc<Meter>,
    ) -> (Self, Arc<Upload>) {
        let upload = Arc::new(Upload(AtomicU8::new(Upload::FINE)));
        let body = Self {
            inner: Limited::new(body, limit),
            stall: (version < Version::HTTP_2).then(|| Stall::new(stall)),
            upload: Arc::clone(&upload),
            unread: Unread { meter: Arc::clone(meter), ended: false },
        };
        (body, upload)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let frame = this.inner.as_mut().poll_frame(cx);
        if let Some(stall) = this.stall
            && stall.expired(cx, frame.is_pending())
        {
            this.upload.0.store(Upload::STALLED, Ordering::Relaxed);
            return Poll::Ready(Some(Err(Box::new(BodyStalled))));
        }
        match &frame {
            Poll::Ready(Some(Err(error))) if error.is::<LengthLimitError>() => {
                this.upload.0.store(Upload::TOO_LARGE, Ordering::Relaxed);
            }
            Poll::Ready(None) => this.unread.ended = true,
            Poll::Ready(Some(Ok(_))) => this.unread.ended = this.inner.is_end_stream(),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The client has stopped in the middle of its request.
#[derive(Debug, thiserror::Error)]
#[error("the client stopped sending in the middle of the request's body")]
struct BodyStalled;

/// How the body came in, for the answer: whatever the application makes of a body that broke off, the client should
/// learn the reason.
#[derive(Debug)]
pub(super) struct Upload(AtomicU8);

impl Upload {
    const FINE: u8 = 0;
    const TOO_LARGE: u8 = 1;
    const STALLED: u8 = 2;

    /// The answer for a body that broke off.
    pub(super) fn refusal(&self, limit: usize) -> Option<Response<axum::body::Body>> {
        match self.0.load(Ordering::Relaxed) {
            Self::TOO_LARGE => Some(too_large(limit)),
            Self::STALLED => {
                let detail = "the request's body did not arrive in time";
                let status = StatusCode::REQUEST_TIMEOUT;
                Some(Problem::new(status, "request_stalled", detail).into_response())
            }
            _ => None,
        }
    }
}

/// 413, for a body that is too large or says so in advance.
pub(super) fn too_large(limit: usize) -> Response<axum::body::Body> {
    let detail = format!("the request's body may have {limit} bytes at most");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).into_response()
}

/// Tells the connection about a body that was dropped before its end: the client may still be sending.
struct Unread {
    meter: Arc<Meter>,
    ended: bool,
}

impl Drop for Unread {
    fn drop(&mut self) {
        if !self.ended {
            self.meter.note_unread();
        }
    }
}

/// A timer that runs only while there is nothing to be had: on the usual path it costs nothing.
pub(super) struct Stall {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Whether nothing has come for too long. Wakes the task when that happens.
    pub(super) fn expired(&mut self, cx: &mut Context<'_>, pending: bool) -> bool {
        if !pending {
            self.timer = None;
            return false;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).is_ready()
    }
}
