//! For the unit tests: real RSA keys, tokens, and a key server on a real socket that does what it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::inbound::jwks::{FetchLimits, KeyUrl};

pub(super) const AUDIENCE: &str = "https://called.example";
pub(super) const CALLER: &str = "caller@demo.iam.gserviceaccount.com";
pub(super) const NOW: u64 = 1_800_000_000;

/// A signing key and its id.
pub(super) struct Signer {
    pub(super) kid: String,
    pair: KeyPair,
}

impl Signer {
    pub(super) fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    pub(super) fn jwk(&self) -> Value {
        // SEQUENCE { INTEGER 00 n, INTEGER 01 00 01 }: n ends five bytes before the end.
        let der = self.pair.public_key().as_ref();
        let end = der.len() - 5;
        let n = URL_SAFE_NO_PAD.encode(&der[end - self.pair.public_modulus_len()..end]);
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": "AQAB"})
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"}), claims)
    }

    pub(super) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub(super) fn sign_text(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let input = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Claims as the metadata server makes them, good at [`NOW`].
pub(super) fn claims() -> Value {
    json!({
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "sub": "112233445566778899001",
        "azp": "112233445566778899001",
        "email": CALLER,
        "email_verified": true,
        "iat": NOW,
        "exp": NOW + 3_600,
    })
}

pub(super) fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

pub(super) fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

pub(super) fn key_set(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()})
}

/// One answer of the key server.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn keys(signers: &[&Signer]) -> Self {
        let headers = vec![("cache-control", "public, max-age=1000".to_owned())];
        Self { status: 200, headers, body: key_set(signers).to_string() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: "no".to_owned() }
    }

    pub(super) fn body(body: impl Into<String>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A key server on loopback. It counts requests, gives its answers in turn (the last one for ever), and can be held.
pub(super) struct KeyServer {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    requests: AtomicU64,
    answers: Mutex<VecDeque<Answer>>,
    gate: Semaphore,
}

impl KeyServer {
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect());
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let state = Arc::new(State { requests: AtomicU64::new(0), answers, gate });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        let router = Router::new().fallback(move || answer(Arc::clone(&shared)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    pub(super) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub(super) fn now_answers(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.state.answers.lock().unwrap() = answers.into_iter().collect();
    }

    /// Holds every answer back until [`release`](Self::release).
    pub(super) fn hold(&self) {
        self.state.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn release(&self) {
        self.state.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// Waits until so many requests have arrived.
    pub(super) async fn has_seen(&self, requests: u64) {
        eventually(|| self.requests() >= requests).await;
    }

    pub(super) fn url(&self) -> KeyUrl {
        KeyUrl::parse(&format!("http://{}/certs", self.address), true).unwrap()
    }
}

async fn answer(state: Arc<State>) -> Response {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let _permit = state.gate.acquire().await.unwrap();
    let answer = {
        let mut answers = state.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }.unwrap()
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}

/// Short limits, so that a test of a slow server does not take long.
pub(super) fn short_fetch() -> FetchLimits {
    let (connect, whole) = (Duration::from_millis(500), Duration::from_millis(500));
    FetchLimits { connect, whole, ..FetchLimits::default() }
}

/// Polls a condition under a deadline.
pub(super) async fn eventually(condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll).await.expect("within ten seconds");
}
