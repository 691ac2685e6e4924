//! An OpenID Connect provider that is not Google: what a workload elsewhere proves itself by.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::PoolProvider;
use crate::emulator::EmulatorError;
use crate::emulator::google::Google;
use crate::emulator::keys::{SigningKey, generate_aside};
use crate::emulator::oauth::uncached;
use crate::emulator::token;

/// Where its tokens are on the main port.
pub(in crate::emulator) const PATH: &str = "/subject-token";
/// Whom its tokens name unless they are asked for somebody else.
pub(in crate::emulator) const SUBJECT: &str = "workload";
/// How long its tokens live, in seconds.
const LIFETIME_SECONDS: i64 = 600;

/// The provider's key, made when first needed: it is none of Google's.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Provider(OnceCell<Arc<SigningKey>>);

impl Provider {
    pub(super) fn key(&self) -> Option<Arc<SigningKey>> {
        self.0.get().cloned()
    }

    async fn key_or_new(&self, now: i64) -> Result<Arc<SigningKey>, EmulatorError> {
        self.0.get_or_try_init(|| generate_aside(now)).await.cloned()
    }

    pub(super) async fn token(
        &self,
        google: &Google,
        audience: &str,
        subject: &str,
    ) -> Result<String, EmulatorError> {
        let now = google.clock.unix_seconds();
        let key = self.key_or_new(now).await?;
        let claims = json!({
            "iss": issuer(google),
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now.saturating_add(LIFETIME_SECONDS),
        });
        Ok(token::sign_payload(&key, &claims.to_string()))
    }
}

pub(super) fn issuer(google: &Google) -> String {
    format!("{}/oidc", google.url())
}

/// `GET /subject-token`: text, or with `format=json` a member of an object, `id_token` unless `field` names another.
/// `audience` and `subject` say what the token is to claim.
pub(super) async fn subject_token(
    State(google): State<Arc<Google>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let of = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
    let audience = of("audience").unwrap_or_else(|| PoolProvider::of(&google).to_string());
    let subject = of("subject").unwrap_or_else(|| SUBJECT.to_owned());
    let token = match google.provider.token(&google, &audience, &subject).await {
        Ok(token) => token,
        Err(error) => return unavailable(&error),
    };
    if of("format").as_deref() == Some("json") {
        let field = of("field").unwrap_or_else(|| "id_token".to_owned());
        let document: serde_json::Map<String, Value> =
            [(field, Value::from(token))].into_iter().collect();
        return uncached(Value::from(document));
    }
    token.into_response()
}

/// OpenID Connect Discovery 1.0 section 4.
pub(super) async fn configuration(State(google): State<Arc<Google>>) -> Json<Value> {
    let issuer = issuer(&google);
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

pub(super) async fn jwk_set(State(google): State<Arc<Google>>) -> Response {
    match google.provider.key_or_new(google.clock.unix_seconds()).await {
        Ok(key) => Json(json!({"keys": [key.jwk()]})).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &EmulatorError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}
