//! A metadata server that answers as it is told to, with tokens that are really signed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::{Clock, ManualClock};
use countersign::identity::Audience;
use countersign::outbound::{MetadataServer, MetadataServerBuilder};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) const START: u64 = 1_700_000_000;
pub(crate) const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");

/// What to answer; gets the server and the audience that was asked for.
pub(crate) type Answer = Box<dyn FnOnce(&Google, &str) -> Response + Send>;

#[derive(Clone)]
pub(crate) struct Google(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    script: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<(Uri, HeaderMap)>>,
    held: watch::Sender<bool>,
    serial: AtomicU64,
}

impl Google {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let google = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            clock: Arc::new(ManualClock::at_unix_seconds(START)),
            script: Mutex::default(),
            asked: Mutex::default(),
            held: watch::channel(false).0,
            serial: AtomicU64::new(0),
        }));
        let app = Router::new().fallback(answer).with_state(google.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        google
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.0.clock)
    }

    /// A client of this server that does not linger.
    pub(crate) fn client(&self) -> MetadataServerBuilder {
        MetadataServer::builder()
            .host(self.address().to_string())
            .first_pause(Duration::from_millis(1))
            .budget(Duration::from_secs(20))
            .clock(self.clock())
    }

    /// Puts an answer at the end of the script. When the script is over, every answer is a good token.
    pub(crate) fn then(
        &self,
        answer: impl FnOnce(&Google, &str) -> Response + Send + 'static,
    ) -> &Self {
        self.0.script.lock().unwrap().push_back(Box::new(answer));
        self
    }

    /// Puts a status with Google's flavor at the end of the script.
    pub(crate) fn then_status(&self, status: u16) -> &Self {
        self.then(move |_, _| {
            (StatusCode::from_u16(status).unwrap(), [FLAVOR], "no").into_response()
        })
    }

    /// Forgets what is left of the script.
    pub(crate) fn drop_script(&self) {
        self.0.script.lock().unwrap().clear();
    }

    /// Keeps every answer back until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.0.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// How many requests have come in.
    pub(crate) fn count(&self) -> usize {
        self.0.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> (Uri, HeaderMap) {
        self.0.asked.lock().unwrap().last().unwrap().clone()
    }

    /// A good token with an hour to live; no two are the same.
    pub(crate) fn token(&self, audience: &str) -> String {
        self.token_with(audience, |_| ())
    }

    pub(crate) fn token_with(&self, audience: &str, change: impl FnOnce(&mut Value)) -> String {
        let now = self.0.clock.now().unix_seconds();
        let mut claims = json!({
            "iss": "https://accounts.google.com", "aud": audience, "azp": "1122", "sub": "1122",
            "email": "caller@demo.iam.gserviceaccount.com", "email_verified": true,
            "iat": now, "exp": now + 3_600,
            "serial": self.0.serial.fetch_add(1, Ordering::Relaxed),
        });
        change(&mut claims);
        sign(&claims)
    }
}

async fn answer(State(google): State<Google>, request: Request) -> Response {
    google.0.asked.lock().unwrap().push((request.uri().clone(), request.headers().clone()));
    let _ = google.0.held.subscribe().wait_for(|held| !held).await;
    let audience =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .find_map(|(name, value)| (name == "audience").then(|| value.into_owned()))
            .unwrap_or_default();
    let next = google.0.script.lock().unwrap().pop_front();
    match next {
        Some(answer) => answer(&google, &audience),
        None => ([FLAVOR], google.token(&audience)).into_response(),
    }
}

fn sign(claims: &Value) -> String {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    let key = KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "kid": "test", "typ": "JWT"});
    let input = format!("{}.{}", part(&header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn audience(text: &str) -> Audience {
    text.parse().unwrap()
}
