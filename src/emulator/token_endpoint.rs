//! The OAuth token endpoint, `POST /token`: what `https://oauth2.googleapis.com/token` is to the world.
//!
//! Two grants: a service account's signed assertion (RFC 7523, <https://developers.google.com/identity/protocols/oauth2/service-account>)
//! and a person's refresh token (RFC 6749 section 6). Errors come in the live service's order and words.

mod assertion;
mod refresh;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use serde_json::json;

pub(super) use self::refresh::{CLIENT_SECRET, RefreshTokens};
use super::access_tokens::LIFETIME_SECONDS;
use super::accounts::Account;
use super::google::Google;
use super::oauth::{Form, Refusal, uncached};
use super::principal::Principal;
use super::token::{self, TokenSpec};

/// Where it is on the main port.
pub(super) const PATH: &str = "/token";
/// The audience that Google's own libraries put into assertions, wherever they send them.
const GOOGLES_URL: &str = "https://oauth2.googleapis.com/token";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) fn router() -> Router<Arc<Google>> {
    Router::new().route(PATH, post(answer))
}

async fn answer(State(google): State<Arc<Google>>, form: Form) -> Result<Response, Refusal> {
    match form.required("grant_type")? {
        JWT_BEARER => of_assertion(&google, &form),
        "refresh_token" => refresh::answer(&google, &form),
        other => {
            Err(Refusal::new("unsupported_grant_type", format!("Invalid grant_type: {other}")))
        }
    }
}

fn of_assertion(google: &Google, form: &Form) -> Result<Response, Refusal> {
    let asserted = assertion::check(google, form.required("assertion")?)?;
    if let Some(audience) = asserted.target_audience {
        let token = key_file_token(google, &asserted.account, &audience);
        return Ok(uncached(json!({"id_token": token})));
    }
    let expires = google.clock.unix_seconds().saturating_add(LIFETIME_SECONDS);
    let principal = Principal::of(&asserted.account);
    let token = google.access_tokens.issue(principal, asserted.scopes, expires);
    Ok(uncached(json!({
        "access_token": token,
        "expires_in": LIFETIME_SECONDS,
        "token_type": "Bearer",
    })))
}

/// An ID token for a key file: with `email`, an `azp` that is the address, and nothing of an instance.
fn key_file_token(google: &Google, account: &Account, audience: &str) -> String {
    let spec = TokenSpec::for_audience(audience)
        .account(&account.email)
        .claim("azp", account.email.as_str())
        .without_claim("google");
    token::mint(google, &spec)
}
