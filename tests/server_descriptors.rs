//! When the process has no file descriptors left. A test binary of its own: the limit is the whole process's.
#![cfg(unix)]

#[path = "server/support.rs"]
mod support;

use axum::Router;
use axum::routing::get;
use countersign::server::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Client, GET, Running, ms, patient, within};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test]
async fn no_descriptors_left_is_no_end() {
    let config = Config { accept_pause: ms(5), ..patient() };
    let router = Router::new().route("/", get(|| async { "hello" }));
    let mut server = Running::start(config, router).await;
    let mut before = server.connect().await;
    before.send(GET).await;
    assert_eq!(before.response().await.status(), 200);

    // The client's sockets are made in advance; then there is no room for the server's ends of them.
    let sockets: Vec<_> = (0..3).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit { current: Some(0), maximum: limit.maximum };
    setrlimit(Resource::Nofile, none).unwrap();
    let mut waiting = Vec::new();
    for socket in sockets {
        // The kernel's queue takes it.
        let stream: TcpStream = within("connecting", socket.connect(server.address)).await.unwrap();
        waiting.push(Client(stream));
    }
    for client in &mut waiting {
        client.send(GET).await;
    }
    // Those that are there are served meanwhile.
    before.send(GET).await;
    assert_eq!(before.response().await.status(), 200);
    let early = tokio::time::timeout(ms(30), waiting[0].0.readable()).await;
    assert!(early.is_err(), "there was a descriptor after all");

    setrlimit(Resource::Nofile, limit).unwrap();
    for client in &mut waiting {
        assert_eq!(client.response().await.status(), 200);
    }
    server.stop();
    server.ended().await.unwrap();
}
