//! The accept loop: from the first connection to the last.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::ServerError;
use super::connection::drive;
use super::drain::Phase;
use super::health::App;
use super::service::Shared;

/// The length of the kernel's queue that tokio asks for.
const BACKLOG: usize = 1024;

/// Accepts until `shutdown`, or until `app` fails; then drains.
pub(super) async fn run<A, E>(
    listener: TcpListener,
    shared: Arc<Shared>,
    app: A,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError>
where
    A: Future<Output = Result<App, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connections = Connections::new(shared);
    let mut app = pin!(app);
    let mut shutdown = pin!(shutdown);
    let result = loop {
        match connections.next(&listener, app.as_mut(), shutdown.as_mut()).await {
            Next::Stream(stream) => connections.begin(stream),
            Next::Refused(error) => connections.pause(error).await,
            Next::App(Ok(app)) => connections.serve(app),
            Next::App(Err(error)) => break Err(ServerError::App(error.into())),
            Next::Shutdown => break Ok(()),
        }
    };
    connections.drain(listener).await;
    result
}

/// What the loop waits for.
enum Next<E> {
    Stream(TcpStream),
    Refused(io::Error),
    App(Result<App, E>),
    Shutdown,
}

/// All connections, each a task.
struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    phase: watch::Sender<Phase>,
    /// The operating system refuses to hand out connections: said once, not each time.
    refused: bool,
}

impl Connections {
    fn new(shared: Arc<Shared>) -> Self {
        let phase = watch::Sender::new(Phase::Open);
        Self { shared, tasks: JoinSet::new(), phase, refused: false }
    }

    async fn next<E>(
        &mut self,
        listener: &TcpListener,
        mut app: Pin<&mut impl Future<Output = Result<App, E>>>,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Next<E> {
        poll_fn(|cx| {
            if shutdown.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Shutdown);
            }
            if self.shared.app.get().is_none()
                && let Poll::Ready(app) = app.as_mut().poll(cx)
            {
                return Poll::Ready(Next::App(app));
            }
            while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
                report(ended);
            }
            if self.crowded() {
                return Poll::Pending;
            }
            listener.poll_accept(cx).map(|accepted| match accepted {
                Ok((stream, _)) => Next::Stream(stream),
                Err(error) => Next::Refused(error),
            })
        })
        .await
    }

    /// Whether there is no room for one more. The connections are told early, and told that it is over late: each
    /// time wakes all of them.
    fn crowded(&self) -> bool {
        let most = self.shared.config.connections;
        let full = self.tasks.len() >= most;
        let was = self.shared.crowded.load(Ordering::Relaxed);
        let crowded = full || was && self.tasks.len() > most - most / 8;
        if crowded != was {
            self.shared.crowded.store(crowded, Ordering::Relaxed);
            self.phase.send_replace(if crowded { Phase::Crowded } else { Phase::Open });
        }
        full
    }

    fn begin(&mut self, stream: TcpStream) {
        self.refused = false;
        if let Err(error) = stream.set_nodelay(true) {
            // The client is gone already, and the connection will find out.
            tracing::debug!(error = &error as &(dyn std::error::Error + 'static), "no TCP_NODELAY");
        }
        let phase = self.phase.subscribe();
        self.tasks.spawn(drive(stream, Arc::clone(&self.shared), phase));
    }

    fn serve(&self, app: App) {
        // Not polled again once there is one, so it cannot be set twice.
        let _ = self.shared.app.set(app);
    }

    /// Errors of one connection are passed over; those of the process (no file descriptors, no memory) would come
    /// again at once, so the loop waits a moment for connections to end.
    async fn pause(&mut self, error: io::Error) {
        if is_the_connections(&error) {
            return;
        }
        if !std::mem::replace(&mut self.refused, true) {
            tracing::error!(
                error = &error as &(dyn std::error::Error + 'static),
                connections = self.tasks.len(),
                "cannot accept connections; trying again"
            );
        }
        tokio::time::sleep(self.shared.config.accept_pause).await;
    }

    /// Lets the requests in hand end.
    async fn drain(mut self, listener: TcpListener) {
        self.shared.draining.store(true, Ordering::Relaxed);
        // Those that the kernel has made already would be reset by the listener's end. No more than its queue holds:
        // somebody who keeps connecting shall not keep the server.
        for _ in 0..BACKLOG {
            match waiting(&listener).await {
                Some(stream) => self.begin(stream),
                None => break,
            }
        }
        drop(listener);
        self.phase.send_replace(Phase::Draining);
        let within = self.shared.config.drain;
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(
                connections = self.tasks.len(),
                drain_seconds = within.as_secs_f64(),
                "requests were still in hand when the time to drain was over, and are cut"
            );
            self.tasks.shutdown().await;
        }
    }
}

/// A connection that can be had without waiting.
async fn waiting(listener: &TcpListener) -> Option<TcpStream> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(Ok((stream, _))) => Poll::Ready(Some(stream)),
        _ => Poll::Ready(None),
    })
    .await
}

/// A panic outside the handlers, in a body for instance, ends one connection only.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(
            error = &error as &(dyn std::error::Error + 'static),
            "a connection panicked"
        );
    }
}

fn is_the_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
