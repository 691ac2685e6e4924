//! What went wrong in other crates of this kind, measured or read in their sources: a named test for each, so that it
//! does not happen here.
//!
//! Faults of a metadata source are tested where the source is, in `tests/outbound`:
//!
//! | fault elsewhere | test |
//! |---|---|
//! | one 503 at start, then ten seconds of failures | `metadata::a_503_at_start_is_survived_by_the_same_call` |
//! | one 404, then no recovery at all | `metadata::a_refusal_is_explained_not_retried_and_not_remembered` |
//! | an expired token is served; a token without `exp` panics | `metadata::what_is_no_good_token_is_refused_and_tried_again` |
//! | no time-out | `metadata::a_server_that_does_not_answer_costs_the_budget_and_no_more` |
//! | credentials poisoned by one blip of the network | `cache::a_failure_is_shared_by_those_who_waited_and_by_nobody_after` |
//! | no deadline for a call | `client::the_deadline_holds_for_the_token_and_for_the_answer` |
//! | `email` missing unless asked for | `metadata::asks_as_google_wants_to_be_asked` |
//!
//! Here is the rest. A source that reads key files, whose endpoint could not be changed elsewhere, does not exist yet.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use countersign::emulator::{Emulator, Endpoint, Fault, FaultKind, TokenSpec};
use countersign::inbound::Verifier;
use countersign::inbound::jwks::KeyUrl;
use serde_json::json;
use support::signer::{Signer, claims, encode, now, with, without};
use support::{AUDIENCE, CALLER_MEMBER, Guarded, policy, send, verifier};
use tokio::task::JoinSet;

async fn fixed(members: &[&str]) -> Guarded {
    let verifier = Signer::trusted().verifier().build().unwrap();
    Guarded::start(verifier, policy(members)).await
}

async fn fetching() -> (Emulator, Guarded) {
    let emulator = Emulator::start().await.unwrap();
    let verifier = verifier(&emulator).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    (emulator, service)
}

/// google-cloud-auth 1.18: 99 of 100 valid tokens failed, because the lock was held across the fetch.
#[tokio::test]
async fn google_cloud_auth_concurrent_tokens_at_a_cold_start_are_all_accepted() {
    let (emulator, service) = fetching().await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::latency(200)).times(1)).unwrap();
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let spec = TokenSpec::for_audience(AUDIENCE).claim("jti", number);
        let request = service.request("/whoami").bearer_auth(emulator.mint(&spec));
        requests.spawn(async move { send(request).await.status });
    }
    assert_eq!(requests.join_all().await, vec![200; 100]);
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
}

/// google-cloud-auth 1.18: a client with unknown kids made 190 of 191 honest requests fail, with a fetch for each.
#[tokio::test]
async fn google_cloud_auth_unknown_kids_do_not_make_honest_requests_fail() {
    let (emulator, service) = fetching().await;
    let mut requests = JoinSet::new();
    for number in 0..200 {
        let mut spec = TokenSpec::for_audience(AUDIENCE).claim("jti", number);
        let junk = number % 2 == 0;
        if junk {
            spec = spec.header("kid", format!("junk-{number}"));
        }
        let request = service.request("/whoami").bearer_auth(emulator.mint(&spec));
        requests.spawn(async move { (junk, send(request).await.status) });
    }
    for (junk, status) in requests.join_all().await {
        assert_eq!(status, if junk { 401 } else { 200 });
    }
    let fetches = emulator.requests(Endpoint::Certs);
    assert!(fetches <= 2, "{fetches} fetches for 100 unknown kids");
}

/// google-cloud-auth 1.18: accepted without aud or iss, with `aud: 123`, with nbf and iat far ahead.
#[tokio::test]
async fn google_cloud_auth_claims_that_are_absent_odd_or_far_ahead_are_refused() {
    let service = fixed(&[CALLER_MEMBER]).await;
    let ahead = now() + 10 * 365 * 86_400;
    let mut issued_ahead = with("iat", ahead);
    issued_ahead["exp"] = (ahead + 3_600).into();
    for (claims, code) in [
        (without("aud"), "missing_claim"),
        (without("iss"), "missing_claim"),
        (with("aud", 123), "malformed_claim"),
        (with("nbf", ahead), "not_yet_valid"),
        (with("iat", ahead), "wrong_lifetime"),
        (issued_ahead, "not_yet_valid"),
    ] {
        service.refuses(&Signer::trusted().sign(&claims), code).await;
    }
}

/// google-cloud-auth 1.18: `with_email` panicked on a token without `email_verified`.
#[tokio::test]
async fn google_cloud_auth_a_token_without_email_verified_is_no_panic_and_no_address() {
    let token = Signer::trusted().sign(&without("email_verified"));
    let answer = fixed(&[CALLER_MEMBER]).await.whoami(&token).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
    let anybody = fixed(&["allAuthenticatedUsers"]).await;
    let principal = anybody.accepts(&token).await;
    assert_eq!((&principal["email"], &principal["sub"]), (&json!(null), &json!("112233")));
}

/// axum-jwt-auth: an unknown kid, bad base64 or bad JSON was answered with 500.
#[tokio::test]
async fn axum_jwt_auth_nothing_that_a_client_sends_is_a_500() {
    let service = fixed(&[CALLER_MEMBER]).await;
    let signer = Signer::trusted();
    let good = signer.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let unknown = json!({"alg": "RS256", "kid": "unknown", "typ": "JWT"}).to_string();
    for token in [
        signer.sign_text(&unknown, &claims().to_string()),
        format!("!!!.{}.{}", parts[1], parts[2]),
        format!("{}.!!!.{}", parts[0], parts[2]),
        format!("{}.{}.!!!", parts[0], parts[1]),
        format!("{}.{}.{}", encode("{"), parts[1], parts[2]),
        signer.sign_text(&signer.header().to_string(), "{"),
        signer.sign_text("{\"alg\":\"foo\",\"kid\":\"trusted\"}", "{}"),
        "a.b.c".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "%00".to_owned(),
    ] {
        let answer = service.whoami(&token).await;
        assert_eq!(answer.status, 401, "{token}: {answer:?}");
        answer.assert_bad_token(&answer.code());
    }
    let request = service.request("/whoami").header("authorization", &b"Bearer \xff\xfe"[..]);
    assert_eq!(send(request).await.status, 401);
}

/// tower-oauth2-resource-server: 401 to honest requests until the first fetch landed.
#[tokio::test]
async fn tower_oauth2_resource_server_the_first_request_waits_for_the_keys() {
    let (emulator, service) = fetching().await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::latency(300)).times(1)).unwrap();
    service.accepts(&emulator.mint(&TokenSpec::for_audience(AUDIENCE))).await;
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
}

/// jwt-authorizer: the attacker's `kid` was sent on to the key server.
#[tokio::test]
async fn jwt_authorizer_the_key_server_learns_nothing_of_a_token() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let keys = Signer::trusted().key_set().to_string();
    let router = Router::new().fallback(move |request: Request| {
        noted.lock().unwrap().push(format!("{:?} {:?}", request.uri(), request.headers()));
        std::future::ready(keys.clone())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/certs?v=3", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let builder = Verifier::builder().audience(AUDIENCE.parse().unwrap());
    let verifier = builder.key_url(KeyUrl::parse(&url, true).unwrap()).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;

    let signer = Signer::trusted();
    service.accepts(&signer.sign(&claims())).await;
    let header = json!({"alg": "RS256", "kid": "needle?x=1&y=../", "typ": "JWT"}).to_string();
    service.refuses(&signer.sign_text(&header, &claims().to_string()), "unknown_key").await;

    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    for request in &*seen {
        assert!(request.starts_with("/certs?v=3 "), "{request}");
        assert!(!request.contains("needle"), "{request}");
        let headers = request.to_ascii_lowercase();
        assert!(!headers.contains("authorization") && !headers.contains("cookie"), "{request}");
    }
}

/// tower-oauth2-resource-server: one bad key dropped the whole set.
#[tokio::test]
async fn tower_oauth2_resource_server_one_bad_key_costs_only_itself() {
    let (emulator, service) = fetching().await;
    let signer = Signer::trusted();
    let mut numeric = signer.jwk();
    numeric["kid"] = json!(7);
    let mut odd = signer.jwk();
    odd["kty"] = json!("OKP");
    for bad in [numeric, odd, json!({"kty": "RSA"}), json!("key"), json!(null)] {
        let body = json!({"keys": [bad, signer.jwk()]}).to_string();
        let fault = FaultKind::Body { content_type: "application/json".into(), body };
        emulator.inject(Fault::on(Endpoint::Certs, fault)).unwrap();
        let fresh = verifier(&emulator).build().unwrap();
        let fresh = Guarded::start(fresh, policy(&[CALLER_MEMBER])).await;
        fresh.accepts(&signer.sign(&claims())).await;
        emulator.clear_faults();
    }
    service.accepts(&emulator.mint(&TokenSpec::for_audience(AUDIENCE))).await;
}

/// jwt-authorizer, axum-jwt-auth: keys were lost, or kept for ever, when a fetch failed.
#[tokio::test]
async fn others_keys_are_kept_while_fetches_fail_and_not_for_ever() {
    use std::time::Duration;

    use countersign::clock::ManualClock;

    let emulator = Emulator::start().await.unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(emulator.unix_seconds().unsigned_abs()));
    let verifier = verifier(&emulator).clock(Arc::clone(&clock) as Arc<_>).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    let good = |hours: i64| {
        emulator.set_clock_offset(hours * 3_600);
        emulator.mint(&TokenSpec::for_audience(AUDIENCE))
    };
    service.accepts(&good(0)).await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::status(500))).unwrap();
    for hour in 1..24 {
        clock.advance(Duration::from_secs(3_600));
        service.accepts(&good(hour)).await;
    }
    clock.advance(Duration::from_secs(3_600));
    let answer = service.whoami(&good(24)).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_keys"));
    emulator.clear_faults();
    // The longest back-off without keys is 4 s.
    clock.advance(Duration::from_secs(5));
    service.accepts(&good(24)).await;
}
