//! An HTTP server for axum routers with what `axum::serve` has not: timers, limits, health, and a drain that ends.
//!
//! ```
//! use std::net::{IpAddr, Ipv4Addr};
//! use axum::{Router, routing::get};
//! use countersign::server::{Config, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), countersign::server::ServerError> {
//! let config = Config { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 0, ..Config::default() };
//! let server = Server::bind(config).await?;
//! println!("http://{}", server.local_addr());
//! let router = Router::new().route("/", get(|| async { "hello" }));
//! # let shutdown = async {};
//! server.serve(router, shutdown).await?;   // `server::termination_signal()` in a real one
//! # Ok(())
//! # }
//! ```
//!
//! It speaks HTTP/1.1 and, to clients that begin with it, HTTP/2 without TLS: Cloud Run ends TLS in front of it.
//!
//! # What it answers itself
//!
//! | when | answer |
//! |---|---|
//! | `/health/live` | 200 as long as the process serves; outside the router and all its layers |
//! | `/health/ready` | 200 if every check of the [`App`] passes; otherwise 503 and what is missing |
//! | the application is not there yet ([`Server::serve_when`]) | 503 `starting`, with `Retry-After` |
//! | header too large, or too many fields | 431, empty |
//! | body too large | 413 `body_too_large` |
//! | body that stands still | 408 `request_stalled` |
//! | a handler panicked | 500 `internal_error`; the other requests go on |
//!
//! Bodies are `application/problem+json`. For paths and methods that the router does not know there are [`not_found`]
//! and [`method_not_allowed`].
//!
//! # How it ends
//!
//! When `shutdown` does: `/health/ready` says no, the listener closes, requests in hand are finished and their
//! connections closed (`Connection: close`, GOAWAY), idle connections close after [`Config::settle`], because a request
//! may be on its way to them. What is not finished within [`Config::drain`] is cut.
//!
//! # Log lines
//!
//! The first is `listening` with the field `address`. There is none for an answer, unless [`Config::request_log`] is
//! [`crate::telemetry::RequestLog::All`]: then one for each, except probes of health and refusals that have
//! had their own ([`crate::telemetry::DENIAL_TARGET`]).

mod accept;
mod body;
mod connection;
mod credentials;
mod drain;
mod health;
mod json_object;
mod limits;
mod problem;
mod service;
mod stream;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use axum::extract::DefaultBodyLimit;
use tokio::net::TcpListener;

pub use self::drain::termination_signal;
pub use self::health::{App, ReadinessCheck};
pub use self::json_object::json_object;
pub use self::limits::Config;
pub use self::problem::{method_not_allowed, not_found};
use self::service::Shared;
use crate::clock::{Clock, SystemClock};

/// axum's own limit on what its extractors take in.
const AXUM_BODY_BYTES: usize = 2 * 1024 * 1024;

/// A listener that is bound, but does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    clock: Arc<dyn Clock>,
}

impl Server {
    /// Opens the port, and logs `listening` with its `address`.
    ///
    /// # Errors
    /// [`ServerError::Setting`] for a limit with which nothing could be served, [`ServerError::Bind`] where the
    /// address is taken or not ours.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        config.check()?;
        let wanted = SocketAddr::new(config.host, config.port);
        let bind = |source| ServerError::Bind { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        tracing::info!(%address, "listening");
        Ok(Self { listener, address, config, clock: Arc::new(SystemClock) })
    }

    /// Measures the latency in log lines by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where it listens: the port that was free, where 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends and the requests in hand are finished or cut.
    ///
    /// # Errors
    /// None as yet: what can fail has been done by [`Server::bind`].
    pub async fn serve(
        self,
        app: impl Into<App>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let app = app.into();
        self.serve_when(async { Ok::<_, Infallible>(app) }, shutdown).await
    }

    /// The same for an application that takes its time: until `app` yields, requests are answered with 503 and
    /// `Retry-After`, `/health/live` with 200 and `/health/ready` with 503.
    ///
    /// # Errors
    /// [`ServerError::App`] with the error that `app` yields, after requests in hand have been answered.
    pub async fn serve_when<T, E>(
        self,
        app: impl Future<Output = Result<T, E>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError>
    where
        T: Into<App>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { listener, config, clock, .. } = self;
        let beyond_axum = config.body_bytes > AXUM_BODY_BYTES;
        let app = async {
            let mut app: App = app.await?.into();
            if beyond_axum {
                // One limit is enough, and it is the one that was set.
                app.router = app.router.layer(DefaultBodyLimit::disable());
            }
            // Once, and not for each request.
            app.router = app.router.with_state(());
            Ok::<_, E>(app)
        };
        let shared = Shared {
            http: config.http(),
            config,
            clock,
            app: OnceLock::new(),
            draining: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
        };
        accept::run(listener, Arc::new(shared), app, shutdown).await
    }
}

/// Why a server could not be started, or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Nothing could be served with this setting.
    #[error("the server's {setting} is {found}: expected {expected}")]
    Setting {
        /// The field of [`Config`].
        setting: &'static str,
        /// What it is.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose another PORT or HOST, or stop what holds it")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The application could not be made.
    #[error("the application could not start")]
    App(#[source] Box<dyn Error + Send + Sync>),
}
