//! The connection's bytes, watched on their way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Head, Meter};
use crate::server::body::Stall;

/// What an HTTP/2 connection begins with, RFC 9113 section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that tells its [`Meter`] when a request begins to arrive, gives up on a client that takes nothing, and
/// closes so that the last answer arrives.
pub(super) struct Metered {
    stream: TokioIo<TcpStream>,
    meter: Arc<Meter>,
    protocol: Protocol,
    blocked: Stall,
    linger: Stall,
    write_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes have come, and all of them are the preface's.
    Undecided(usize),
    Http1,
    Http2,
}

impl Metered {
    pub(super) fn new(
        stream: TcpStream,
        meter: Arc<Meter>,
        stall: Duration,
        linger: Duration,
    ) -> Self {
        Self {
            stream: TokioIo::new(stream),
            meter,
            protocol: Protocol::Undecided(0),
            blocked: Stall::new(stall),
            linger: Stall::new(linger),
            write_closed: false,
        }
    }

    /// The first bytes, looked at: hyper-util decides in the same way, but does not tell.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
        seen: usize,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; PREFACE.len()];
        let room = (PREFACE.len() - seen).min(cursor.remaining());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer.unfilled()))?;
        let came = buffer.filled();
        cursor.put_slice(came);
        let end = seen + came.len();
        self.protocol = if came.is_empty() || PREFACE[seen..end] != *came {
            Protocol::Http1
        } else if end == PREFACE.len() {
            Protocol::Http2
        } else {
            Protocol::Undecided(end)
        };
        let head = if self.protocol == Protocol::Http2 { Head::None } else { Head::Partial };
        self.meter.set_head(head);
        Poll::Ready(Ok(()))
    }

    /// Gives up where a write has been pending for too long.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.blocked.expired(cx, written.is_pending()) {
            let message = "the client stopped taking the answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        written
    }

    /// Reads and forgets what the client is still sending: a socket that is closed with unread bytes is reset, and
    /// a reset can take the answer with it (RFC 9112 section 9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4096];
        loop {
            // Asked first, and never with "not pending": the time counts from the first call.
            if self.linger.expired(cx, true) {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, buffer.unfilled())) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // The end, or a client that is gone: there is nobody to wait for.
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Read for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Protocol::Undecided(seen) = self.protocol {
            return self.poll_first(cx, cursor, seen);
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, cursor))?;
        // With a request in hand it is that one's body, or more than one request at once.
        if self.protocol == Protocol::Http1 && self.meter.active() == 0 {
            self.meter.set_head(Head::Partial);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_closed {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.write_closed = true;
        }
        if self.protocol == Protocol::Http1 && self.meter.unread() {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watch_write(cx, written)
    }
}
