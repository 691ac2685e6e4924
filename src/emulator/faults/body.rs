//! Bodies that are too long, too short or too slow.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;

use super::answer::{plain, set_length, typed};
use crate::emulator::listener::HangUp;

/// 8 KiB of spaces: white space is what a streaming JSON parser would swallow for ever.
const CHUNK: Bytes = Bytes::from_static(&[b' '; 8 * 1024]);

/// A body of so many bytes, or one without end. Nothing of it is held in memory.
pub(super) fn filler(bytes: Option<u64>) -> Response<Body> {
    typed("application/json", Body::new(Filler { left: bytes }))
}

struct Filler {
    left: Option<u64>,
}

impl http_body::Body for Filler {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        let Some(left) = &mut self.left else {
            return Poll::Ready(Some(Ok(Frame::data(CHUNK))));
        };
        if *left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(*left).unwrap_or(usize::MAX).min(CHUNK.len());
        *left -= size as u64;
        Poll::Ready(Some(Ok(Frame::data(CHUNK.slice(..size)))))
    }
}

/// The head says the whole length, then half of it comes.
pub(super) async fn truncated(right: Response<Body>) -> Response<Body> {
    let (mut answer, bytes) = taken_apart(right).await;
    let half = bytes.slice(..bytes.len() / 2);
    *answer.body_mut() = Body::new(Drip { bytes: half, pause: None, sleep: None, end: End::Flush });
    set_length(&mut answer, bytes.len());
    answer
}

/// One byte at a time.
pub(super) async fn dripping(right: Response<Body>, pause: Duration) -> Response<Body> {
    let (mut answer, bytes) = taken_apart(right).await;
    set_length(&mut answer, bytes.len());
    *answer.body_mut() =
        Body::new(Drip { bytes, pause: Some(pause), sleep: None, end: End::Whole });
    answer
}

async fn taken_apart(right: Response<Body>) -> (Response<Body>, Bytes) {
    let (head, body) = right.into_parts();
    // The emulator's own answers are small and whole: their bodies cannot fail.
    let Ok(body) = body.collect().await else {
        return (plain(500, String::new()), Bytes::new());
    };
    (Response::from_parts(head, Body::empty()), body.to_bytes())
}

struct Drip {
    bytes: Bytes,
    /// `None`: all at once.
    pause: Option<Duration>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    end: End,
}

enum End {
    Whole,
    Flush,
    BreakOff,
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        if self.bytes.is_empty() {
            let end = std::mem::replace(&mut self.end, End::Whole);
            return match end {
                End::Whole => Poll::Ready(None),
                // An error at once would overtake the bytes that the connection has not flushed yet.
                End::Flush => {
                    self.end = End::BreakOff;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                End::BreakOff => Poll::Ready(Some(Err(HangUp))),
            };
        }
        let Some(pause) = self.pause else {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))));
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        std::task::ready!(sleep.as_mut().poll(context));
        self.sleep = None;
        let byte = self.bytes.split_to(1);
        Poll::Ready(Some(Ok(Frame::data(byte))))
    }
}
