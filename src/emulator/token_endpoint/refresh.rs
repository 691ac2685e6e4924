//! Refresh tokens: what `gcloud auth application-default login` leaves behind of a person's login.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use serde_json::json;

use crate::emulator::access_tokens::{CLOUD_PLATFORM, LIFETIME_SECONDS};
use crate::emulator::accounts::Account;
use crate::emulator::google::Google;
use crate::emulator::oauth::{Form, Refusal, uncached};
use crate::emulator::principal::Principal;
use crate::emulator::token::{self, GCLOUD_CLIENT_ID, TokenSpec};

/// The secret of the emulated gcloud. Like the real one it is in every installation, and no secret.
pub(in crate::emulator) const CLIENT_SECRET: &str = "the-emulated-gcloud-is-a-public-client";

/// What gcloud's login covers.
const SCOPES: [&str; 3] =
    ["openid", "https://www.googleapis.com/auth/userinfo.email", CLOUD_PLATFORM];

/// The people who have logged in: one refresh token for each.
#[derive(Default)]
pub(in crate::emulator) struct RefreshTokens(Mutex<BTreeMap<String, Arc<Account>>>);

// The keys are secrets.
impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens").finish_non_exhaustive()
    }
}

impl RefreshTokens {
    /// More people than any test needs; beyond it the first in order have to log in again.
    const HELD: usize = 1_000;

    /// The person's refresh token, made when first asked for.
    pub(in crate::emulator) fn of(&self, person: &Arc<Account>) -> String {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) = held.iter().find(|(_, known)| *known == person) {
            return token.clone();
        }
        if held.len() >= Self::HELD {
            held.pop_first();
        }
        let token = token::refresh_token();
        held.insert(token.clone(), Arc::clone(person));
        token
    }

    fn person(&self, token: &str) -> Option<Arc<Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

pub(super) fn answer(google: &Google, form: &Form) -> Result<Response, Refusal> {
    let refresh_token = form.required("refresh_token")?;
    if form.required("client_id")? != GCLOUD_CLIENT_ID {
        return Err(Refusal::client("The OAuth client was not found."));
    }
    if form.required("client_secret")? != CLIENT_SECRET {
        return Err(Refusal::client("The provided client secret is invalid."));
    }
    let person = google
        .refresh_tokens
        .person(refresh_token)
        .ok_or_else(|| Refusal::grant("Token has been expired or revoked."))?;
    let asked = form.scopes();
    let scopes = if asked.is_empty() { SCOPES.map(str::to_owned).to_vec() } else { asked };
    let expires = google.clock.unix_seconds().saturating_add(LIFETIME_SECONDS);
    let access_token = google.access_tokens.issue(Principal::of(&person), scopes.clone(), expires);
    // Whatever was asked for, this token is for the client: the library that wants another audience has to impersonate.
    let id_token = TokenSpec::for_person(&person.email)
        .audience(GCLOUD_CLIENT_ID)
        .claim("at_hash", token::at_hash(&access_token));
    Ok(uncached(json!({
        "access_token": access_token,
        "expires_in": LIFETIME_SECONDS,
        "id_token": token::mint(google, &id_token),
        "scope": scopes.join(" "),
        "token_type": "Bearer",
    })))
}
