//! The port, and the connections on it.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::place::{Place, Room};
use super::relay::Relay;

/// More than browsers open. The next one waits until another ends.
const CONNECTIONS: usize = 512;

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port of 127.0.0.1 that is open and not yet served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    port: u16,
}

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on 127.0.0.1:{port}: {source}; give --port another one, or 0 for any free one"
)]
pub struct ListenError {
    port: u16,
    source: io::Error,
}

impl Listener {
    /// Opens the port; 0 stands for any free one.
    pub async fn open(port: u16) -> Result<Self, ListenError> {
        let failed = |source| ListenError { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port })
    }

    /// The port, which is not 0 any more.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers for ever.
    pub async fn serve<T>(&self, relay: Arc<Relay>) -> T {
        let room = Room::new(CONNECTIONS);
        loop {
            let place = room.place().await;
            match self.listener.accept().await {
                Ok((stream, _)) => connection(stream, Arc::clone(&relay), place),
                // Out of file descriptors: others have to close some before another try can succeed.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

fn connection(stream: TcpStream, relay: Arc<Relay>, place: Place) {
    let _ = stream.set_nodelay(true);
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let (relay, place) = (Arc::clone(&relay), place.clone());
            async move { Ok::<_, Infallible>(relay.answer(request, place).await) }
        });
        // One that says nothing is let go after hyper's 30 seconds.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // One that ends badly is the client's affair.
        let _ = connection.await;
    });
}
