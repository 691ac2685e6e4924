//! What the tests of the whole share: signers, a service behind authentication on a free port, a client, the program
//! itself as a child process.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

pub mod door;
pub mod process;
pub mod signer;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::{any, get};
use axum::{Json, Router};
use countersign::clock::SystemClock;
use countersign::emulator::Emulator;
use countersign::identity::Member;
use countersign::inbound::jwks::KeyUrl;
use countersign::inbound::{Authenticate, Policy, Principal, Verifier, VerifierBuilder};
use countersign::server::{self, App, Config, Server};
use countersign::telemetry;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::subscriber::DefaultGuard;

/// For whom the good tokens of the tests are made.
pub const AUDIENCE: &str = "https://called.example";
/// Who may call.
pub const CALLER: &str = "caller@demo.iam.gserviceaccount.com";
/// The same as an IAM member.
pub const CALLER_MEMBER: &str = "serviceAccount:caller@demo.iam.gserviceaccount.com";

/// Long enough for anything that should happen at all, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Fails the test where something that should happen does not.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {DEADLINE:?}"),
    }
}

/// Asks until the answer is yes.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Neither follows redirects nor uses a proxy.
pub fn client() -> reqwest::Client {
    // reqwest wants a provider even for plain HTTP. A second installation in this process changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.no_proxy().tls_certs_only([]).build().unwrap()
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = within("an answer's body", response.text()).await.unwrap();
        Self { status, headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `code` of a problem, whose form is checked on the way.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Status, code and challenge are the ones that go with a bad token.
    pub fn assert_bad_token(&self, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (401, code), "{self:?}");
        let challenge = self.header("www-authenticate").unwrap_or_default();
        let start = "Bearer error=\"invalid_token\", error_description=\"";
        assert!(challenge.starts_with(start) && challenge.ends_with('"'), "{challenge}");
    }

    /// The request had no credential in the one place where it counts.
    pub fn assert_no_token(&self) {
        assert_eq!((self.status, self.code().as_str()), (401, "no_token"), "{self:?}");
        assert_eq!(self.header("www-authenticate"), Some("Bearer"));
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = within("an answer", request.send()).await.unwrap();
    Answer::of(response).await
}

/// The policy of these members.
pub fn policy(members: &[&str]) -> Policy {
    Policy::new(members.iter().map(|member| member.parse::<Member>().unwrap())).unwrap()
}

/// A verifier that gets its keys from an emulator.
pub fn verifier(emulator: &Emulator) -> VerifierBuilder {
    let url = KeyUrl::parse(&emulator.jwks_url(), true).unwrap();
    Verifier::builder().audience(AUDIENCE.parse().unwrap()).key_url(url)
}

/// A service behind authentication, on a free port of this machine, in this process.
///
/// `GET /whoami` says whom it takes its caller for; everything else under `/` is counted and says what it saw.
pub struct Guarded {
    pub address: SocketAddr,
    handled: Arc<AtomicU64>,
    client: reqwest::Client,
    _stop: oneshot::Sender<()>,
}

impl Guarded {
    pub async fn start(verifier: Verifier, policy: Policy) -> Self {
        Self::behind(Authenticate::new(verifier, policy).unwrap()).await
    }

    pub async fn behind(layer: Authenticate) -> Self {
        let handled = Arc::new(AtomicU64::new(0));
        let count = {
            let handled = Arc::clone(&handled);
            move || handled.fetch_add(1, Ordering::Relaxed)
        };
        let counted = count.clone();
        let whoami = move |principal: Principal| {
            counted();
            std::future::ready(Json(json!({
                "email": principal.email(), "sub": principal.subject(),
                "audience": principal.audience().as_str(), "expires_at": principal.expires_at(),
            })))
        };
        let echo = move |request: axum::extract::Request| {
            count();
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            std::future::ready(Json(json!({ "method": method, "path": path })))
        };
        let router = Router::new()
            .route("/whoami", get(whoami))
            .route("/", any(echo))
            .fallback(server::not_found)
            .method_not_allowed_fallback(server::method_not_allowed)
            .layer(layer);
        let config = Config { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 0, ..Config::default() };
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.serve(App::new(router), async {
            let _ = stopped.await;
        }));
        Self { address, handled, client: client(), _stop: stop }
    }

    /// How many requests reached a handler.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path))
    }

    /// `GET /whoami` with this token.
    pub async fn whoami(&self, token: &str) -> Answer {
        send(self.request("/whoami").header("authorization", format!("Bearer {token}"))).await
    }

    /// The token is refused with this code, and no handler runs.
    pub async fn refuses(&self, token: &str, code: &str) {
        let before = self.handled();
        let answer = self.whoami(token).await;
        answer.assert_bad_token(code);
        assert_eq!(self.handled(), before, "a handler ran for a refused token");
    }

    /// The token is accepted.
    pub async fn accepts(&self, token: &str) -> Value {
        let answer = self.whoami(token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

/// Log lines as they would be written. The runtime of a test has one thread, so the subscriber of that thread hears
/// everything.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub fn collect(format: telemetry::LogFormat) -> (Self, DefaultGuard) {
        let lines = Self::default();
        let config = telemetry::Config { format, filter: "debug".into(), ..Default::default() };
        let subscriber = config.subscriber(Arc::new(SystemClock), lines.clone()).unwrap();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}
