//! `countersign caller` before `countersign called`, and before servers that misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use countersign::emulator::{Emulator, Endpoint, Fault, FaultKind, TokenSpec};
use countersign::outbound::{IdTokenCache, IdTokenClient, MetadataServer};
use http::HeaderMap;
use serde_json::{Value, json};

use super::support::door::Closed;
use super::support::process::Process;
use super::support::{Answer, CALLER, client, send, within};
use super::{BINARY, called_with};

/// The function as a user edits it, for what only its router can be asked in a test: a short deadline.
#[path = "../../src/functions/caller.rs"]
#[allow(unreachable_pub, missing_docs, reason = "it is the program's own module")]
mod function;

const CALLER_AUDIENCE: &str = "https://caller.example";
const CLIENT: &str = "client@demo.iam.gserviceaccount.com";
const CLIENT_MEMBER: &str = "serviceAccount:client@demo.iam.gserviceaccount.com";

/// A caller that may be called by [`CLIENT`], runs as [`CALLER`], and calls `url`.
async fn caller(emulator: &Emulator, url: &str, more: &[(&str, &str)]) -> Process {
    let (jwks_url, host) = (emulator.jwks_url(), emulator.host());
    let mut settings = vec![
        ("AUDIENCE", CALLER_AUDIENCE),
        ("ALLOWED_PRINCIPALS", CLIENT_MEMBER),
        ("TRUST_EMULATOR", "1"),
        ("JWKS_URL", &*jwks_url),
        ("GCE_METADATA_HOST", &*host),
        ("CALLED_URL", url),
        ("CALLED_AUDIENCE", super::support::AUDIENCE),
    ];
    settings.extend_from_slice(more);
    Process::start(BINARY, "caller", &settings).await
}

fn token(emulator: &Emulator) -> String {
    emulator.mint(&TokenSpec::for_audience(CALLER_AUDIENCE).account(CLIENT))
}

async fn call(emulator: &Emulator, caller: &Process) -> Answer {
    let request = caller.post("/").bearer_auth(token(emulator)).json(&json!({"foo": "hello"}));
    send(request).await
}

#[tokio::test]
async fn a_good_call_creates_an_entity_downstream() {
    let emulator = Emulator::start().await.unwrap();
    let called = called_with(&emulator.jwks_url(), &[]).await;
    let caller = caller(&emulator, &called.url("/"), &[]).await;
    let answer = call(&emulator, &caller).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let entity = answer.json();
    assert_eq!(entity["bar"], "hello");
    assert!(entity["id"].is_string());
    for _ in 0..20 {
        assert_eq!(call(&emulator, &caller).await.status, 201);
    }
    assert_eq!(emulator.requests(Endpoint::MetadataIdentity), 1, "the token is kept");
    assert_eq!(caller.health("ready").await.status, 200);
}

#[tokio::test]
async fn its_own_clients_are_verified_and_their_requests_too() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    let caller = caller(&emulator, &downstream.url(), &[]).await;
    send(caller.post("/").json(&json!({"foo": 1}))).await.assert_no_token();
    let stranger = emulator.mint(&TokenSpec::for_audience(CALLER_AUDIENCE));
    let answer = send(caller.post("/").bearer_auth(stranger).json(&json!({"foo": 1}))).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
    let other = emulator.mint(&TokenSpec::for_audience(super::support::AUDIENCE).account(CLIENT));
    let answer = send(caller.post("/").bearer_auth(other).json(&json!({"foo": 1}))).await;
    answer.assert_bad_token("wrong_audience");
    for (body, code) in [
        ("{}", "missing_field"),
        (r#"{"bar":1}"#, "missing_field"),
        (r#"{"foo":null}"#, "missing_field"),
        ("", "malformed_body"),
        ("[]", "malformed_body"),
        ("nonsense", "malformed_body"),
    ] {
        let answer = send(caller.post("/").bearer_auth(token(&emulator)).body(body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}");
    }
    assert_eq!(downstream.seen().len(), 0, "what is refused here never gets there");
    assert_eq!(emulator.requests(Endpoint::MetadataIdentity), 0);
}

#[tokio::test]
async fn a_downstream_that_refuses_the_caller_is_a_502_that_says_so() {
    let emulator = Emulator::start().await.unwrap();
    let forbidding = [("ALLOWED_PRINCIPALS", "serviceAccount:other@demo.iam.gserviceaccount.com")];
    let elsewhere = [("AUDIENCE", "https://another.example")];
    for (more, status) in [(forbidding, 403), (elsewhere, 401)] {
        let called = called_with(&emulator.jwks_url(), &more).await;
        let caller = caller(&emulator, &called.url("/"), &[]).await;
        let answer = call(&emulator, &caller).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "downstream_refused_caller"));
        assert_eq!(answer.json()["downstream_status"], status);
        assert!(
            answer.header("www-authenticate").is_none(),
            "its client's token is not what was bad"
        );
        caller.logs("downstream_refused_caller").await;
        assert!(!answer.body.contains(CALLER), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_downstream_that_is_down_is_a_502() {
    let emulator = Emulator::start().await.unwrap();
    let down = Closed::new();
    let caller = caller(&emulator, &format!("http://{}", down.address()), &[]).await;
    let answer = call(&emulator, &caller).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "downstream_unreachable"));
    assert!(!answer.body.contains("127.0.0.1"), "what is inside stays inside: {}", answer.body);
}

#[tokio::test]
async fn a_metadata_server_that_gives_no_token_is_a_502_and_is_asked_again() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    let caller = caller(&emulator, &downstream.url(), &[]).await;
    emulator
        .inject(Fault::on(Endpoint::MetadataIdentity, FaultKind::status(404)).times(1))
        .unwrap();
    let answer = call(&emulator, &caller).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "id_token_unavailable"));
    assert_eq!(downstream.seen().len(), 0, "never a call without a token");
    assert_eq!(call(&emulator, &caller).await.status, 200, "one failure poisons nothing");
}

#[tokio::test]
async fn a_metadata_server_that_is_down_is_a_502() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    let down = Closed::new();
    let host = down.address().to_string();
    let caller = caller(&emulator, &downstream.url(), &[("GCE_METADATA_HOST", &*host)]).await;
    let answer = call(&emulator, &caller).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "id_token_unavailable"));
    assert_eq!(downstream.seen().len(), 0);
}

#[tokio::test]
async fn answers_for_the_client_are_handed_back_and_others_are_not() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    let caller = caller(&emulator, &downstream.url(), &[]).await;
    for status in [200, 201, 202, 400, 404, 409, 422] {
        downstream.answer(status, &[("set-cookie", "a=1"), ("x-internal", "1")]);
        let answer = call(&emulator, &caller).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, "downstream says"));
        assert_eq!(answer.header("content-type"), Some("text/x-downstream"));
        assert!(answer.header("set-cookie").is_none() && answer.header("x-internal").is_none());
    }
    for status in [402, 405, 418, 429, 500, 501, 503, 504] {
        downstream.answer(status, &[("retry-after", "1")]);
        let answer = call(&emulator, &caller).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "downstream_failed"), "{status}");
        assert_eq!(answer.json()["downstream_status"], status);
        assert!(!answer.body.contains("downstream says"), "{}", answer.body);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let emulator = Emulator::start().await.unwrap();
    let (downstream, elsewhere) = (Downstream::start().await, Downstream::start().await);
    let caller = caller(&emulator, &downstream.url(), &[]).await;
    for status in [301, 302, 303, 307, 308] {
        downstream.answer(status, &[("location", &elsewhere.url())]);
        let answer = call(&emulator, &caller).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "downstream_failed"), "{status}");
        assert!(answer.header("location").is_none());
    }
    assert_eq!(elsewhere.seen().len(), 0, "a token went where nobody sent it");
}

#[tokio::test]
async fn the_callers_own_identity_goes_downstream_and_nothing_of_its_client() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    let caller = caller(&emulator, &downstream.url(), &[]).await;
    let inbound = token(&emulator);
    let request = caller
        .post("/?secret=query")
        .bearer_auth(&inbound)
        .header("x-serverless-authorization", format!("Bearer {inbound}"))
        .header("cookie", "session=of-the-client")
        .header("x-goog-authenticated-user-email", "admin@example.com")
        .header("x-forwarded-for", "203.0.113.7")
        .json(&json!({"foo": "hello", "admin": true}));
    assert_eq!(send(request).await.status, 200);
    let [(headers, body)] = &downstream.seen()[..] else { panic!("one call") };
    assert_eq!(serde_json::from_slice::<Value>(body).unwrap(), json!({"bar": "hello"}));
    let sent = headers["authorization"].to_str().unwrap();
    let sent = sent.strip_prefix("Bearer ").unwrap();
    assert_ne!(sent, inbound);
    let claims = sent.split('.').nth(1).unwrap();
    let claims = countersign::identity::Claims::parse(
        &base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap(),
    )
    .unwrap();
    assert_eq!(&**claims.email.required("email").unwrap(), CALLER);
    assert_eq!(&**claims.audience.required("aud").unwrap(), super::support::AUDIENCE);
    assert_eq!(headers["x-serverless-authorization"], headers["authorization"]);
    assert_eq!(headers.get_all("authorization").iter().count(), 1);
    let all = format!("{headers:?}");
    for secret in ["of-the-client", "admin@example.com", "203.0.113.7", inbound.as_str()] {
        assert!(!all.contains(secret), "{secret} went downstream: {all}");
    }
    assert!(!caller.log().contains(sent) && !caller.log().contains(&inbound));
}

#[tokio::test]
async fn a_trace_is_continued_downstream() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    let caller = caller(&emulator, &downstream.url(), &[]).await;
    let (trace, span) = ("105445aa7843bc8bf206b12000100000", "00f067aa0ba902b7");
    let with = |name: &'static str, value: String| {
        let request = caller.post("/").bearer_auth(token(&emulator)).header(name, value);
        send(request.json(&json!({"foo": 1})))
    };
    let sent = |at: usize| downstream.seen()[at].0["traceparent"].to_str().unwrap().to_owned();

    assert_eq!(with("traceparent", format!("00-{trace}-{span}-01")).await.status, 200);
    let parts: Vec<String> = sent(0).split('-').map(str::to_owned).collect();
    assert_eq!((parts[0].as_str(), parts[1].as_str(), parts[3].as_str()), ("00", trace, "01"));
    assert_ne!(parts[2], span, "a span of its own");
    assert_eq!(parts[2].len(), 16);

    // SPAN is decimal in Google's field.
    assert_eq!(
        with("x-cloud-trace-context", format!("{trace}/67667974448284343;o=1")).await.status,
        200
    );
    assert!(sent(1).starts_with(&format!("00-{trace}-")), "{}", sent(1));

    // None, or one that is none: a new trace.
    for odd in
        ["", "00-0-0-00", "garbage", "00-00000000000000000000000000000000-0000000000000000-01"]
    {
        assert_eq!(with("traceparent", odd.to_owned()).await.status, 200);
    }
    let mut traces: Vec<String> = downstream.seen()[2..]
        .iter()
        .map(|(headers, _)| headers["traceparent"].to_str().unwrap()[3..35].to_owned())
        .collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 4, "{traces:?}");
    assert!(!traces.contains(&trace.to_owned()) && !traces.contains(&"0".repeat(32)));
}

/// Libraries underneath write what they see at this level.
#[tokio::test]
async fn no_token_is_in_the_log_even_at_the_finest_level() {
    let emulator = Emulator::start().await.unwrap();
    let trace = [("RUST_LOG", "trace")];
    let mut called = called_with(&emulator.jwks_url(), &trace).await;
    let mut caller = caller(&emulator, &called.url("/"), &trace).await;
    let answer = call(&emulator, &caller).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let inbound = token(&emulator);
    let request = caller.post("/").bearer_auth(&inbound).json(&json!({"foo": "hello"}));
    assert_eq!(send(request).await.status, 201);
    for process in [&mut caller, &mut called] {
        process.terminate();
        assert!(process.ended().await.success());
        let log = process.log();
        assert!(log.lines().count() > 5, "{log}");
        // Every token's claims begin so, whoever signed it.
        assert!(
            !log.contains("eyJhbGciOi"),
            "{:?}",
            log.lines().find(|line| line.contains("eyJhbGciOi"))
        );
        assert!(!log.contains(inbound.split('.').nth(1).unwrap()));
    }
}

/// The deadline is not a setting (30 s), so the function's router is asked with a client that has a short one.
#[tokio::test]
async fn a_downstream_that_is_slow_is_a_504() {
    let emulator = Emulator::start().await.unwrap();
    let downstream = Downstream::start().await;
    downstream.answer(SILENT, &[]);
    let metadata = MetadataServer::builder().host(emulator.host()).build().unwrap();
    let tokens = IdTokenCache::new(metadata, Arc::new(countersign::clock::SystemClock));
    let client_of_called = IdTokenClient::builder(downstream.url(), tokens)
        .deadline(Duration::from_millis(200))
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = function::router(client_of_called);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let answer = send(client().post(url).json(&json!({"foo": 1}))).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "downstream_timeout"));
    assert_eq!(downstream.seen().len(), 1);
}

/// A called service that does what it is told, and keeps what it gets.
#[derive(Clone)]
struct Downstream {
    address: SocketAddr,
    state: Shared,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    status: u16,
    headers: Vec<(String, String)>,
    seen: Vec<(HeaderMap, Vec<u8>)>,
}

/// Not a status: no answer at all.
const SILENT: u16 = 0;

impl Downstream {
    async fn start() -> Self {
        let state = Shared::default();
        state.0.lock().unwrap().status = 200;
        let router = Router::new().fallback(downstream).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn answer(&self, status: u16, headers: &[(&str, &str)]) {
        let mut told = self.state.0.lock().unwrap();
        told.status = status;
        told.headers =
            headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    }

    fn seen(&self) -> Vec<(HeaderMap, Vec<u8>)> {
        self.state.0.lock().unwrap().seen.clone()
    }
}

async fn downstream(State(state): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = within("a body", axum::body::to_bytes(body, 1 << 20)).await.unwrap();
    let (status, headers) = {
        let mut told = state.0.lock().unwrap();
        told.seen.push((head.headers, body.to_vec()));
        (told.status, told.headers.clone())
    };
    if status == SILENT {
        std::future::pending::<()>().await;
    }
    let mut response =
        Response::builder().status(status).header("content-type", "text/x-downstream");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from("downstream says")).unwrap()
}
