//! A port before another one, which a test opens and shuts.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port that is taken and refuses connections until it is opened: a server that is down.
pub struct Closed(TcpSocket);

impl Closed {
    /// Takes a free port without listening on it.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// From now on the port leads to `backend`.
    pub fn open(self, backend: SocketAddr) -> Open {
        let listener = self.0.listen(1024).unwrap();
        Open::new(listener, backend, watch::channel(true).1)
    }

    /// From now on connections are taken; their bytes pass when the sender says `true`.
    pub fn hold(self, backend: SocketAddr) -> (Open, watch::Sender<bool>) {
        let (let_pass, passing) = watch::channel(false);
        let listener = self.0.listen(1024).unwrap();
        (Open::new(listener, backend, passing), let_pass)
    }
}

/// A port that leads to another one.
pub struct Open(JoinHandle<()>);

impl Open {
    fn new(listener: TcpListener, backend: SocketAddr, passing: watch::Receiver<bool>) -> Self {
        Self(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut passing = passing.clone();
                tokio::spawn(async move {
                    let _ = passing.wait_for(|pass| *pass).await;
                    if let Ok(mut backend) = TcpStream::connect(backend).await {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut backend).await;
                    }
                });
            }
        }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}
