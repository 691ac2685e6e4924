//! Who asks, and whether they may: the Token Creator role, from link to link of a chain.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::refusal::Refusal;
use crate::emulator::access_tokens::{CLOUD_PLATFORM, Grant};
use crate::emulator::accounts::Account;
use crate::emulator::google::Google;
use crate::emulator::principal::Principal;

/// The scopes that this API takes.
const SCOPES: [&str; 2] = [CLOUD_PLATFORM, "https://www.googleapis.com/auth/iam"];
const RESOURCE: &str = "projects/-/serviceAccounts/";

/// What the request's access token stands for.
pub(super) fn caller(google: &Google, headers: &HeaderMap) -> Result<Grant, Refusal> {
    let header = headers.get(AUTHORIZATION).ok_or_else(Refusal::no_credentials)?;
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(Refusal::bad_credentials)?;
    let grant = google.access_tokens.grant(token.trim(), google.clock.unix_seconds());
    let grant = grant.filter(|_| scheme.eq_ignore_ascii_case("Bearer"));
    let grant = grant.ok_or_else(Refusal::bad_credentials)?;
    if grant.covers(&SCOPES) { Ok(grant) } else { Err(Refusal::scope()) }
}

/// The account that is asked for, if every link may mint as the next one: the caller as the first delegate, each
/// delegate as the one after it, the last as the account itself.
pub(super) fn target(
    google: &Google,
    caller: &Grant,
    delegates: &[String],
    email: &str,
    permission: &str,
) -> Result<Arc<Account>, Refusal> {
    let mut holder = caller.principal.clone();
    for delegate in delegates {
        // The reference wants the whole name; gcloud and google-auth hand on bare addresses, too.
        let delegate = delegate.strip_prefix(RESOURCE).unwrap_or(delegate);
        let account = link(google, &holder, delegate, "implicitDelegation")?;
        holder = Principal::of(&account);
    }
    link(google, &holder, email, permission)
}

fn link(
    google: &Google,
    holder: &Principal,
    email: &str,
    permission: &str,
) -> Result<Arc<Account>, Refusal> {
    let account = google.accounts.find(email).filter(|account| !account.person);
    let account = account.ok_or_else(|| Refusal::no_account(email))?;
    if google.token_creators.include(&account.email, holder) {
        return Ok(account);
    }
    Err(Refusal::permission(permission))
}
