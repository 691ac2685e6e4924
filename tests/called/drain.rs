//! SIGTERM with requests in hand.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::{send, until, within};
use super::{called, good};

const BODY: &str = r#"{"bar":"slow upload"}"#;

/// An upload that has begun: the server has said that it waits for the body, so the request is in its hands.
async fn begun(address: std::net::SocketAddr, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    within("100 Continue", stream.read_exact(&mut go_on)).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn finish(mut stream: TcpStream) -> io::Result<String> {
    for byte in BODY.as_bytes() {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    within("the rest", stream.read_to_string(&mut answer)).await?;
    Ok(answer)
}

#[tokio::test]
async fn sigterm_lets_requests_in_hand_finish_and_ends_with_0() {
    let (emulator, mut called) = called().await;
    let token = good(&emulator);
    assert_eq!(called.whoami(&token).await.status, 200);

    let mut uploads = Vec::new();
    for _ in 0..100 {
        uploads.push(begun(called.address, &token).await);
    }
    called.terminate();
    called.logs("SIGTERM").await;
    until("the listener closes", async || TcpStream::connect(called.address).await.is_err()).await;

    let mut finishing = JoinSet::new();
    for upload in uploads {
        finishing.spawn(finish(upload));
    }
    for answer in finishing.join_all().await {
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with('}'), "cut short: {answer}");
    }
    assert_eq!(called.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_with_nothing_in_hand_ends_at_once_with_0() {
    let (emulator, mut called) = called().await;
    // An idle connection with keep-alive does not hold it back.
    assert_eq!(called.whoami(&good(&emulator)).await.status, 200);
    called.terminate();
    assert_eq!(called.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_while_keys_are_being_fetched_harms_nobody() {
    use countersign::emulator::{Endpoint, Fault, FaultKind};

    let (emulator, mut called) = called().await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::latency(500)).times(1)).unwrap();
    let request = called.get("/whoami").bearer_auth(good(&emulator));
    let waiting = tokio::spawn(async move { send(request).await.status });
    until("the fetch", async || emulator.requests(Endpoint::Certs) == 1).await;
    called.terminate();
    assert_eq!(within("the answer", waiting).await.unwrap(), 200);
    assert_eq!(called.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_before_the_audience_is_known_ends_with_0() {
    use super::BINARY;
    use super::support::CALLER_MEMBER;
    use super::support::door::Closed;
    use super::support::process::Process;

    let metadata = Closed::new();
    let host = metadata.address().to_string();
    let nowhere = metadata.address();
    let (_held, _never) = metadata.hold(nowhere);
    let settings = [
        ("K_SERVICE", "called"),
        ("GCE_METADATA_HOST", &*host),
        ("ALLOWED_PRINCIPALS", CALLER_MEMBER),
    ];
    let mut called = Process::start(BINARY, "called", &settings).await;
    assert_eq!(send(called.get("/whoami")).await.code(), "starting");
    called.terminate();
    assert_eq!(called.ended().await.code(), Some(0));
}
