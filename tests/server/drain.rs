//! The shutdown: what is in hand is finished, nothing new is taken, and it ends in time.

use std::sync::Arc;

use crate::support::{Client, Dropped, GET, Running, http1, http2, ms, patient, within};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use countersign::server::{App, Config};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A handler that tells that it has begun, and ends when it is let go.
#[derive(Clone, Default)]
struct Gate {
    begun: Arc<Notify>,
    release: Arc<Notify>,
    dropped: Dropped,
}

impl Gate {
    fn router(&self) -> Router {
        let gate = self.clone();
        let wait = move || {
            let gate = gate.clone();
            async move {
                let _guard = gate.dropped.guard();
                // Made first: it hears of a release from now on.
                let released = gate.release.notified();
                gate.begun.notify_one();
                released.await;
                "finished"
            }
        };
        Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/wait", get(wait))
            .route("/echo", post(|body: Bytes| async { body }))
    }

    async fn begun(&self) {
        within("the handler", self.begun.notified()).await;
    }
}

const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n";

/// Waits until nothing listens any more.
async fn closed(server: &Running) {
    within("the listener's end", async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_in_hand_are_finished() {
    let gate = Gate::default();
    let mut server = Running::start(patient(), gate.router()).await;
    let mut client = server.connect().await;
    client.send(WAIT).await;
    gate.begun().await;
    let over_http2 = tokio::spawn(http2().get(server.url("/wait")).send());
    gate.begun().await;

    server.stop();
    closed(&server).await;
    gate.release.notify_waiters();
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "finished"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert!(client.rest().await.is_empty());
    let answer = within("the answer", over_http2).await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "finished");
    server.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_are_finished() {
    let gate = Gate::default();
    let mut server = Running::start(patient(), gate.router()).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = server.connect().await;
        client.send(WAIT).await;
        gate.begun().await;
        clients.push(client);
    }
    server.stop();
    closed(&server).await;
    gate.release.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "finished");
    }
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_slow_upload_is_finished() {
    let mut server = Running::start(patient(), Gate::default().router()).await;
    let mut client = server.connect().await;
    client
        .send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        .await;
    // The server asks for the body: the request is in hand.
    assert_eq!(client.response().await.status(), 100);
    client.send("one").await;
    server.stop();
    closed(&server).await;
    client.send("two").await;
    client.send("six").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "onetwosix"));
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_request_that_has_begun_to_arrive_is_served_and_ready_says_no() {
    let gate = Gate::default();
    let mut server = Running::start(patient(), App::new(gate.router())).await;
    // A second request on one connection, a first one on another.
    let mut second = server.connect().await;
    second.send(GET).await;
    second.response().await;
    second.send("GET /health/ready HTTP/1.1\r\nHo").await;
    let mut first = server.connect().await;
    first.send("GET /health/live HTTP/1.1\r\nHo").await;
    // Both are seen by the server once it has answered a request that came later.
    assert_eq!(http1().get(server.url("/")).send().await.unwrap().status(), 200);

    server.stop();
    closed(&server).await;
    second.send("st: h\r\n\r\n").await;
    let answer = second.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "draining"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    first.send("st: h\r\n\r\n").await;
    assert_eq!(first.response().await.status(), 200, "alive until the end");
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_waits_in_the_kernels_queue_is_served() {
    let gate = Gate::default();
    let mut server = Running::start(Config { connections: 1, ..patient() }, gate.router()).await;
    let mut busy = server.connect().await;
    busy.send(WAIT).await;
    gate.begun().await;
    let mut queued = server.connect().await;
    queued.send(GET).await;
    server.stop();
    assert_eq!(queued.response().await.text(), "hello");
    gate.release.notify_one();
    assert_eq!(busy.response().await.text(), "finished");
    server.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_middle_of_traffic_no_request_is_lost() {
    // None of them is idle for so long: each leaves with an answer that says so.
    let settle = std::time::Duration::from_secs(600);
    let mut server = Running::start(Config { settle, ..patient() }, Gate::default().router()).await;
    let address = server.address;
    let answered = Arc::new(Notify::new());
    let mut clients = Vec::new();
    for _ in 0..20 {
        let answered = Arc::clone(&answered);
        clients.push(tokio::spawn(async move {
            let mut client = Client(TcpStream::connect(address).await.unwrap());
            loop {
                client.send(GET).await;
                let answer = client.response().await;
                assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
                answered.notify_one();
                if answer.field("connection").as_deref() == Some("close") {
                    return;
                }
            }
        }));
    }
    for _ in 0..100 {
        within("answers", answered.notified()).await;
    }
    server.stop();
    for client in clients {
        within("a client", client).await.unwrap();
    }
    server.ended().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn sigterm_is_a_shutdown() {
    use rustix::process::{Signal, getpid, kill_process};

    // Not polled yet: the signal may come between `listening` and the first poll, and must not end the process.
    let signal = countersign::server::termination_signal();
    kill_process(getpid(), Signal::TERM).unwrap();
    within("the signal", signal).await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let mut server = Running::start(patient(), Gate::default().router()).await;
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.response().await;
    let mut fresh = server.connect().await;
    let pooled = (http1(), http2());
    pooled.0.get(server.url("/")).send().await.unwrap();
    pooled.1.get(server.url("/")).send().await.unwrap();
    server.stop();
    server.ended().await.unwrap();
    assert!(idle.rest().await.is_empty());
    assert!(fresh.rest().await.is_empty());
}

#[tokio::test]
async fn a_fresh_connection_may_still_ask_within_the_settling_time() {
    let settle = std::time::Duration::from_secs(600);
    let mut server = Running::start(Config { settle, ..patient() }, Gate::default().router()).await;
    let mut fresh = server.connect().await;
    // Accepted, since a later one has been.
    assert_eq!(http1().get(server.url("/")).send().await.unwrap().status(), 200);
    server.stop();
    closed(&server).await;
    fresh.send(GET).await;
    let answer = fresh.response().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    server.ended().await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_and_that_is_a_good_end() {
    for over_http2 in [false, true] {
        let gate = Gate::default();
        let mut server = Running::start(Config { drain: ms(50), ..patient() }, gate.router()).await;
        let client = if over_http2 { http2() } else { http1() };
        let request = tokio::spawn(client.get(server.url("/wait")).send());
        gate.begun().await;
        server.stop();
        server.ended().await.unwrap();
        assert!(within("the cut", request).await.unwrap().is_err());
        gate.dropped.happened().await;
    }
}

#[tokio::test]
async fn a_client_that_keeps_an_answered_http2_connection_is_no_reason_to_wait() {
    let mut server = Running::start(patient(), Gate::default().router()).await;
    let client = http2();
    for _ in 0..3 {
        assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 200);
    }
    server.stop();
    server.ended().await.unwrap();
    assert!(client.get("http://127.0.0.1:1/").send().await.is_err());
}
