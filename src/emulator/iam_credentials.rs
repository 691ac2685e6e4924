//! IAM Credentials: one identity mints for another
//! (<https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts>).
//!
//! `generateIdToken`, `generateAccessToken` and `signJwt`, at the paths that they have at Google. Whoever asks needs a
//! live access token, and the Token Creator role on the account: bindings that tests set.

mod permission;
mod refusal;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, Method};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) use self::refusal::Refusal;
use self::request::{AccessTokenRequest, Document, IdTokenRequest, JwtRequest};
use super::accounts::Account;
use super::google::Google;
use super::oauth::uncached;
use super::principal::Principal;
use super::token::{self, TokenSpec};

type Answer = Result<Response, Refusal>;

pub(super) fn router() -> Router<Arc<Google>> {
    Router::new().route("/v1/projects/-/serviceAccounts/{target}", post(answer))
}

/// The URL of a method for an account, as credential files carry it.
pub(super) fn method_url(google: &Google, account: &str, method: &str) -> String {
    format!("{}/v1/projects/-/serviceAccounts/{account}:{method}", google.url())
}

async fn answer(
    State(google): State<Arc<Google>>,
    Path(target): Path<String>,
    method: Method,
    headers: HeaderMap,
    document: Result<Document, Refusal>,
) -> Answer {
    let (email, action) = target.rsplit_once(':').unwrap_or((target.as_str(), ""));
    // In Google's order: who is it, then what is asked for, then may they.
    let grant = permission::caller(&google, &headers)?;
    let document = document?;
    match action {
        "generateIdToken" => {
            let request: IdTokenRequest = document.read()?;
            request.check()?;
            let delegates = &request.delegates;
            let account = permission::target(&google, &grant, delegates, email, "getOpenIdToken")?;
            Ok(uncached(json!({"token": id_token(&google, &account, &request)})))
        }
        "generateAccessToken" => {
            let request: AccessTokenRequest = document.read()?;
            let lifetime = request.check()?;
            let delegates = &request.delegates;
            let account = permission::target(&google, &grant, delegates, email, "getAccessToken")?;
            Ok(access_token(&google, &account, request.scope, lifetime))
        }
        "signJwt" => {
            let request: JwtRequest = document.read()?;
            request.check()?;
            let account =
                permission::target(&google, &grant, &request.delegates, email, "signJwt")?;
            sign_jwt(&google, &account, &request.payload).await
        }
        _ => Err(Refusal::no_such_method(&method, &target)),
    }
}

fn id_token(google: &Google, account: &Account, request: &IdTokenRequest) -> String {
    let mut spec =
        TokenSpec::for_audience(&request.audience).account(&account.email).without_claim("google");
    if !request.include_email {
        spec = spec.without_claim("email").without_claim("email_verified");
    }
    if request.use_email_azp {
        spec = spec.claim("azp", account.email.as_str());
    }
    token::mint(google, &spec)
}

fn access_token(
    google: &Google,
    account: &Account,
    scopes: Vec<String>,
    lifetime: i64,
) -> Response {
    let expires = google.clock.unix_seconds().saturating_add(lifetime);
    let token = google.access_tokens.issue(Principal::of(account), scopes, expires);
    let expire_time = OffsetDateTime::from_unix_timestamp(expires)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default();
    uncached(json!({"accessToken": token, "expireTime": expire_time}))
}

async fn sign_jwt(google: &Google, account: &Account, payload: &str) -> Answer {
    let key = google.account_keys.key(&account.email, google.clock.unix_seconds()).await;
    let key = key.map_err(|error| Refusal::unavailable(error.to_string()))?;
    let signed = token::sign_payload(&key, payload);
    Ok(uncached(json!({"keyId": key.kid(), "signedJwt": signed})))
}
