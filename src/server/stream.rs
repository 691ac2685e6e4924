//! The tasks of HTTP/2 streams: each ends where its client stops taking the answer.
//!
//! Over HTTP/1 such a client blocks the socket, which `connection::io` sees. Over HTTP/2 it only has to open no window
//! (RFC 9113 section 5.2): the socket is free, pings are answered, the request counts as in hand, and nothing else
//! would ever end it.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;

use super::body::Stall;

tokio::task_local! {
    /// How the answer of the stream that this task serves is getting on.
    static ANSWER: Cell<Progress>;
}

#[derive(Clone, Copy, Default)]
struct Progress {
    /// How often hyper has asked for more.
    polls: u64,
    /// It got some, and has not come for more since: the client has to make room first.
    handed_out: bool,
}

/// Notes what was made of hyper's question for more of the answer. Over HTTP/1 there is nobody to tell.
pub(super) fn note<E>(frame: &Poll<Option<Result<Frame<Bytes>, E>>>) {
    let handed_out = matches!(frame, Poll::Ready(Some(Ok(_))));
    let _ = ANSWER.try_with(|answer| {
        answer.set(Progress { polls: answer.get().polls.wrapping_add(1), handed_out });
    });
}

/// Runs streams, with this much time for a client that takes nothing.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    stall: Duration,
}

impl Streams {
    pub(super) const fn new(stall: Duration) -> Self {
        Self { stall }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, inner: F) {
        let stream = Stream { inner, stall: Stall::new(self.stall), seen: 0 };
        tokio::spawn(ANSWER.scope(Cell::default(), stream));
    }
}

pin_project_lite::pin_project! {
    /// One stream; dropped before its end, it is reset.
    struct Stream<F> {
        #[pin]
        inner: F,
        stall: Stall,
        seen: u64,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.inner.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Progress { polls, handed_out } = ANSWER.try_with(Cell::get).unwrap_or_default();
        if polls != *this.seen {
            *this.seen = polls;
            // Something was taken: the time counts anew.
            this.stall.expired(cx, false);
        }
        if this.stall.expired(cx, handed_out) {
            tracing::debug!("the client stopped taking the answer: stream reset");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
