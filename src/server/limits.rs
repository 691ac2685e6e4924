//! Where the server listens, and the bounds of everything a stranger could make grow.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;

use super::ServerError;
use super::stream::Streams;
use crate::telemetry::RequestLog;

/// The smallest read buffer that hyper works with.
const SMALLEST_HEADER_BYTES: u32 = 8 * 1024;

/// Where to listen, and every bound. The defaults are meant for a container on Cloud Run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address to listen on. Default `0.0.0.0`, as Cloud Run's container contract wants.
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one, which [`super::Server::local_addr`] tells. Default 8080.
    pub port: u16,

    /// From the connection to the end of the first request's header, and from the first byte of each later request to
    /// the end of its header (HTTP/1); from the connection to the end of the preface (HTTP/2). Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests; at most twice that passes before it is closed, and an
    /// HTTP/2 client that does not let go is cut after [`Config::stall`] more. Default 620 s: Google's front ends keep
    /// a connection for 600 s and use it again without asking, so the server must not be the first to close it
    /// (<https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends>).
    /// When there are as many connections as [`Config::connections`] allows, idle ones are closed after
    /// [`Config::settle`].
    pub keep_alive: Duration,
    /// How long a client may stop in the middle of a request's body (HTTP/1; an HTTP/2 stream may be silent for
    /// longer, as gRPC's are) or stop taking an answer. Slow is allowed, still is not. Default 30 s.
    pub stall: Duration,
    /// How long what a client is still sending is read and thrown away after its connection was closed with a final
    /// answer. Without that, the answer is lost to a reset. Default 1 s.
    pub linger: Duration,

    /// The most bytes in a request's header; more is answered with 431. At least 8 KiB. Default 64 KiB.
    pub header_bytes: u32,
    /// The most fields in a request's header; more is answered with 431. Default 100.
    pub header_count: usize,
    /// The most bytes in a request's body; more is answered with 413. Default 1 MiB.
    pub body_bytes: usize,
    /// The most connections at a time; further ones wait in the kernel's queue. Default 4,000.
    pub connections: usize,

    /// The most requests at a time on one HTTP/2 connection. Default 1,000, the most that Cloud Run sends to one
    /// instance.
    pub http2_streams: u32,
    /// How often an HTTP/2 peer is asked whether it is still there. Default 30 s.
    pub http2_ping: Duration,
    /// How long it may take to say so. Default 10 s.
    pub http2_ping_timeout: Duration,

    /// How long requests in hand may take to end after the shutdown began, before they are cut. Default 9 s: Cloud Run
    /// kills 10 s after SIGTERM.
    pub drain: Duration,
    /// How long a connection without a request is kept open when idle ones have to go: after the shutdown began, or when
    /// there are too many. A request may be on the way; it is answered, and the connection closed with the answer.
    /// Default 200 ms.
    pub settle: Duration,
    /// How long all readiness checks together may take. Default 6 s: more than a key fetch may.
    pub readiness_timeout: Duration,
    /// The pause after the operating system refused to hand out a connection (no file descriptors left). Default
    /// 250 ms.
    pub accept_pause: Duration,

    /// Which answers get a log line. Default: the server writes none, see [`RequestLog`].
    pub request_log: RequestLog,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8080,
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(620),
            stall: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            header_bytes: 64 * 1024,
            header_count: 100,
            body_bytes: 1024 * 1024,
            connections: 4_000,
            http2_streams: 1_000,
            http2_ping: Duration::from_secs(30),
            http2_ping_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(9),
            settle: Duration::from_millis(200),
            readiness_timeout: Duration::from_secs(6),
            accept_pause: Duration::from_millis(250),
            request_log: RequestLog::default(),
        }
    }
}

impl Config {
    /// Refuses values with which nothing could be served.
    pub(super) fn check(&self) -> Result<(), ServerError> {
        let refuse = |setting, found: String, expected| {
            Err(ServerError::Setting { setting, found, expected })
        };
        if self.header_bytes < SMALLEST_HEADER_BYTES {
            return refuse("header_bytes", self.header_bytes.to_string(), "at least 8192");
        }
        for (setting, count) in [
            ("header_count", self.header_count),
            ("connections", self.connections),
            ("http2_streams", self.http2_streams as usize),
        ] {
            if count == 0 {
                return refuse(setting, count.to_string(), "at least 1");
            }
        }
        for (setting, time) in [
            ("header_timeout", self.header_timeout),
            ("keep_alive", self.keep_alive),
            ("stall", self.stall),
            ("http2_ping", self.http2_ping),
            ("http2_ping_timeout", self.http2_ping_timeout),
            ("readiness_timeout", self.readiness_timeout),
            ("accept_pause", self.accept_pause),
        ] {
            if time.is_zero() {
                return refuse(setting, format!("{time:?}"), "more than no time");
            }
        }
        Ok(())
    }

    /// hyper with these limits. Its own header timer stays off: it cannot tell a connection that is idle from one
    /// that has begun a request, and does not run before hyper-util knows the protocol. `connection` has both timers.
    pub(super) fn http(&self) -> auto::Builder<Streams> {
        let mut builder = auto::Builder::new(Streams::new(self.stall));
        let header_bytes = usize::try_from(self.header_bytes).unwrap_or(usize::MAX);
        builder.http1().max_buf_size(header_bytes).header_read_timeout(None);
        if self.header_count != hyper_default::HEADER_COUNT {
            // Said only where it differs: any number said costs an allocation for each request.
            builder.http1().max_headers(self.header_count);
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(self.header_bytes)
            .max_concurrent_streams(self.http2_streams)
            .keep_alive_interval(self.http2_ping)
            .keep_alive_timeout(self.http2_ping_timeout);
        builder
    }
}

mod hyper_default {
    /// hyper's documentation of `http1::Builder::max_headers`.
    pub(super) const HEADER_COUNT: usize = 100;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_be_served() {
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn what_nothing_could_be_served_with_is_refused_by_name() {
        let refused = |config: Config| config.check().unwrap_err().to_string();
        let message = refused(Config { header_bytes: 100, ..Config::default() });
        assert_eq!(message, "the server's header_bytes is 100: expected at least 8192");
        let message = refused(Config { connections: 0, ..Config::default() });
        assert!(message.contains("connections is 0"), "{message}");
        let message = refused(Config { stall: Duration::ZERO, ..Config::default() });
        assert!(message.contains("stall is 0ns"), "{message}");
    }
}
