//! Loopback ports, and the connections on them.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::EmulatorError;

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The answer is that the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed on purpose")]
pub(super) struct HangUp;

/// What answers on a port.
pub(super) trait Answer: Send + Sync + 'static {
    /// Answers one request, or hangs up.
    fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<http::Response<Body>, HangUp>> + Send;
}

/// A port of 127.0.0.1 that is open and not yet served: what answers may have to know its address.
pub(super) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Opens the port; 0 stands for any free one. Nothing here ever listens anywhere but on loopback.
    pub(super) async fn open(port: u16) -> Result<Self, EmulatorError> {
        let failed = |source| EmulatorError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` turns true, then drops every connection.
    pub(super) fn serve(self, answer: Arc<impl Answer>, mut stop: watch::Receiver<bool>) {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    accepted = self.listener.accept() => match accepted {
                        Ok((stream, peer)) => {
                            let _ = stream.set_nodelay(true);
                            connection(TokioIo::new(stream), peer, Arc::clone(&answer), stop.clone());
                        }
                        // Out of file descriptors: others have to close some before another try can succeed.
                        Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                    },
                }
            }
        });
    }
}

fn connection(
    stream: TokioIo<tokio::net::TcpStream>,
    peer: SocketAddr,
    answer: Arc<impl Answer>,
    mut stop: watch::Receiver<bool>,
) {
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        let service = service_fn(move |request| Arc::clone(&answer).answer(request, peer));
        tokio::select! {
            () = stopped(&mut stop) => (),
            // A connection that ends badly is the client's affair, or a fault that was asked for.
            _ = builder.serve_connection(stream, service) => (),
        }
    });
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the emulator.
    let _ = stop.wait_for(|stop| *stop).await;
}
