//! What takes too long, and what has no token: with limits of milliseconds, over real sockets.

use std::time::Duration;

use countersign::emulator::Emulator;
use countersign::http_client::Roots;
use countersign::outbound::MetadataServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

/// The whole answer of a proxy before this URL, whose tokens come from this metadata server.
async fn ask(url: &str, metadata: String, limits: Limits) -> String {
    let source = MetadataServer::builder()
        .host(metadata)
        .first_pause(SHORT)
        .budget(Duration::from_secs(1))
        .build()
        .unwrap();
    let tokens = IdTokenCache::new(source, Arc::new(SystemClock));
    let target = Target::new(url, None, tokens).unwrap();
    let upstream = Upstream::new(target.url(), &Roots::bundled(), limits).unwrap();
    let listener = Listener::open(0).await.unwrap();
    let port = listener.port();
    let relay = Arc::new(Relay::new(port, target, upstream));
    tokio::spawn(async move { listener.serve::<()>(relay).await });

    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request =
            format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(LONG, exchange).await.unwrap()
}

/// A server that takes connections and says nothing.
async fn silence() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn is_problem(answer: &str, status: &str, code: &str) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.contains("content-type: application/problem+json\r\n")
        && answer.contains(&format!("\"code\":\"{code}\""))
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_a_504() {
    let (emulator, silent) = (Emulator::start().await.unwrap(), silence().await);
    let url = format!("http://{}", silent.local_addr().unwrap());
    let limits = Limits { connect: LONG, answer: SHORT };
    let answer = ask(&url, emulator.host(), limits).await;
    assert!(is_problem(&answer, "504", "upstream_timeout"), "{answer}");
    assert!(answer.contains("did not answer within 20 ms"), "{answer}");
}

#[tokio::test]
async fn tls_that_does_not_come_about_is_a_504() {
    let (emulator, silent) = (Emulator::start().await.unwrap(), silence().await);
    let url = format!("https://{}", silent.local_addr().unwrap());
    let limits = Limits { connect: SHORT, answer: LONG };
    let answer = ask(&url, emulator.host(), limits).await;
    assert!(is_problem(&answer, "504", "upstream_timeout"), "{answer}");
    assert!(answer.contains("no connection within 20 ms"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_sent() {
    let silent = silence().await;
    let nobody = silence().await.local_addr().unwrap().to_string();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let answer = ask(&url, nobody.clone(), Limits { connect: LONG, answer: LONG }).await;
    assert!(is_problem(&answer, "502", "no_id_token"), "{answer}");
    assert!(answer.contains(&nobody), "the source is named: {answer}");
    let waiting = silent.into_std().unwrap().accept().map_err(|error| error.kind());
    assert_eq!(
        waiting.unwrap_err(),
        std::io::ErrorKind::WouldBlock,
        "nobody connected to the service"
    );
}

#[tokio::test]
async fn the_first_line_names_whom_the_token_names() {
    let token = |payload: &str| {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        IdToken::parse(&format!("e30.{payload}.AQ")).unwrap()
    };
    for (claims, expected) in [
        (r#"{"aud":"a","exp":1,"email":"a@b.example","sub":"1"}"#, "a@b.example"),
        (r#"{"aud":"a","exp":1,"sub":"1"}"#, "the account with id 1"),
        (r#"{"aud":"a","exp":1,"email":7}"#, "an account that the token does not name"),
    ] {
        assert_eq!(signer(&token(claims)), expected);
    }
    let url = |text: &str| local_url(8081, &text.parse().unwrap());
    assert_eq!(url("https://r-p.cloudfunctions.net/f"), "http://127.0.0.1:8081/f");
    assert_eq!(url("https://a-1.europe-west1.run.app"), "http://127.0.0.1:8081");
}
