//! The admin API under `/admin/`: everything that the library does with an emulator, over HTTP and in JSON.
//!
//! | request | does |
//! |---|---|
//! | `GET /admin/state` | tells everything |
//! | `POST /admin/tokens` | mints a token: `{"audience": "…", "account": "…", "bad": "expired"}` |
//! | `GET /admin/tokens/bad` | lists the bad tokens with what is wrong with them |
//! | `POST /admin/keys/rotate` | `{"overlap": true}` |
//! | `POST /admin/keys/withdraw` | `{"kid": "…"}` |
//! | `POST /admin/certs` | `{"max_age_seconds": 300, "age_seconds": 0}` |
//! | `POST /admin/clock` | `{"offset_seconds": -3660}` |
//! | `POST /admin/faults` | `{"endpoint": "certs", "fault": {"kind": "status", "status": 503}, "times": 2}` |
//! | `DELETE /admin/faults` | clears them |
//! | `POST /admin/metadata` | opens a metadata server: `{"account": "…"}` |
//! | `POST /admin/accounts/recreate` | `{"account": "…"}` gets another unique id |
//! | `POST /admin/credentials` | a credential file: `{"kind": "service-account", "account": "…"}` |
//! | `POST /admin/token-creators` | lets a member mint as an account: `{"account": "…", "member": "…"}` |
//! | `DELETE /admin/token-creators` | takes that away |
//! | `POST /admin/front-ends` | opens a front end: the fields of [`FrontEndSpec`](super::FrontEndSpec) |
//! | `POST /admin/front-ends/{service}` | changes one: `{"open": true, "backend": "127.0.0.1:8080", …}` |
//! | `POST /admin/bindings` | grants: `{"service": "…", "member": "serviceAccount:…", "after_seconds": 60}` |
//! | `DELETE /admin/bindings` | takes away: `{"service": "…", "member": "…"}` |

mod credentials;
mod document;
mod front_ends;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{HOST, ORIGIN};
use http::{Method, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use self::document::{Document, Problem};
use super::accounts::Account;
use super::faults::{Endpoint, Fault};
use super::front_end::FrontEnd;
use super::google::Google;
use super::metadata::MetadataServer;
use super::token::{self, BadToken, TokenSpec};

type Answer = Result<Json<Value>, Problem>;
type Emulated = State<Arc<Google>>;

/// The routes, to be merged with others of the main port.
pub(super) fn router(google: &Arc<Google>) -> Router<Arc<Google>> {
    let routes = Router::new()
        .route("/state", get(state))
        .route("/tokens", post(mint))
        .route("/tokens/bad", get(bad_tokens))
        .route("/keys/rotate", post(rotate))
        .route("/keys/withdraw", post(withdraw))
        .route("/certs", post(certs))
        .route("/clock", post(clock))
        .route("/faults", post(inject).delete(clear))
        .route("/metadata", post(metadata))
        .route("/accounts/recreate", post(recreate))
        .route("/credentials", post(credentials::issue))
        .route("/token-creators", post(credentials::grant).delete(credentials::revoke))
        .route("/front-ends", post(front_ends::open))
        .route("/front-ends/{service}", post(front_ends::change))
        .route("/bindings", post(front_ends::grant).delete(front_ends::revoke))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let message = format!("/admin{} does not take {method}", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .fallback(async |uri: Uri| {
            let message = format!("there is no /admin{}; begin with /admin/state", uri.path());
            Problem::new(StatusCode::NOT_FOUND, message)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(google), guard));
    Router::new().nest("/admin", routes)
}

/// Lets in programs of this machine only. A web page in a browser here could reach this port as well: it is given away by
/// `Origin`, or by a host name of its own that it made resolve to 127.0.0.1 (DNS rebinding).
async fn guard(State(google): Emulated, request: Request, next: Next) -> Result<Response, Problem> {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") {
        let message =
            "the admin API is not for web pages: the request carries Origin or Sec-Fetch-Site";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let port = google.address.get().map(SocketAddr::port).unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let ours = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}"));
    if !host.is_some_and(|host| ours.iter().any(|name| name.eq_ignore_ascii_case(host))) {
        let message = format!("Host: expected {}", ours.join(" or "));
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    Ok(next.run(request).await)
}

async fn state(State(google): Emulated) -> Json<Value> {
    let accounts: Vec<Value> = google
        .accounts
        .all()
        .iter()
        .map(
            |account| json!({"email": account.email, "sub": account.sub, "person": account.person}),
        )
        .collect();
    let servers: Vec<Value> = google
        .metadata
        .all()
        .iter()
        .map(|server| json!({"account": server.account(), "host": server.host()}))
        .collect();
    let requests: serde_json::Map<String, Value> = Endpoint::ALL
        .iter()
        .map(|endpoint| (endpoint.to_string(), json!(google.traffic.requests(*endpoint))))
        .collect();
    Json(json!({
        "url": google.url(),
        "project": {
            "id": google.project.id,
            "number": google.project.number,
            "region": google.project.region,
        },
        "default_account": google.default_account,
        "clock": {
            "offset_seconds": google.clock.offset_seconds(),
            "unix_seconds": google.clock.unix_seconds(),
        },
        "keys": keys_state(&google),
        "certs": {
            "max_age_seconds": google.certs_caching.max_age_seconds(),
            "age_seconds": google.certs_caching.age_seconds(),
        },
        "accounts": accounts,
        "account_keys": google.account_keys.state(),
        "access_tokens": google.access_tokens.held(),
        "token_creators": google.token_creators.state(),
        "metadata_servers": servers,
        "front_ends": google.front_ends.all().iter().map(FrontEnd::state).collect::<Vec<_>>(),
        "faults": google.traffic.pending(),
        "requests": requests,
    }))
}

fn keys_state(google: &Google) -> Value {
    let published = google.keys.published();
    let kids: Vec<&str> = published.iter().map(|key| key.kid()).collect();
    json!({"current": google.keys.current().kid(), "published": kids})
}

async fn mint(State(google): Emulated, Document(spec): Document<TokenSpec>) -> Answer {
    spec.check()?;
    Ok(Json(json!({"token": token::mint(&google, &spec)})))
}

async fn bad_tokens() -> Json<Value> {
    let all: Vec<Value> = BadToken::ALL
        .iter()
        .map(|bad| json!({"name": bad.name(), "description": bad.description()}))
        .collect();
    Json(json!({"bad_tokens": all}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default = "yes")]
    overlap: bool,
}

fn yes() -> bool {
    true
}

async fn rotate(State(google): Emulated, Document(rotation): Document<Rotation>) -> Answer {
    google.keys.rotate(google.clock.unix_seconds(), rotation.overlap).await?;
    Ok(Json(keys_state(&google)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdrawal {
    kid: String,
}

async fn withdraw(State(google): Emulated, Document(withdrawal): Document<Withdrawal>) -> Answer {
    google.keys.withdraw(&withdrawal.kid)?;
    Ok(Json(keys_state(&google)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Caching {
    max_age_seconds: Option<u64>,
    age_seconds: Option<u64>,
}

async fn certs(State(google): Emulated, Document(caching): Document<Caching>) -> Json<Value> {
    let now = &google.certs_caching;
    for (value, setting) in
        [(caching.max_age_seconds, &now.max_age_seconds), (caching.age_seconds, &now.age_seconds)]
    {
        if let Some(seconds) = value {
            setting.store(seconds, Ordering::Relaxed);
        }
    }
    Json(json!({"max_age_seconds": now.max_age_seconds(), "age_seconds": now.age_seconds()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockSetting {
    offset_seconds: i64,
}

async fn clock(State(google): Emulated, Document(setting): Document<ClockSetting>) -> Json<Value> {
    google.clock.set_offset_seconds(setting.offset_seconds);
    Json(json!({
        "offset_seconds": setting.offset_seconds,
        "unix_seconds": google.clock.unix_seconds(),
    }))
}

async fn inject(State(google): Emulated, Document(fault): Document<Fault>) -> Answer {
    google.traffic.inject(fault)?;
    Ok(Json(json!({"faults": google.traffic.pending()})))
}

async fn clear(State(google): Emulated) -> Json<Value> {
    google.traffic.clear();
    Json(json!({"faults": []}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    account: String,
}

async fn metadata(State(google): Emulated, Document(of): Document<OfAccount>) -> Answer {
    let server = MetadataServer::open(&google, &of.account).await?;
    let environment: serde_json::Map<String, Value> =
        server.environment().into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    Ok(Json(json!({
        "account": server.account(),
        "host": server.host(),
        "environment": environment,
    })))
}

async fn recreate(State(google): Emulated, Document(of): Document<OfAccount>) -> Answer {
    let account = google.accounts.recreate(&Account::of(&of.account)?.email);
    Ok(Json(json!({"email": account.email, "sub": account.sub})))
}
