//! `countersign proxy`: the binary before the emulator's front end, with a service behind it that streams, takes large
//! bodies, redirects and speaks a WebSocket's first words.
#![cfg(unix)]

mod binary;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use binary::{Process, client, countersign, output, stderr, within};
use countersign::emulator::{Emulator, Endpoint, Fault, FaultKind, FrontEnd, FrontEndSpec};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SIGNER: &str = "caller@demo.iam.gserviceaccount.com";

/// What the service got, as JSON.
async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let length = body.collect().await.unwrap().to_bytes().len();
    let headers: serde_json::Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    axum::Json(json!({
        "method": head.method.as_str(), "version": format!("{:?}", head.version), "target": head.uri.to_string(), "length": length, "headers": headers,
    }))
    .into_response()
}

async fn redirect(headers: HeaderMap) -> Response {
    let to = headers["x-to"].to_str().unwrap().to_owned();
    (StatusCode::FOUND, [("location", to)]).into_response()
}

/// Listens on a free port of this machine.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

async fn service() -> SocketAddr {
    let router = Router::new()
        .route("/redirect", get(redirect))
        .route("/bytes", get(|| async { vec![7_u8; 8 << 20] }))
        .route("/mirror", post(|body: Body| async { body }))
        .fallback(any(echo));
    serve(router).await
}

/// The emulator, a front end with the invoker check on, and the proxy before it.
struct Scene {
    emulator: Emulator,
    front_end: Option<FrontEnd>,
    proxy: Process,
    /// `http://127.0.0.1:PORT`.
    url: String,
    announcement: String,
    http: reqwest::Client,
}

impl Scene {
    async fn private() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let member = format!("serviceAccount:{SIGNER}");
        let spec = FrontEndSpec::new("private").backend(service().await).invoker(&member);
        let front_end = emulator.front_end(spec).await.unwrap();
        let url = front_end.url();
        let scene = Self::before(emulator, &url, &[]).await;
        Self { front_end: Some(front_end), ..scene }
    }

    /// The proxy straight before a service.
    async fn before(emulator: Emulator, url: &str, more: &[&str]) -> Self {
        Self::with_environment(emulator, url, more, &[]).await
    }

    async fn with_environment(
        emulator: Emulator,
        url: &str,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let host = emulator.host();
        let arguments = ["proxy", url, "--port", "0", "--gce-metadata-host", &host];
        let mut command = countersign(&[&arguments, more].concat());
        command.env_remove("SSL_CERT_FILE").envs(environment.iter().copied());
        let mut proxy = Process::start(command);
        let announcement = proxy.line_with("signing as").await;
        let url = announcement.split(' ').next().unwrap().to_owned();
        Self { emulator, front_end: None, proxy, url, announcement, http: client() }
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    fn service_url(&self) -> String {
        self.front_end.as_ref().unwrap().url()
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    async fn echo(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = within("an answer", request.send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// Status and code of a refusal.
    async fn refused(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = within("an answer", request.send()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status);
        (status, problem)
    }

    /// Sends these bytes as they are, and reads the head of the answer.
    async fn raw(&self, request: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = within("an answer's head", head(&mut stream)).await;
        (head, stream)
    }
}

/// Reads up to the empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_private_service_is_reached_and_the_first_line_says_as_whom() {
    let scene = Scene::private().await;
    let service = scene.service_url();
    assert_eq!(
        scene.announcement,
        format!("{} -> {service}, signing as {SIGNER} for audience {service}", scene.url)
    );
    // Without the proxy: the door is shut.
    let direct = scene.http.get(&service).send().await.unwrap();
    assert_eq!(direct.status(), 403);

    let seen = scene.echo(scene.get("/a//b/../c%2Fd?x=1&y=%20")).await;
    // The url crate resolves `..` in the test's client already.
    assert_eq!(seen["target"], "/a//c%2Fd?x=1&y=%20");
    let headers = &seen["headers"];
    assert_eq!(headers["host"], service.strip_prefix("http://").unwrap());
    assert!(headers["authorization"].as_str().unwrap().starts_with("Bearer ey"), "{headers}");
    assert_eq!(headers["via"], "1.1 countersign");
    let posted = scene.http.post(format!("{}/p", scene.url)).body("hello");
    let seen = scene.echo(posted).await;
    assert_eq!((&seen["method"], &seen["length"]), (&json!("POST"), &json!(5)));
}

#[tokio::test]
async fn an_authorization_of_the_client_reaches_the_service_and_opens_the_door_all_the_same() {
    let scene = Scene::private().await;
    let request = scene
        .get("/")
        .header("authorization", "Bearer firebase")
        .header("x-serverless-authorization", "Bearer nonsense");
    let seen = scene.echo(request).await;
    assert_eq!(seen["headers"]["authorization"], "Bearer firebase");
}

#[tokio::test]
async fn strangers_pages_get_nothing_signed() {
    let scene = Scene::private().await;
    let port = scene.address().rsplit_once(':').unwrap().1;
    let evil_host = format!("evil.example:{port}");
    let other_origin = format!("http://localhost:{port}");
    for (name, value, status, code) in [
        ("host", &*evil_host, 421, "other_host"),
        ("host", "127.0.0.1:1", 421, "other_host"),
        ("origin", "https://evil.example", 403, "cross_site"),
        ("origin", "null", 403, "cross_site"),
        ("origin", &*other_origin, 403, "cross_site"),
        ("sec-fetch-site", "cross-site", 403, "cross_site"),
        ("sec-fetch-site", "same-site", 403, "cross_site"),
    ] {
        let (found, problem) = scene.refused(scene.get("/").header(name, value)).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{name}: {value}");
    }
    assert!(scene.front_end.as_ref().unwrap().decisions().is_empty(), "nothing left the proxy");

    let own = scene.get("/").header("origin", &scene.url).header("sec-fetch-site", "same-origin");
    let seen = scene.echo(own).await;
    assert_eq!(
        seen["headers"]["origin"],
        scene.service_url(),
        "services compare it with their name"
    );
    let host = format!("localhost:{port}");
    scene.echo(scene.get("/").header("host", host).header("sec-fetch-site", "none")).await;
}

#[tokio::test]
async fn it_is_no_forward_proxy() {
    let scene = Scene::private().await;
    let elsewhere = service().await;
    let address = scene.address();
    for line in [
        format!("GET http://{elsewhere}/ HTTP/1.1"),
        format!("GET http://{address}/ HTTP/1.1"),
        format!("CONNECT {elsewhere} HTTP/1.1"),
        format!("CONNECT {address} HTTP/1.1"),
        "OPTIONS * HTTP/1.1".to_owned(),
    ] {
        let (head, _) = scene.raw(&format!("{line}\r\nHost: {address}\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{line}: {head}");
        assert!(head.contains("application/problem+json"), "{line}: {head}");
    }
    // A name where a path should be does not lead there either.
    for path in ["//evil.example/", "/@evil.example/", "/http://evil.example/"] {
        let (head, _) = scene.raw(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    }
    let received = scene.front_end.as_ref().unwrap().received();
    assert_eq!(received.len(), 3, "all of them to the one service");
}

#[tokio::test]
async fn redirects_are_the_clients_to_follow() {
    let scene = Scene::private().await;
    let elsewhere = service().await;
    for (to, expected) in [
        (format!("{}/x?y=1", scene.service_url()), format!("{}/x?y=1", scene.url)),
        ("/relative".to_owned(), "/relative".to_owned()),
        (format!("http://{elsewhere}/x"), format!("http://{elsewhere}/x")),
    ] {
        let request = scene.get("/redirect").header("x-to", &to);
        let answer = within("an answer", request.send()).await.unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.headers()["location"], expected);
    }
    assert_eq!(scene.front_end.as_ref().unwrap().received().len(), 3, "none was followed");
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let scene = Scene::private().await;
    let body: Vec<u8> = (0..8_u32 << 20).map(|i| (i % 251) as u8).collect();
    let request = scene.http.post(format!("{}/mirror", scene.url)).body(body.clone());
    let answer = within("an answer", request.send()).await.unwrap();
    let mirrored = within("the body", answer.bytes()).await.unwrap();
    assert!(mirrored == body, "{} bytes came back", mirrored.len());
    let answer = within("an answer", scene.get("/bytes").send()).await.unwrap();
    assert_eq!(answer.headers()["content-length"], (8 << 20).to_string());
    assert_eq!(within("the body", answer.bytes()).await.unwrap().len(), 8 << 20);
}

/// A body whose pieces the test sends one by one.
struct Events(mpsc::Receiver<&'static str>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = |text: &str| Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())));
        self.0.poll_recv(cx).map(|event| event.map(piece))
    }
}

#[tokio::test]
async fn events_arrive_as_they_are_sent_and_their_sender_hears_that_the_client_has_gone() {
    let (send, receive) = mpsc::channel(1);
    let events = Arc::new(Mutex::new(Some(receive)));
    let router = Router::new().route(
        "/events",
        get(|| async move {
            let events = events.lock().unwrap().take().unwrap();
            ([("content-type", "text/event-stream")], Body::new(Events(events)))
        }),
    );
    let emulator = Emulator::start().await.unwrap();
    let member = format!("serviceAccount:{SIGNER}");
    let spec = FrontEndSpec::new("events").backend(serve(router).await).invoker(&member);
    let url = emulator.front_end(spec).await.unwrap().url();
    let scene = Scene::before(emulator, &url, &[]).await;
    let mut answer = within("the head", scene.get("/events").send()).await.unwrap();
    for event in ["data: one\n\n", "data: two\n\n"] {
        send.send(event).await.unwrap();
        let arrived = within("the event", answer.chunk()).await.unwrap().unwrap();
        assert_eq!(arrived, event, "before the next one is sent");
    }
    drop(answer);
    within("the end of the stream", send.closed()).await;
}

#[tokio::test]
async fn an_upload_is_passed_on_piece_by_piece() {
    let scene = Scene::private().await;
    let address = scene.address();
    let request =
        format!("POST /mirror HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (head, mut stream) = scene.raw(&request).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for piece in ["5\r\nhello\r\n", "5\r\nagain\r\n", "0\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        let mut back = vec![0; piece.len()];
        within("the piece", stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(String::from_utf8(back).unwrap(), piece);
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let scene = Scene::private().await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        scene.address()
    );
    let (first, mut stream) = scene.raw(&request).await;
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    stream.write_all(b"hello").await.unwrap();
    let answer = within("the answer", head(&mut stream)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_an_answer_to_head_has_no_body() {
    let scene = Scene::private().await;
    let address = scene.address();
    let (first, mut stream) =
        scene.raw(&format!("HEAD /bytes HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    assert!(first.contains(&format!("content-length: {}\r\n", 8 << 20)), "{first}");
    // A refusal does not end it either.
    let refused = format!("GET / HTTP/1.1\r\nHost: {address}\r\nOrigin: null\r\n\r\n");
    stream.write_all(refused.as_bytes()).await.unwrap();
    let second = within("the second answer", head(&mut stream)).await;
    assert!(second.starts_with("HTTP/1.1 403 "), "{second}");
}

#[tokio::test]
async fn fifty_at_once_are_served_with_one_token() {
    let scene = Arc::new(Scene::private().await);
    let fetched = scene.emulator.requests(Endpoint::MetadataIdentity);
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                let seen = scene.echo(scene.get(&format!("/{number}"))).await;
                assert_eq!(seen["target"], format!("/{number}"));
            })
        })
        .collect();
    for task in tasks {
        within("all answers", task).await.unwrap();
    }
    assert_eq!(scene.emulator.requests(Endpoint::MetadataIdentity), fetched);
}

/// A server that answers one request with these bytes and then sends back whatever comes. Gives the request's head.
async fn raw_service(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        head
    });
    (url, received)
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn a_websocket_is_opened_signed_and_lasts_until_either_side_ends_it() {
    let (url, received) = raw_service(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x01first",
    )
    .await;
    let scene = Scene::before(Emulator::start().await.unwrap(), &url, &[]).await;
    let (address, origin) = (scene.address(), &scene.url);
    let request =
        format!("GET /chat HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\n{UPGRADE}\r\n");
    let (head, mut stream) = scene.raw(&request).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(lower.contains("sec-websocket-accept: s3pplmbi"), "{head}");

    let sent = within("the request", received).await.unwrap().to_ascii_lowercase();
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"] {
        assert!(sent.contains(&format!("\r\n{line}\r\n")), "{line}: {sent}");
    }
    assert!(sent.contains(&format!("\r\norigin: {url}\r\n")), "{sent}");
    assert!(sent.contains("\r\nx-serverless-authorization: bearer ey"), "{sent}");

    let mut first = [0; 6];
    within("what the service says first", stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"\x01first");
    for frame in [&b"\x81\x05hello"[..], &[0xff; 70_000][..]] {
        stream.write_all(frame).await.unwrap();
        let mut back = vec![0; frame.len()];
        within("the echo", stream.read_exact(&mut back)).await.unwrap();
        assert!(back == frame);
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_strangers_page_opens_no_websocket_and_no_other_upgrade_is_passed_on() {
    let (url, received) = raw_service("HTTP/1.1 204 No Content\r\n\r\n").await;
    let scene = Scene::before(Emulator::start().await.unwrap(), &url, &[]).await;
    let address = scene.address();
    let evil = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nOrigin: https://evil.example\r\n{UPGRADE}\r\n"
    );
    let (head, _) = scene.raw(&evil).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");

    let h2c = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    );
    let (head, _) = scene.raw(&h2c).await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let sent = within("the request", received).await.unwrap().to_ascii_lowercase();
    assert!(!sent.contains("upgrade") && !sent.contains("http2-settings"), "{sent}");
}

#[tokio::test]
async fn a_service_that_is_away_or_talks_nonsense_is_a_502_with_its_cause() {
    let (url, _received) = raw_service("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    let scene = Scene::before(Emulator::start().await.unwrap(), &url, &[]).await;
    let (status, problem) = scene.refused(scene.get("/")).await;
    assert_eq!((status, &problem["code"]), (502, &json!("upstream_broken")), "{problem}");

    // Nothing listens there any more: the first server took one connection only.
    let (status, problem) = scene.refused(scene.get("/")).await;
    assert_eq!((status, &problem["code"]), (502, &json!("upstream_unreachable")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("refused"), "{problem}");
}

/// The echo behind TLS, with HTTP/2 on offer, and the certificate of its own that it shows.
async fn tls_service() -> (String, String) {
    let names = ["localhost".to_owned(), "orders.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let router = Router::new().route("/redirect", get(redirect)).fallback(any(echo));
                let service = TowerToHyperService::new(router);
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, made.cert.pem())
}

#[tokio::test]
async fn over_tls_it_speaks_http_2_and_for_websockets_http_1() {
    let (url, certificate) = tls_service().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, certificate).unwrap();
    let environment = [("SSL_CERT_FILE", file.path().to_str().unwrap())];
    let emulator = Emulator::start().await.unwrap();
    let scene = Scene::with_environment(emulator, &url, &[], &environment).await;

    let request = scene.http.post(format!("{}/a//b?x=1", scene.url)).body("hello");
    let seen = scene.echo(request).await;
    assert_eq!((&seen["version"], &seen["length"]), (&json!("HTTP/2.0"), &json!(5)), "{seen}");
    assert_eq!(seen["target"], format!("{url}/a//b?x=1"));
    assert!(seen["headers"]["authorization"].as_str().unwrap().starts_with("Bearer ey"));

    // A service that declines: its answer is an answer like any other.
    let upgrade = scene.get("/").header("connection", "upgrade").header("upgrade", "websocket");
    let seen = scene.echo(upgrade).await;
    assert_eq!(seen["version"], "HTTP/1.1", "{seen}");
    assert_eq!(seen["headers"]["upgrade"], "websocket");
    assert_eq!(seen["headers"]["host"], url.strip_prefix("https://").unwrap());

    let request = scene.get("/redirect").header("x-to", format!("{url}/x"));
    let answer = within("an answer", request.send()).await.unwrap();
    assert_eq!(answer.headers()["location"], format!("{}/x", scene.url));
}

/// A company's proxy: whatever name it is told, it leads to this port. Gives the head of the first request.
async fn company_proxy(to: String) -> (String, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:word@{}", listener.local_addr().unwrap());
    let (tell, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tell.send(head(&mut stream).await);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut service = TcpStream::connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut service).await;
    });
    (url, told)
}

#[tokio::test]
async fn a_companys_proxy_is_used_and_sees_no_token() {
    let (url, certificate) = tls_service().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, certificate).unwrap();
    let address = url.strip_prefix("https://").unwrap().to_owned();
    let (proxy, told) = company_proxy(address).await;
    let environment = [
        ("SSL_CERT_FILE", file.path().to_str().unwrap()),
        ("HTTPS_PROXY", &*proxy),
        ("https_proxy", &*proxy),
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ];
    let emulator = Emulator::start().await.unwrap();
    let audience = ["--audience", "https://orders.example"];
    let scene =
        Scene::with_environment(emulator, "https://orders.example", &audience, &environment).await;
    let seen = scene.echo(scene.get("/x")).await;
    assert_eq!(seen["target"], "https://orders.example/x");
    assert!(seen["headers"]["authorization"].as_str().unwrap().starts_with("Bearer ey"));
    let head = within("what the proxy was told", told).await.unwrap();
    assert!(head.starts_with("CONNECT orders.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Basic dXNlcjp3b3Jk") && !head.contains("Bearer"), "{head}");
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_told_and_not_gone_around() {
    let url = "https://orders-1.europe-west1.run.app";
    let mut command = countersign(&["proxy", url, "--port", "0"]);
    for name in ["HTTPS_PROXY", "https_proxy"] {
        command.env(name, "https://user:secret@proxy.example:3128");
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    let ended = within("the end", command.output()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = stderr(&ended);
    assert!(said.contains("HTTPS_PROXY") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_502_and_nothing_is_sent() {
    let (url, _) = tls_service().await;
    let scene = Scene::before(Emulator::start().await.unwrap(), &url, &[]).await;
    let (status, problem) = scene.refused(scene.get("/")).await;
    assert_eq!((status, &problem["code"]), (502, &json!("upstream_unreachable")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("certificate"), "{problem}");
}

#[tokio::test]
async fn the_audience_can_be_given() {
    let url = format!("http://{}", service().await);
    let emulator = Emulator::start().await.unwrap();
    let scene = Scene::before(emulator, &url, &["--audience", "https://orders.example"]).await;
    assert!(scene.announcement.ends_with("for audience https://orders.example"));
    let seen = scene.echo(scene.get("/")).await;
    let token = seen["headers"]["x-serverless-authorization"].as_str().unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["aud"], "https://orders.example");
}

#[tokio::test]
async fn without_a_token_it_does_not_start_and_says_what_the_source_said() {
    let emulator = Emulator::start().await.unwrap();
    let refusal = FaultKind::status(404);
    emulator.inject(Fault::on(Endpoint::MetadataIdentity, refusal)).unwrap();
    let host = emulator.host();
    let url = "https://orders-1.europe-west1.run.app";
    let ended = output(&["proxy", url, "--port", "0", "--gce-metadata-host", &host]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = stderr(&ended);
    assert!(said.contains("no ID token for https://orders-1.europe-west1.run.app"), "{said}");
    assert!(said.contains(&host) && said.contains("404"), "{said}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn what_was_asked_for_wrongly_is_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let service = "https://orders-1.europe-west1.run.app";
    for (arguments, code, words) in [
        (&["http://orders.example"][..], 2, "not safe to send a token to"),
        (&["orders.example"], 2, "is not a URL"),
        (&["https://u:secret@orders.example"], 2, "remove what is before the `@`"),
        (&["https://orders.example"], 2, "give --audience"),
        (&[service, "--audience", ""], 2, "--audience:"),
        (&[service, "--port", "70000"], 2, "70000"),
        (&[service, "--port", &*port], 1, "give --port another one"),
        (&[], 2, "<URL>"),
    ] {
        let ended = output(&[&["proxy"], arguments].concat()).await;
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        let said = stderr(&ended);
        assert!(said.contains(words) && !said.contains("secret"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn its_own_port_is_no_service() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let port = free.port().to_string();
    let ended = output(&["proxy", &format!("http://localhost:{port}"), "--port", &port]).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(stderr(&ended).contains("the proxy's own port"), "{ended:?}");
}

#[tokio::test]
async fn a_signal_ends_it_with_0_whatever_is_open() {
    for signal in [Signal::INT, Signal::TERM] {
        let (url, _received) =
            raw_service("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all of it").await;
        let scene = Scene::before(Emulator::start().await.unwrap(), &url, &[]).await;
        let _open = within("the head", scene.get("/").send()).await.unwrap();
        scene.proxy.send(signal);
        assert_eq!(scene.proxy.exit_code().await, Some(0), "{signal:?}");
    }
}
