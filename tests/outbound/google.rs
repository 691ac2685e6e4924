//! A metadata server that answers as it is told to, with tokens that are really signed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::{Clock, ManualClock};
use countersign::identity::Audience;
use countersign::outbound::{MetadataServer, MetadataServerBuilder, SourceOptions};
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
    /// Each answer with a part of the path that it is for.
    script: Mutex<VecDeque<(&'static str, Answer)>>,
    asked: Mutex<Vec<(Uri, HeaderMap)>>,
    bodies: Mutex<Vec<Value>>,
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
            bodies: Mutex::default(),
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
        self.then_at("/", answer)
    }

    /// Puts an answer for paths with this in them at the end of the script.
    pub(crate) fn then_at(
        &self,
        part: &'static str,
        answer: impl FnOnce(&Google, &str) -> Response + Send + 'static,
    ) -> &Self {
        self.0.script.lock().unwrap().push_back((part, Box::new(answer)));
        self
    }

    /// Puts a status with this body, for paths with this in them, at the end of the script.
    pub(crate) fn then_says(&self, part: &'static str, status: u16, body: &'static str) -> &Self {
        let status = StatusCode::from_u16(status).unwrap();
        self.then_at(part, move |_, _| (status, [FLAVOR], body).into_response())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Options for sources of this server that do not linger.
    pub(crate) fn options(&self) -> SourceOptions {
        SourceOptions::default()
            .first_pause(Duration::from_millis(1))
            .budget(Duration::from_secs(20))
            .clock(self.clock())
            .iam_credentials_url(self.url("/").parse().unwrap())
    }

    /// The bodies of what was posted, as JSON objects, with their paths.
    pub(crate) fn posted(&self) -> Vec<Value> {
        self.0.bodies.lock().unwrap().clone()
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
    let (head, body) = request.into_parts();
    google.0.asked.lock().unwrap().push((head.uri.clone(), head.headers.clone()));
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = posted(&head.uri, &body);
    if head.method == http::Method::POST {
        google.0.bodies.lock().unwrap().push(body.clone());
    }
    let _ = google.0.held.subscribe().wait_for(|held| !held).await;
    let audience = asked_for(&head.uri, &body);
    let path = head.uri.path();
    let next = {
        let mut script = google.0.script.lock().unwrap();
        let at = script.iter().position(|(part, _)| path.contains(part));
        at.and_then(|at| script.remove(at))
    };
    match next {
        Some((_, answer)) => answer(&google, &audience),
        None => google.good(path, &body, &audience),
    }
}

/// A form or a JSON object, with the path beside.
fn posted(uri: &Uri, body: &[u8]) -> Value {
    let mut object = serde_json::from_slice(body).unwrap_or_else(|_| {
        let pairs = url::form_urlencoded::parse(body);
        Value::Object(pairs.map(|(name, value)| (name.into(), value.into())).collect())
    });
    object["path"] = uri.path().into();
    object
}

/// The claims of an assertion or of another token.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
}

pub(crate) const CLIENT_ID: &str = "123-abc.apps.googleusercontent.com";

/// The audience that a request asks a token for; empty when it asks for an access token.
fn asked_for(uri: &Uri, body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if body["grant_type"] == "refresh_token" {
        return text(&body["client_id"]);
    }
    if let Some(assertion) = body["assertion"].as_str() {
        return text(&claims(assertion)["target_audience"]);
    }
    if body["audience"].is_string() {
        return text(&body["audience"]);
    }
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .find_map(|(name, value)| (name == "audience").then(|| value.into_owned()))
        .unwrap_or_default()
}

impl Google {
    fn good(&self, path: &str, body: &Value, audience: &str) -> Response {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let access = format!("ya29.access-{serial}");
        if path.ends_with(":generateIdToken") {
            return Json(json!({"token": self.token(audience)})).into_response();
        }
        if path.ends_with(":generateAccessToken") {
            return Json(json!({"accessToken": access, "expireTime": "2023-11-14T23:13:20Z"}))
                .into_response();
        }
        if path.ends_with("/token") {
            let mut answer =
                json!({"access_token": access, "expires_in": 3599, "token_type": "Bearer"});
            if !audience.is_empty() && !path.contains("/v1/") {
                answer["id_token"] = self.token(audience).into();
                if body["grant_type"] != "refresh_token" {
                    answer.as_object_mut().unwrap().remove("access_token");
                }
            }
            return ([FLAVOR], Json(answer)).into_response();
        }
        ([FLAVOR], self.token(audience)).into_response()
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
