//! The assertion of a service account: a JWT that its own key signed, checked in the live service's order.

use std::sync::Arc;

use super::{GOOGLES_URL, PATH};
use crate::emulator::accounts::Account;
use crate::emulator::google::Google;
use crate::emulator::jwt::Jwt;
use crate::emulator::oauth::Refusal;

/// The longest that an assertion may be good for, in seconds.
const LONGEST_SECONDS: i64 = 3600;
/// What clocks may differ by, in seconds. Google does not say what it allows.
const SKEW_SECONDS: i64 = 300;

/// What a good assertion asks for.
pub(super) struct Asserted {
    pub(super) account: Arc<Account>,
    /// For an ID token; without it an access token for these scopes.
    pub(super) target_audience: Option<String>,
    pub(super) scopes: Vec<String>,
}

pub(super) fn check(google: &Google, assertion: &str) -> Result<Asserted, Refusal> {
    let jwt = Jwt::decode(assertion).ok_or_else(|| Refusal::request("Bad Request"))?;
    let email = jwt.text("iss").unwrap_or_default();
    let account = google.accounts.find(email);
    check_signature(google, &jwt, account.as_deref())?;
    let account = account
        .filter(|account| !account.person)
        .ok_or_else(|| Refusal::grant("Invalid grant: account not found"))?;
    check_times(google.clock.unix_seconds(), &jwt)?;
    let target_audience = jwt.text("target_audience").filter(|audience| !audience.is_empty());
    let scopes: Vec<String> =
        jwt.text("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if target_audience.is_none() && scopes.is_empty() {
        let description = "Invalid OAuth scope or ID token audience provided.";
        return Err(Refusal::new("invalid_scope", description));
    }
    let own = format!("{}{PATH}", google.url());
    if !jwt.text("aud").is_some_and(|found| found == own || found == GOOGLES_URL) {
        return Err(Refusal::grant("Invalid JWT: Failed audience check."));
    }
    Ok(Asserted { account, target_audience: target_audience.map(str::to_owned), scopes })
}

/// An account that is not known has no key that could have signed: that is told by the next check.
fn check_signature(
    google: &Google,
    jwt: &Jwt<'_>,
    account: Option<&Account>,
) -> Result<(), Refusal> {
    let good = jwt.is_rs256()
        && account.is_none_or(|account| {
            let key = google.account_keys.find(&account.email);
            key.is_some_and(|key| jwt.is_signed_by(&key))
        });
    if good { Ok(()) } else { Err(Refusal::grant("Invalid JWT Signature.")) }
}

fn check_times(now: i64, jwt: &Jwt<'_>) -> Result<(), Refusal> {
    let Some(issued) = jwt.number("iat") else {
        return Err(Refusal::grant("Invalid JWT: iat (issued at) is not set."));
    };
    let good = jwt.number("exp").is_some_and(|expires| {
        issued < expires
            && expires.saturating_sub(issued) <= LONGEST_SECONDS
            && issued <= now.saturating_add(SKEW_SECONDS)
            && now <= expires.saturating_add(SKEW_SECONDS)
    });
    if good {
        return Ok(());
    }
    Err(Refusal::grant(
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and \
         exp values in the JWT claim.",
    ))
}
