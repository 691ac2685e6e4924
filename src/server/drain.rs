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
/// From the first poll on neither signal ends the process any more: it is the caller's turn to do so.
///
/// ```no_run
/// # use countersign::server::{self, Server, ServerError};
/// # async fn f(server: Server, router: axum::Router) -> Result<(), ServerError> {
/// server.serve(router, server::termination_signal()).await
/// # }
/// ```
pub async fn termination_signal() {
    match wait_for_signal().await {
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

#[cfg(unix)]
async fn wait_for_signal() -> io::Result<&'static str> {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = poll_fn(|cx| {
        if terminate.poll_recv(cx).is_ready() {
            Poll::Ready("SIGTERM")
        } else {
            interrupt.poll_recv(cx).map(|_| "SIGINT")
        }
    });
    Ok(name.await)
}

#[cfg(not(unix))]
async fn wait_for_signal() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
}
