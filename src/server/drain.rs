//! The end: what makes it begin, and what the connections are told.

use std::io;

/// What the connections should know of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// All is well.
    Open,
    /// As many connections as allowed: idle ones should go.
    Crowded,
    /// No request after those in hand.
    Draining,
}

/// Ends when the process is asked to terminate: SIGTERM, which is how Cloud Run does it, or SIGINT, which is Ctrl-C.
///
/// From the call on, and not only from the first poll, neither signal ends the process any more: it is the caller's turn
/// to do so, and one that comes while the service is still starting is not lost. Call it inside a tokio runtime.
///
/// ```no_run
/// # use countersign::server::{self, Server, ServerError};
/// # async fn f(server: Server, router: axum::Router) -> Result<(), ServerError> {
/// server.serve(router, server::termination_signal()).await
/// # }
/// ```
pub fn termination_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = Signals::listen();
    async {
        let name = match signals {
            Ok(signals) => signals.first().await,
            Err(error) => Err(error),
        };
        match name {
            Ok(name) => tracing::info!(signal = name, "asked to terminate"),
            Err(error) => {
                // Without a handler the signal ends the process at once, as it does by default. The server goes on.
                tracing::error!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "cannot listen for SIGTERM: there will be no graceful shutdown"
                );
                std::future::pending().await
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn first(mut self) -> io::Result<&'static str> {
        use std::future::poll_fn;
        use std::task::Poll;

        let name = poll_fn(|cx| {
            if self.terminate.poll_recv(cx).is_ready() {
                Poll::Ready("SIGTERM")
            } else {
                self.interrupt.poll_recv(cx).map(|_| "SIGINT")
            }
        });
        Ok(name.await)
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn first(self) -> io::Result<&'static str> {
        tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
    }
}
