//! The published keys: `/oauth2/v3/certs` as a JWK set, `/oauth2/v1/certs` as certificates, and the canary.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, SERVER, VARY};
use http::{HeaderValue, Response};
use serde_json::{Map, Value, json};

use super::google::Google;

pub(super) fn router() -> Router<Arc<Google>> {
    Router::new()
        .route("/oauth2/v3/certs", get(jwk_set))
        .route("/oauth2/v1/certs", get(certificates))
        .route("/canary/jwks", get(forgers_jwk_set))
        .route("/canary/certificate", get(forgers_certificate))
}

async fn jwk_set(State(google): State<Arc<Google>>) -> Response<Body> {
    let keys: Vec<Value> = google.keys.published().iter().map(|key| key.jwk()).collect();
    published(&google, &json!({ "keys": keys }))
}

async fn certificates(State(google): State<Arc<Google>>) -> Response<Body> {
    let certificates: Map<String, Value> = google
        .keys
        .published()
        .iter()
        .map(|key| (key.kid().to_owned(), Value::from(key.certificate().pem())))
        .collect();
    published(&google, &Value::from(certificates))
}

/// With the headers that Google sends along.
fn published(google: &Google, document: &Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{document:#}\n")));
    let caching = &google.certs_caching;
    let max_age = caching.max_age_seconds();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    let policy = format!("public, max-age={max_age}, must-revalidate, no-transform");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CACHE_CONTROL, policy);
    }
    headers.insert(AGE, HeaderValue::from(caching.age_seconds()));
    headers.insert(SERVER, HeaderValue::from_static("scaffolding on HTTPServer2"));
    headers.insert(VARY, HeaderValue::from_static("Origin, X-Origin, Referer"));
    headers.insert("x-xss-protection", HeaderValue::from_static("0"));
    headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// What a verifier that follows `jku` would be given: keys under which the forged tokens verify.
async fn forgers_jwk_set(State(google): State<Arc<Google>>) -> Response<Body> {
    let key = google.keys.forger(google.clock.unix_seconds());
    published(&google, &json!({ "keys": [key.jwk()] }))
}

async fn forgers_certificate(State(google): State<Arc<Google>>) -> Response<Body> {
    let pem = google.keys.forger(google.clock.unix_seconds()).certificate().pem();
    let mut answer = Response::new(Body::from(pem));
    let pem_file = HeaderValue::from_static("application/pem-certificate-chain");
    answer.headers_mut().insert(CONTENT_TYPE, pem_file);
    answer
}
