//! Attacks 20 to 23: on requests as a whole.

use countersign::emulator::{BadToken, Emulator, Endpoint, TokenSpec};
use countersign::inbound::{Authenticate, Authenticator, SignatureCheck, Verifier};
use serde_json::Value;

use crate::support::signer::{Signer, claims, now, with, without};
use crate::support::{AUDIENCE, CALLER, CALLER_MEMBER, Guarded, policy, send, verifier};

use super::{bad, fetching, fixed};

#[tokio::test]
async fn attack_20_random_kids_in_a_flood_beside_good_traffic() {
    let (emulator, service) = fetching().await;
    let good = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    service.accepts(&good).await;
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..500 {
        let spec = TokenSpec::for_audience(AUDIENCE).header("kid", format!("kid-{number}"));
        let token = emulator.mint(&spec);
        let (bad, good) = (service.request("/whoami"), service.request("/whoami"));
        let good_token = good_variant(&emulator, number, &good_of(&emulator));
        flood.spawn(async move {
            let refused = send(bad.bearer_auth(token)).await;
            let served = send(good.bearer_auth(good_token)).await;
            (refused.status, refused.code(), served.status)
        });
    }
    while let Some(outcome) = flood.join_next().await {
        assert_eq!(outcome.unwrap(), (401, "unknown_key".to_owned(), 200));
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 2, "the first, and one for all unknown kids");
}

fn good_of(emulator: &Emulator) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE))
}

/// Every second request has a token of its own, so that it is not merely remembered.
fn good_variant(emulator: &Emulator, number: u32, plain: &str) -> String {
    if number.is_multiple_of(2) {
        return plain.to_owned();
    }
    emulator.mint(&TokenSpec::for_audience(AUDIENCE).claim("jti", number))
}

#[tokio::test]
async fn attack_20_without_any_keys_a_flood_of_plausible_tokens_costs_one_fetch_per_back_off() {
    use std::sync::Arc;
    use std::time::Duration;

    use countersign::clock::ManualClock;
    use countersign::emulator::{Fault, FaultKind};

    let emulator = Emulator::start().await.unwrap();
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::status(500))).unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(emulator.unix_seconds().unsigned_abs()));
    let verifier = verifier(&emulator).clock(Arc::clone(&clock) as Arc<_>).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    for expected in 1..=5 {
        for number in 0..40 {
            let spec = TokenSpec::for_audience(AUDIENCE).header("kid", format!("kid-{number}"));
            let answer = service.whoami(&emulator.mint(&spec)).await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "no_keys"));
        }
        assert_eq!(emulator.requests(Endpoint::Certs), expected);
        // The longest back-off: 4 s.
        clock.advance(Duration::from_secs(4));
    }
    emulator.clear_faults();
    service.accepts(&emulator.mint(&TokenSpec::for_audience(AUDIENCE))).await;
}

#[tokio::test]
async fn attack_20_a_minute_of_flood_costs_two_fetches() {
    use std::sync::Arc;
    use std::time::Duration;

    use countersign::clock::ManualClock;

    let emulator = Emulator::start().await.unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(emulator.unix_seconds().unsigned_abs()));
    let verifier = verifier(&emulator).clock(Arc::clone(&clock) as Arc<_>).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    let good = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    service.accepts(&good).await;
    let before = emulator.requests(Endpoint::Certs);
    for second in 0..59 {
        for number in 0..5 {
            let kid = format!("kid-{second}-{number}");
            let spec = TokenSpec::for_audience(AUDIENCE).header("kid", kid);
            service.refuses(&emulator.mint(&spec), "unknown_key").await;
        }
        service.accepts(&good).await;
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(emulator.requests(Endpoint::Certs) - before, 2);
}

#[tokio::test]
async fn attack_21_two_credentials_other_places_and_tricks_with_the_scheme() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    let bearer = format!("Bearer {good}");

    // Other places do not count.
    for name in [
        "x-serverless-authorization",
        "proxy-authorization",
        "x-goog-iap-jwt-assertion",
        "x-authorization",
        "x_authorization",
        "authentication",
        "cookie",
        "x-endpoint-api-userinfo",
    ] {
        send(service.request("/whoami").header(name, &bearer)).await.assert_no_token();
    }
    for query in ["access_token", "id_token", "token", "authorization"] {
        send(service.request(&format!("/whoami?{query}={good}"))).await.assert_no_token();
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let request = service.post("/").header(form[0].0, form[0].1);
    send(request.body(format!("access_token={good}"))).await.assert_no_token();

    // Tricks with the scheme.
    for value in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        good.clone(),
        format!("Bearer{good}"),
        format!("Bearer:{good}"),
        format!("Bearer\t{good}"),
        format!("Token {good}"),
        format!("Basic {good}"),
        format!("JWT {good}"),
        format!("\"Bearer\" {good}"),
    ] {
        let answer = send(service.request("/whoami").header("authorization", &value)).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "not_a_bearer_token"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for value in [
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer {good};"),
        format!("Bearer Bearer {good}"),
        format!("Bearer token={good}"),
        format!("Bearer \t{good}"),
        format!("Basic dTpw, Bearer {good}"),
    ] {
        let answer = send(service.request("/whoami").header("authorization", &value)).await;
        assert_eq!(answer.status, 401, "{value}: {answer:?}");
    }
    assert_eq!(service.handled(), 0);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request =
            service.request("/whoami").header("authorization", format!("{scheme} {good}"));
        assert_eq!(send(request).await.status, 200);
    }
    // A second, forged one in the other header changes nothing: only one is read.
    let forged = format!("Bearer {}", Signer::forger().sign(&claims()));
    let request = service.request("/whoami").header("authorization", &bearer);
    assert_eq!(send(request.header("x-serverless-authorization", &forged)).await.status, 200);
    let request = service.request("/whoami").header("authorization", forged);
    let answer = send(request.header("x-serverless-authorization", bearer)).await;
    answer.assert_bad_token("unknown_key");
}

#[tokio::test]
async fn attack_22_identity_and_path_from_outside() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "called.example"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "127.0.0.1"),
        ("x-goog-authenticated-user-email", "accounts.google.com:admin@example.com"),
        ("x-goog-authenticated-user-id", "accounts.google.com:1"),
        ("x-http-method-override", "OPTIONS"),
        ("access-control-request-method", "GET"),
        ("x-original-method", "OPTIONS"),
        ("x-original-url", "/health/live"),
        ("user-agent", "GoogleHC/1.0"),
        ("metadata-flavor", "Google"),
        ("host", "localhost"),
        ("via", "1.1 google"),
    ] {
        send(service.request("/whoami").header(name, value)).await.assert_no_token();
        let request = service.request("/whoami").header(name, value).bearer_auth(&good);
        assert_eq!(send(request).await.json()["email"], CALLER, "{name}");
    }
}

const STRIPPED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

fn stripped(claims: &Value) -> String {
    let good = Signer::trusted().sign(claims);
    let (input, _) = good.rsplit_once('.').unwrap();
    format!("{input}.{STRIPPED}")
}

#[tokio::test]
async fn attack_23_a_signature_that_cloud_run_has_removed_proves_nothing() {
    let service = fixed().await;
    service.refuses(&stripped(&claims()), "signature_removed").await;
    let (emulator, fetching) = fetching().await;
    for name in [BadToken::SignatureRemovedByGoogle, BadToken::StrippedForged] {
        fetching.refuses(&bad(&emulator, name), "signature_removed").await;
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 0);
    // The header that Cloud Run strips is not read at all.
    let value = format!("bearer {}", stripped(&claims()));
    let request = service.request("/whoami").header("x-serverless-authorization", value);
    send(request).await.assert_no_token();
}

async fn behind_cloud_run() -> Guarded {
    let verifier = Signer::trusted().verifier().signature_check(SignatureCheck::CloudRun);
    Guarded::start(verifier.build().unwrap(), policy(&[CALLER_MEMBER])).await
}

#[tokio::test]
async fn attack_23_behind_cloud_run_only_the_exact_mark_counts_and_claims_are_still_checked() {
    let service = behind_cloud_run().await;
    let good = stripped(&claims());
    service.accepts(&good).await;
    let input = good.trim_end_matches(STRIPPED);
    for mark in [
        "SIGNATURE_REMOVED_BY_GOOGL",
        "SIGNATURE_REMOVED_BY_GOOGLE_",
        "signature_removed_by_google",
        "Signature_Removed_By_Google",
        "",
        "U0lHTkFUVVJFX1JFTU9WRURfQllfR09PR0xF",
    ] {
        let answer = service.whoami(&format!("{input}{mark}")).await;
        assert_eq!(answer.status, 401, "{mark:?}: {answer:?}");
    }
    service.refuses(&stripped(&with("aud", "https://other.example")), "wrong_audience").await;
    service.refuses(&stripped(&with("iss", "https://other.example")), "wrong_issuer").await;
    service.refuses(&stripped(&with("iat", now() - 90_000)), "wrong_lifetime").await;
    service.refuses(&stripped(&without("sub")), "missing_claim").await;
    let answer = service.whoami(&stripped(&with("email", "x@demo.iam.gserviceaccount.com"))).await;
    assert_eq!(answer.status, 403);
    // A signature that is there is verified.
    service.refuses(&Signer::forger().sign(&claims()), "unknown_key").await;
    service.accepts(&Signer::trusted().sign(&claims())).await;
    service.accepts(&good).await;
}

#[tokio::test]
async fn attack_23_behind_cloud_run_the_serverless_header_decides_alone() {
    let service = behind_cloud_run().await;
    let (good, forged) = (Signer::trusted().sign(&claims()), Signer::forger().sign(&claims()));
    let both = |authorization: String, serverless: String| {
        let request = service.request("/whoami").header("authorization", authorization);
        send(request.header("x-serverless-authorization", serverless))
    };
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(both(bearer(&forged), bearer(&good)).await.status, 200);
    both(bearer(&good), bearer(&forged)).await.assert_bad_token("unknown_key");
    let answer = both(bearer(&good), "Basic dTpw".into()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "not_a_bearer_token"));
    let request = service.request("/whoami").header("x-serverless-authorization", bearer(&good));
    let answer = send(request.header("x-serverless-authorization", bearer(&good))).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "several_tokens"));
}

#[tokio::test]
async fn attack_23_behind_cloud_run_a_request_without_a_token_shuts_the_door_for_good() {
    let service = behind_cloud_run().await;
    service.accepts(&stripped(&claims())).await;
    let answer = send(service.request("/whoami")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "iam_check_missing"));
    for token in [stripped(&claims()), Signer::trusted().sign(&claims())] {
        let answer = service.whoami(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "iam_check_missing"));
    }
}

#[test]
fn attack_23_behind_cloud_run_an_open_list_is_no_list() {
    for member in ["allUsers", "allAuthenticatedUsers"] {
        let verifier = || -> Verifier {
            let builder = Signer::trusted().verifier().signature_check(SignatureCheck::CloudRun);
            builder.build().unwrap()
        };
        assert!(Authenticator::new(verifier(), policy(&[member])).is_err());
        assert!(Authenticate::new(verifier(), policy(&[member])).is_err());
    }
}

#[tokio::test]
async fn attack_21_over_http2_it_is_the_same() {
    let service = fixed().await;
    let client = {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        builder.http2_prior_knowledge().build().unwrap()
    };
    let good = format!("Bearer {}", Signer::trusted().sign(&claims()));
    let request = || client.get(service.url("/whoami"));
    assert_eq!(send(request().header("authorization", &good)).await.status, 200);
    send(request()).await.assert_no_token();
    let twice = request().header("authorization", &good).header("authorization", &good);
    let answer = send(twice).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "several_tokens"));
    let forged = format!("Bearer {}", Signer::forger().sign(&claims()));
    send(request().header("authorization", forged)).await.assert_bad_token("unknown_key");
    // HTTP/2 does not trim: what is around the value is part of it.
    for value in [format!(" {good}"), format!("{good} "), format!("{good}\t")] {
        let answer = send(request().header("authorization", value)).await;
        assert!([200, 400, 401].contains(&answer.status), "{answer:?}");
        assert!(answer.status != 200 || answer.json()["email"] == CALLER);
    }
}

/// Sends these bytes and reads to the end.
async fn raw(service: &Guarded, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(service.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = crate::support::within("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn attack_21_requests_that_two_readers_would_cut_differently() {
    let service = fixed().await;
    let good = Signer::trusted().sign(&claims());
    let end = "Connection: close\r\n\r\n";
    for head in [
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer\r\n {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nAuthorization : Bearer {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nX: a\rAuthorization: Bearer {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nX: a\0\r\nAuthorization: Bearer {good}\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: h\r\nX-Authorization: Bearer {good}\r\n"),
        format!("GET /whoami?Authorization:%20Bearer%20{good} HTTP/1.1\r\nHost: h\r\n"),
        "CONNECT /whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "TRACE /whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "GET http://other.example/whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "GET /whoami HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned(),
        "GET /whoami HTTP/1.0\r\n".to_owned(),
        "get /whoami HTTP/1.1\r\nHost: h\r\n".to_owned(),
    ] {
        let answer = raw(&service, &format!("{head}{end}")).await;
        let refused = answer.contains(" 401 ") || answer.contains(" 400 ");
        assert!(refused, "{head}: {answer}");
        assert!(!answer.contains("\"email\""), "{head}: {answer}");
    }
    assert_eq!(service.handled(), 0);
    // A request within the body of another one is no request: its own headers decide, or nobody's.
    let within = "GET /whoami HTTP/1.1\r\nHost: h\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {good}\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{within}",
        within.len()
    );
    let answer = raw(&service, &request).await;
    assert!(!answer.contains("\"email\""), "{answer}");
    assert!(service.handled() <= 1);
    // Credentials behind the body.
    let trailer = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: authorization\r\n\
         Connection: close\r\n\r\n0\r\nAuthorization: Bearer {good}\r\n\r\n"
    );
    assert!(raw(&service, &trailer).await.starts_with("HTTP/1.1 401 "));
}

/// A user's router without a fallback of its own: axum's default one must be behind the layer as well.
#[tokio::test]
async fn attack_22_unknown_paths_of_a_plain_router_are_behind_the_layer() {
    use axum::Router;
    use axum::routing::get;
    use countersign::server::{Config, Server};

    let verifier = Signer::trusted().verifier().build().unwrap();
    let layer = Authenticate::new(verifier, policy(&[CALLER_MEMBER])).unwrap();
    let nested = Router::new().route("/inner", get(|| async { "inner" }));
    let router =
        Router::new().route("/", get(|| async { "root" })).nest("/nested", nested).layer(layer);
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let server = Server::bind(Config { host, port: 0, ..Config::default() }).await.unwrap();
    let url = format!("http://{}", server.local_addr());
    tokio::spawn(server.serve(router, std::future::pending()));
    let client = crate::support::client();
    for path in ["/", "/unknown", "/nested", "/nested/", "/nested/inner", "/nested/unknown", "//"] {
        send(client.get(format!("{url}{path}"))).await.assert_no_token();
        send(client.put(format!("{url}{path}"))).await.assert_no_token();
        send(client.request(http::Method::OPTIONS, format!("{url}{path}"))).await.assert_no_token();
    }
    let token = Signer::trusted().sign(&claims());
    let answer = send(client.get(format!("{url}/unknown")).bearer_auth(token)).await;
    assert_eq!(answer.status, 404);
}
