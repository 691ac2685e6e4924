//! Everything a stranger could make grow has a bound: time, bytes, counts.

use std::sync::Arc;

use crate::support::{Client, DropGuard, Dropped, GET, Running, http1, http2, ms, patient, within};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use countersign::server::Config;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

fn hello() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async { body }))
}

/// Sends `text`, then one byte whenever the server has been silent for a moment, until the connection ends.
async fn drip(client: &mut Client, text: &str) -> Vec<u8> {
    client.send(text).await;
    let mut got = Vec::new();
    within("the connection's end", async {
        loop {
            let mut bytes = [0; 1024];
            match tokio::time::timeout(ms(5), client.0.read(&mut bytes)).await {
                Ok(Ok(0) | Err(_)) => return got,
                Ok(Ok(n)) => got.extend_from_slice(&bytes[..n]),
                Err(_) => {
                    // It may have closed in between, which the next read tells.
                    let _ = client.0.try_write(b"a");
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = Running::start(Config { header_timeout: ms(50), ..patient() }, hello()).await;
    assert!(server.connect().await.rest().await.is_empty());
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_in_either_protocol() {
    let server = Running::start(Config { header_timeout: ms(100), ..patient() }, hello()).await;
    for beginning in
        ["G", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r", "GET / HTTP/1.1\r\nHost: h\r\nX-A: "]
    {
        let mut client = server.connect().await;
        client.send(beginning).await;
        assert!(client.rest().await.is_empty(), "{beginning:?}, then silence");
    }
    // A byte now and then does not buy more time.
    let mut client = server.connect().await;
    assert!(drip(&mut client, "GET / HTTP/1.1\r\nHost: h\r\nX-A: ").await.is_empty());
}

#[tokio::test]
async fn a_later_request_has_the_same_time_for_its_header() {
    let server = Running::start(Config { header_timeout: ms(100), ..patient() }, hello()).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status(), 200);
    assert!(drip(&mut client, "GET / HTTP/1.1\r\nX-A: ").await.is_empty());
}

#[tokio::test]
async fn between_requests_there_is_more_time_than_for_a_header() {
    let server = Running::start(Config { header_timeout: ms(50), ..patient() }, hello()).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status(), 200);
    // When two others in turn have run out of their time, the first one's is over too, if it counted.
    for _ in 0..2 {
        assert!(server.connect().await.rest().await.is_empty());
    }
    client.send(GET).await;
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Running::start(Config { keep_alive: ms(50), ..patient() }, hello()).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status(), 200);
    assert!(client.rest().await.is_empty());

    // HTTP/2: an empty SETTINGS frame after the preface, and then nothing, not even an answer to the last PING.
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    let frames = client.rest().await;
    assert!(frame_types(&frames).contains(&7), "GOAWAY among {frames:?}");
}

fn frame_types(mut frames: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, ..] = *frames {
        types.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        frames = frames.get(9 + length..).unwrap_or_default();
    }
    types
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_idle() {
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let slow = move || {
        let held = Arc::clone(&held);
        async move { held.notified().await }
    };
    let config = Config { keep_alive: ms(20), header_timeout: ms(20), stall: ms(20), ..patient() };
    let server = Running::start(config, hello().route("/slow", get(slow))).await;
    let mut client = server.connect().await;
    client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    // Three that are idle in turn have been closed since: their time is over, the busy one is not.
    for _ in 0..3 {
        let mut idle = server.connect().await;
        idle.send(GET).await;
        idle.response().await;
        assert!(idle.rest().await.is_empty());
    }
    release.notify_one();
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn a_large_header_is_431_with_nothing_in_it() {
    let server = Running::start(patient(), hello()).await;
    for large in [
        format!("X-A: {}\r\n", "a".repeat(70_000)),
        "X-A: a\r\n".repeat(200),
        format!("Authorization: Bearer {}\r\n", "a".repeat(1_000_000)),
    ] {
        let mut client = server.connect().await;
        client.send(&format!("GET / HTTP/1.1\r\nHost: h\r\n{large}\r\n")).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 431, "{}", answer.head);
        assert!(answer.body.is_empty());
    }
    for (name, value, times) in [("x-a", 70_000, 1), ("x-a", 1, 200)] {
        let mut request = http2().get(server.url("/"));
        for _ in 0..times {
            request = request.header(name, "a".repeat(value));
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 431);
        assert!(answer.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_token_of_16_kib_fits() {
    let length =
        |headers: axum::http::HeaderMap| async move { headers["authorization"].len().to_string() };
    let server = Running::start(patient(), Router::new().route("/", get(length))).await;
    let token = format!("Bearer {}", "a".repeat(16 * 1024));
    for client in [http1(), http2()] {
        let both = client.get(server.url("/")).header("x-serverless-authorization", &token);
        let answer = both.header("authorization", &token).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), token.len().to_string());
    }
}

#[tokio::test]
async fn a_body_of_a_length_beyond_the_limit_is_not_read() {
    let server = Running::start(Config { body_bytes: 1_000, ..patient() }, hello()).await;
    for client in [http1(), http2()] {
        let post = async |length| {
            client.post(server.url("/echo")).body("x".repeat(length)).send().await.unwrap()
        };
        assert_eq!(post(1_000).await.status(), 200);
        let answer = post(1_001).await;
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "body_too_large");
        assert!(problem["detail"].as_str().unwrap().contains("1000 bytes"), "{problem}");
        assert_eq!(
            post(3_000_000).await.status(),
            413,
            "the answer arrives though nothing is read"
        );
    }
}

#[tokio::test]
async fn who_asks_before_sending_is_told_before_sending() {
    let server = Running::start(Config { body_bytes: 10, ..patient() }, hello()).await;
    let mut client = server.connect().await;
    client
        .send(
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n",
        )
        .await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (413, "body_too_large"));
}

#[tokio::test]
async fn a_body_of_no_length_is_cut_at_the_limit_whatever_the_application_says() {
    let own_words = |request: Request| async {
        match request.into_body().collect().await {
            Ok(body) => (StatusCode::OK, body.to_bytes()),
            Err(_) => (StatusCode::BAD_REQUEST, Bytes::from_static(b"broken")),
        }
    };
    let router = hello().route("/own", post(own_words));
    let server = Running::start(Config { body_bytes: 1_000, ..patient() }, router).await;
    for path in ["/echo", "/own"] {
        let mut client = server.connect().await;
        let chunk = format!("{:x}\r\n{}\r\n", 400, "x".repeat(400));
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(&format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
        assert_eq!(client.response().await.status(), 200);
        client.send(&format!("{head}{chunk}{chunk}{chunk}{chunk}0\r\n\r\n")).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.code().as_str()), (413, "body_too_large"), "{path}");
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
    }
}

#[tokio::test]
async fn the_limit_that_was_set_is_the_only_one() {
    let server = Running::start(Config { body_bytes: 3_000_000, ..patient() }, hello()).await;
    let large = "x".repeat(2_900_000);
    let answer = http1().post(server.url("/echo")).body(large).send().await.unwrap();
    assert_eq!(answer.status(), 200, "axum's own limit is 2 MiB");
}

#[tokio::test]
async fn a_body_that_stands_still_is_408() {
    let server = Running::start(Config { stall: ms(50), ..patient() }, hello()).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhel").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (408, "request_stalled"));
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_answer_to_a_large_upload_arrives_though_nobody_reads_it() {
    let router = Router::new().route("/", any(|| async { StatusCode::UNAUTHORIZED }));
    let server = Running::start(Config { body_bytes: 10_000_000, ..patient() }, router).await;
    for _ in 0..10 {
        let upload = http1().post(server.url("/")).body("x".repeat(5_000_000));
        assert_eq!(upload.send().await.unwrap().status(), 401);
    }
}

struct Endless(#[expect(dead_code, reason = "for its drop")] DropGuard);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let frame = http_body::Frame::data(Bytes::from_static(&[0; 65_536]));
        std::task::Poll::Ready(Some(Ok(frame)))
    }
}

#[tokio::test]
async fn who_sends_everything_before_reading_gets_the_answer_too() {
    let router = Router::new().route("/", any(|| async { StatusCode::UNAUTHORIZED }));
    let server = Running::start(Config { body_bytes: 10_000_000, ..patient() }, router).await;
    let length = 8_000_000;
    let body = "x".repeat(length);
    // An answer of the application's, of a limit's, and of the parser's.
    for (head, status) in [
        (format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"), 401),
        (format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}0\r\n\r\n"), 413),
        (String::from("POST / HTTP/1.1\r\nX-A: "), 431),
    ] {
        let mut client = server.connect().await;
        // Fails where the server resets the connection.
        client.send(&head).await;
        client.send(&body).await;
        assert_eq!(client.response().await.status(), status);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let dropped = Dropped::default();
    let watched = dropped.clone();
    let endless = move || {
        let body = Body::new(Endless(watched.guard()));
        async move { body }
    };
    let config = Config { stall: ms(50), ..patient() };
    let server = Running::start(config, Router::new().route("/", get(endless))).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    dropped.happened().await;
    drop(client);
}

/// An HTTP/2 client needs not stop reading for that: it opens no window (RFC 9113 section 5.2). Its pings are answered all
/// the while, so neither they nor idleness would ever end it.
#[tokio::test]
async fn an_http2_client_that_opens_no_window_loses_its_stream() {
    // An empty window for every stream, and `GET /` of `h` without a body.
    const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
    const HEADERS: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";
    let dropped = Dropped::default();
    let watched = dropped.clone();
    let small = move || {
        let guard = watched.guard();
        let body = Body::new(Full::new(Bytes::from_static(b"hello")).map_frame(move |frame| {
            let _ = &guard;
            frame
        }));
        async move { body }
    };
    let config = Config { stall: ms(50), ..patient() };
    let server = Running::start(config, Router::new().route("/", get(small))).await;
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    within("sending", client.0.write_all(&[SETTINGS, HEADERS].concat())).await.unwrap();
    dropped.happened().await;

    // The others are not its business: an answer that makes its client wait is another thing.
    let answer = http2().get(server.url("/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
    drop(client);
}

#[tokio::test]
async fn an_http2_answer_may_be_silent_for_longer() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let slow = move || {
        let receiver = Arc::clone(&receiver);
        async move { Body::new(Channel(receiver.lock().await.take().unwrap())) }
    };
    let config = Config { stall: ms(50), ..patient() };
    let router = Router::new().route("/", get(slow)).route("/late", post(late));
    let server = Running::start(config, router).await;
    let mut answer = http2().get(server.url("/")).send().await.unwrap();
    // When others in turn have stalled for their time, this one's would be over too, if it counted.
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send("POST /late HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 408);
    }
    sender.send(Bytes::from_static(b"at last")).await.unwrap();
    assert_eq!(within("a chunk", answer.chunk()).await.unwrap().unwrap(), "at last");
}

async fn late(_: Bytes) {}

/// A body whose data comes when it comes.
struct Channel(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|data| data.map(|data| Ok(http_body::Frame::data(data))))
    }
}

/// So many connections, or as many as this process may have with both ends in it and some room for other tests.
fn as_many_as_possible(wanted: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let highest = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let limit = setrlimit(Resource::Nofile, highest).map_or(limit, |()| highest);
        let descriptors = limit.current.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
        wanted.min(descriptors.saturating_sub(200) / 2)
    }
    #[cfg(not(unix))]
    wanted.min(300)
}

#[tokio::test]
async fn silent_connections_do_no_harm_to_the_others() {
    let server = Running::start(patient(), hello()).await;
    let mut silent = Vec::new();
    for _ in 0..as_many_as_possible(2_000) {
        silent.push(server.connect().await);
    }
    let client = http1();
    for _ in 0..50 {
        let answer = within("good traffic", client.get(server.url("/")).send()).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn at_the_most_connections_idle_ones_make_room() {
    let server = Running::start(Config { connections: 2, ..patient() }, hello()).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
        idle.push(client);
    }
    // Far more than there may be, one after the other, all of them kept open by the client.
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
        idle.push(client);
    }
}

/// GOAWAY asks; who does not want to go has to be made to.
#[tokio::test]
async fn an_http2_connection_that_does_not_go_makes_room_too() {
    let config = Config { connections: 1, stall: ms(50), ..patient() };
    let server = Running::start(config, hello()).await;
    let mut stubborn = server.connect().await;
    // An empty SETTINGS frame after the preface, and then nothing, not even an answer to a PING.
    stubborn.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    let mut client = server.connect().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status(), 200);
    let frames = stubborn.rest().await;
    assert!(frame_types(&frames).contains(&7), "GOAWAY among {frames:?}");
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed_when_the_last_place_is_taken() {
    let server = Running::start(Config { connections: 2, ..patient() }, hello()).await;
    let mut idle = server.connect().await;
    idle.send(GET).await;
    assert_eq!(idle.response().await.field("connection"), None, "there is room yet");
    let _silent = server.connect().await;
    assert!(idle.rest().await.is_empty());
    let mut further = server.connect().await;
    further.send(GET).await;
    assert_eq!(further.response().await.status(), 200);
}

#[tokio::test]
async fn at_the_most_connections_a_further_one_waits_for_a_busy_one() {
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let slow = move || {
        let held = Arc::clone(&held);
        async move { held.notified().await }
    };
    let config = Config { connections: 1, ..patient() };
    let server = Running::start(config, hello().route("/slow", get(slow))).await;
    let mut busy = server.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut further = server.connect().await;
    further.send(GET).await;
    let early = tokio::time::timeout(ms(30), further.0.read_u8()).await;
    assert!(early.is_err(), "served beyond the limit");
    release.notify_one();
    assert_eq!(busy.response().await.status(), 200);
    assert_eq!(further.response().await.status(), 200);
}

#[tokio::test]
async fn a_dead_http2_peer_is_found_by_ping() {
    let config = Config { http2_ping: ms(30), http2_ping_timeout: ms(30), ..patient() };
    let server = Running::start(config, hello()).await;
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    let frames = client.rest().await;
    assert!(frame_types(&frames).contains(&6), "PING among {frames:?}");

    // One that answers is kept, as reqwest does: it is there when others have come and gone.
    let client = http2();
    for _ in 0..3 {
        assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 200);
        let mut dead = server.connect().await;
        dead.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
        dead.rest().await;
    }
}
