//! The Security Token Service, `POST /v1/token`, and the identity provider whose tokens it takes.
//!
//! Workload identity federation (<https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>, RFC 8693): a
//! workload elsewhere proves itself with a token of its own provider and gets a federated access token, with which it can
//! impersonate a service account. The provider is the emulator's own: `GET /subject-token` hands its tokens out. Every
//! pool and every provider of the emulated project trusts it.

mod provider;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;

pub(super) use self::provider::{PATH as SUBJECT_TOKEN_PATH, Provider, SUBJECT};
use super::EmulatorError;
use super::access_tokens::LIFETIME_SECONDS;
use super::google::Google;
use super::jwt::Jwt;
use super::oauth::{Form, Refusal, uncached};
use super::principal::Principal;

/// Where it is on the main port.
pub(super) const PATH: &str = "/v1/token";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What the provider's tokens are.
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// The longest subject: `google.subject` may not be longer.
const LONGEST_SUBJECT: usize = 127;

pub(super) fn router() -> Router<Arc<Google>> {
    Router::new()
        .route(PATH, post(answer))
        .route(provider::PATH, get(provider::subject_token))
        .route("/oidc/.well-known/openid-configuration", get(provider::configuration))
        .route("/oidc/jwks", get(provider::jwk_set))
}

/// The subject token for the pool and provider that credential files name.
pub(super) async fn subject_token(google: &Google) -> Result<String, EmulatorError> {
    let audience = PoolProvider::of(google).to_string();
    google.provider.token(google, &audience, SUBJECT).await
}

async fn answer(State(google): State<Arc<Google>>, form: Form) -> Result<Response, Refusal> {
    let grant_type = form.required("grant_type")?;
    if grant_type != TOKEN_EXCHANGE {
        let description = format!("Invalid value for \"grant_type\": {grant_type}");
        return Err(Refusal::new("unsupported_grant_type", description));
    }
    let audience = PoolProvider::parse(form.required("audience")?)?;
    one_of(&form, "requested_token_type", &[ACCESS_TOKEN])?;
    one_of(&form, "subject_token_type", &[JWT, ID_TOKEN])?;
    let scopes = form.scopes();
    if scopes.is_empty() {
        return Err(Refusal::request("Missing required parameter: scope"));
    }
    let subject = subject(&google, &audience, form.required("subject_token")?).await?;
    let principal = audience.principal(&subject);
    let expires = google.clock.unix_seconds().saturating_add(LIFETIME_SECONDS);
    let token = google.access_tokens.issue(principal, scopes, expires);
    Ok(uncached(json!({
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": LIFETIME_SECONDS,
    })))
}

fn one_of(form: &Form, name: &str, allowed: &[&str]) -> Result<(), Refusal> {
    let found = form.required(name)?;
    if allowed.contains(&found) {
        return Ok(());
    }
    let allowed = allowed.join(" or ");
    Err(Refusal::request(format!(
        "Invalid value for \"{name}\": found {found}, expected {allowed}"
    )))
}

/// Whom the subject token names, if the provider signed it for this audience and it is good now.
async fn subject(google: &Google, audience: &PoolProvider, token: &str) -> Result<String, Refusal> {
    if audience.project != google.project.number {
        let description = "The target service indicated by the \"audience\" parameters is invalid. This might either \
                           be because the pool or provider is disabled or deleted or because it doesn't exist.";
        return Err(Refusal::new("invalid_target", description));
    }
    let jwt = Jwt::decode(token)
        .ok_or_else(|| Refusal::request("Unable to parse the ID Token: expected a JWT"))?;
    let issuer = jwt.text("iss").unwrap_or_default();
    if issuer != provider::issuer(google) {
        let description =
            format!("The issuer in ID Token {issuer} does not match the expected ones.");
        return Err(Refusal::grant(description));
    }
    // Without a key there is no token that could be good.
    if !google.provider.key().is_some_and(|key| jwt.is_signed_by(&key)) {
        return Err(Refusal::grant(
            "Error connecting to the given credential's issuer: invalid signature.",
        ));
    }
    let expires = jwt.number("exp").unwrap_or_default();
    if expires <= google.clock.unix_seconds() {
        return Err(Refusal::grant(format!("ID Token expired at {expires}.")));
    }
    let named = audience.to_string();
    let found = jwt.text("aud").unwrap_or_default();
    if found.strip_prefix("https:").unwrap_or(found) != named {
        let description = format!(
            "The audience in ID Token [{found}] does not match the expected audience {named}."
        );
        return Err(Refusal::grant(description));
    }
    let subject = jwt.text("sub").unwrap_or_default();
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT {
        return Err(Refusal::grant(
            "The mapped attribute 'google.subject' must be of 1 to 127 bytes.",
        ));
    }
    Ok(subject.to_owned())
}

/// A provider of a workload identity pool, by its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolProvider {
    project: u64,
    pool: String,
    provider: String,
}

impl PoolProvider {
    /// The one that credential files name.
    pub(super) fn of(google: &Google) -> Self {
        let (pool, provider) = ("emulator".to_owned(), "oidc".to_owned());
        Self { project: google.project.number, pool, provider }
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = text.split('/').collect();
        let named = match parts.as_slice() {
            [
                "",
                "",
                "iam.googleapis.com",
                "projects",
                project,
                "locations",
                "global",
                "workloadIdentityPools",
                pool,
                "providers",
                provider,
            ] if !pool.is_empty() && !provider.is_empty() => {
                project.parse().ok().map(|project| (project, *pool, *provider))
            }
            _ => None,
        };
        let (project, pool, provider) = named.ok_or_else(|| {
            Refusal::request(
                "Invalid value for \"audience\". This value should be the full resource name of the Identity Provider: \
                 //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER",
            )
        })?;
        Ok(Self { project, pool: pool.to_owned(), provider: provider.to_owned() })
    }

    /// The identity of a subject in the pool.
    pub(super) fn principal(&self, subject: &str) -> Principal {
        let Self { project, pool, .. } = self;
        Principal::Federated(format!(
            "projects/{project}/locations/global/workloadIdentityPools/{pool}/subject/{subject}"
        ))
    }
}

impl fmt::Display for PoolProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, pool, provider } = self;
        write!(
            f,
            "//iam.googleapis.com/projects/{project}/locations/global/workloadIdentityPools/{pool}/providers/{provider}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str =
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";

    #[test]
    fn names_parse_and_print() {
        let parsed = PoolProvider::parse(NAME).unwrap();
        assert_eq!(parsed.to_string(), NAME);
        assert_eq!(
            parsed.principal("s").to_string(),
            "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/subject/s"
        );
        for wrong in
            ["", "x", &NAME[2..], &NAME.replace("/1/", "/demo/"), &NAME.replace("/p/", "//")]
        {
            assert!(PoolProvider::parse(wrong).is_err(), "{wrong}");
        }
    }
}
