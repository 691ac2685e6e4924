//! Published faults of other products, each by its number: what they did wrong is tried here.

use std::sync::Arc;
use std::time::Duration;

use countersign::clock::ManualClock;
use countersign::emulator::{BadToken, Emulator, Endpoint, Fault, FaultKind, TokenSpec};
use countersign::inbound::jwks::{KeySet, KeyUrl};
use countersign::inbound::{Authenticate, Authenticator, Verifier, VerifierError};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::signer::{Signer, claims, encode, hmac_token, now, pem, token, with, without};
use crate::support::{
    AUDIENCE, CALLER, CALLER_MEMBER, Guarded, policy, send, until, verifier, within,
};

/// Trusts one key and has nothing to fetch.
async fn fixed() -> Guarded {
    let verifier = Signer::trusted().verifier().build().unwrap();
    Guarded::start(verifier, policy(&[CALLER_MEMBER])).await
}

/// Fetches its keys from an emulator.
async fn fetching() -> (Emulator, Guarded) {
    let emulator = Emulator::start().await.unwrap();
    let verifier = verifier(&emulator).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
    (emulator, service)
}

fn good(emulator: &Emulator) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE))
}

fn bad(emulator: &Emulator, bad: BadToken) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad))
}

#[tokio::test]
async fn cve_2026_25537_a_claim_of_a_wrong_type_is_not_absent() {
    let service = fixed().await;
    let sign = |name: &str, value: serde_json::Value| Signer::trusted().sign(&with(name, value));
    let ahead = now() + 3_600;
    for (name, value) in [
        ("nbf", json!(ahead.to_string())),
        ("nbf", json!([ahead])),
        ("nbf", json!(null)),
        ("nbf", json!(1.5)),
        ("exp", json!(ahead.to_string())),
        ("exp", json!(null)),
        ("exp", json!({})),
        ("iat", json!("0")),
        ("iat", json!(false)),
        ("iss", json!(["https://accounts.google.com"])),
        ("iss", json!(null)),
        ("aud", json!({"0": AUDIENCE})),
        ("aud", json!(null)),
        ("aud", json!([])),
        ("aud", json!([[AUDIENCE]])),
        ("sub", json!(112_233)),
        ("sub", json!(null)),
        ("email", json!([CALLER])),
        ("email", json!(null)),
        ("email_verified", json!("true")),
        ("email_verified", json!(1)),
        ("email_verified", json!(null)),
        ("hd", json!(["example.com"])),
        ("azp", json!(1)),
    ] {
        service.refuses(&sign(name, value), "malformed_claim").await;
    }
}

#[tokio::test]
async fn cve_2026_48522_keys_come_over_https_and_from_nothing_else() {
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/keys",
        "data:application/json,{\"keys\":[]}",
        "http://www.googleapis.com/oauth2/v3/certs",
        "http://169.254.169.254/computeMetadata/v1/",
        "gopher://127.0.0.1/",
        "https://user:password@www.googleapis.com/oauth2/v3/certs",
    ] {
        assert!(KeyUrl::parse(url, false).is_err(), "{url}");
        assert!(KeyUrl::parse(url, true).is_err(), "{url}");
    }
}

#[tokio::test]
async fn cve_2026_48524_unknown_kids_do_not_cause_a_fetch_each_and_a_failed_fetch_wipes_nothing() {
    let (emulator, service) = fetching().await;
    let token = good(&emulator);
    service.accepts(&token).await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::status(500))).unwrap();
    for number in 0..50 {
        let spec = TokenSpec::for_audience(AUDIENCE).header("kid", format!("unknown-{number}"));
        service.refuses(&emulator.mint(&spec), "unknown_key").await;
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 2, "the first, and one for all of them");
    service.accepts(&token).await;
    service.accepts(&good(&emulator)).await;
}

#[tokio::test]
async fn ghsa_9v7f_9g4p_ffgj_a_redirect_of_the_key_server_is_not_followed() {
    let (emulator, service) = fetching().await;
    let other = Emulator::start().await.unwrap();
    let canary = FaultKind::redirect(other.jwks_url());
    emulator.inject(Fault::on(Endpoint::Certs, canary)).unwrap();
    // Good by the keys that the redirect leads to.
    let answer = service.whoami(&good(&other)).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_keys"));
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
    assert_eq!(other.requests(Endpoint::Certs), 0, "the redirect was followed");
}

#[tokio::test]
async fn ghsa_w6j9_cwv2_h6wq_one_bad_key_does_not_spoil_the_set() {
    let emulator = Emulator::start().await.unwrap();
    let signer = Signer::trusted();
    let with = |name: &str, value: serde_json::Value| {
        let mut key = signer.jwk();
        key["kid"] = json!(format!("bad-{name}-{value}"));
        key[name] = value;
        key
    };
    let keys = json!({"keys": [
        null, 7, "key", [], {},
        with("kid", json!(1)), with("kty", json!("EC")), with("kty", json!("oct")), with("use", json!("enc")),
        with("alg", json!("HS256")), with("alg", json!("none")), with("alg", json!(5)),
        with("n", json!("not base64!")), with("n", json!("")), with("n", json!("AQAB")), with("n", json!(12)),
        with("e", json!("AQ")), with("e", json!("")), with("e", json!(65_537)), with("key_ops", json!(["sign"])),
        signer.jwk(),
    ]});
    let body = FaultKind::Body { content_type: "text/html".into(), body: keys.to_string() };
    emulator.inject(Fault::on(Endpoint::Certs, body)).unwrap();
    let service =
        Guarded::start(verifier(&emulator).build().unwrap(), policy(&[CALLER_MEMBER])).await;
    service.accepts(&signer.sign(&claims())).await;
}

#[tokio::test]
async fn cve_2026_48526_and_cve_2022_29217_a_public_key_is_no_hmac_secret() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::AlgHs256WithPublicPem), "wrong_algorithm").await;
    let service = fixed().await;
    let signer = Signer::trusted();
    let pem = pem("PUBLIC KEY", &signer.public_der());
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = hmac_token(algorithm, &signer.kid, pem.as_bytes());
        service.refuses(&token, "wrong_algorithm").await;
    }
}

#[tokio::test]
async fn cve_2026_32597_and_cve_2025_59420_crit_is_refused_whatever_it_lists() {
    let service = fixed().await;
    let signer = Signer::trusted();
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("x"), json!(["x"])] {
        let mut header = signer.header();
        header["crit"] = crit;
        let token = signer.sign_text(&header.to_string(), &claims().to_string());
        service.refuses(&token, "unsupported_header").await;
    }
}

#[tokio::test]
async fn cve_2024_53861_a_part_of_an_issuer_is_not_the_issuer() {
    let service = fixed().await;
    for issuer in [
        "https://accounts.google.co",
        "accounts",
        "google",
        "",
        "h",
        "https://accounts.google.com/",
        "https://accounts.google.com.evil.example",
        "https://accounts.google.com accounts.google.com",
        "HTTPS://accounts.google.com",
        "http://accounts.google.com",
        "https://accounts.google.com\u{0}",
        " https://accounts.google.com",
    ] {
        service.refuses(&Signer::trusted().sign(&with("iss", issuer)), "wrong_issuer").await;
    }
    service.accepts(&Signer::trusted().sign(&with("iss", "accounts.google.com"))).await;
}

#[tokio::test]
async fn cve_2026_27962_and_cve_2018_0114_a_key_in_the_header_is_not_a_key() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::JwkInHeader), "unknown_key").await;
    // Under the kid of a trusted key.
    let service = fixed().await;
    let (trusted, forger) = (Signer::trusted(), Signer::forger());
    let mut header = trusted.header();
    header["jwk"] = forger.jwk();
    header["jwk"]["kid"] = trusted.kid.as_str().into();
    let token = forger.sign_text(&header.to_string(), &claims().to_string());
    service.refuses(&token, "wrong_signature").await;
    // And the trusted key in the header changes nothing about a good token.
    header["jwk"] = trusted.jwk();
    service.accepts(&trusted.sign_text(&header.to_string(), &claims().to_string())).await;
}

#[tokio::test]
async fn cve_2024_21643_links_to_keys_are_not_fetched() {
    let (emulator, service) = fetching().await;
    for name in [BadToken::JkuInHeader, BadToken::X5uInHeader] {
        service.refuses(&bad(&emulator, name), "unknown_key").await;
    }
    assert_eq!(emulator.requests(Endpoint::Canary), 0);
}

#[tokio::test]
async fn cve_2026_29000_and_cve_2023_51774_an_encryption_is_no_signature() {
    let (emulator, service) = fetching().await;
    service.refuses(&bad(&emulator, BadToken::FivePartsJwe), "malformed_token").await;
    assert_eq!(emulator.requests(Endpoint::Certs), 0);
}

#[tokio::test]
async fn cve_2026_44351_cve_2026_45363_cve_2026_44699_an_unknown_kid_is_no_empty_secret() {
    let (emulator, service) = fetching().await;
    service.accepts(&good(&emulator)).await;
    for kid in ["", "unknown", "null", "undefined", &emulator.current_kid()] {
        for secret in ["", "\0", "null", "undefined"] {
            service.refuses(&hmac_token("HS256", kid, secret.as_bytes()), "wrong_algorithm").await;
        }
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 1);
}

#[tokio::test]
async fn cve_2026_22817_and_cve_2026_22818_a_key_without_alg_leaves_the_choice_to_nobody() {
    let signer = Signer::trusted();
    let mut jwk = signer.jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let verifier = Verifier::builder().audience(AUDIENCE.parse().unwrap()).fixed_keys(keys);
    let service = Guarded::start(verifier.build().unwrap(), policy(&[CALLER_MEMBER])).await;

    service.accepts(&signer.sign(&claims())).await;
    for algorithm in ["HS256", "RS384", "RS512", "PS256", "ES256", "EdDSA", "none"] {
        let mut header = signer.header();
        header["alg"] = algorithm.into();
        let token = signer.sign_text(&header.to_string(), &claims().to_string());
        service.refuses(&token, "wrong_algorithm").await;
    }
}

#[tokio::test]
async fn cve_2025_62610_the_audience_is_always_checked() {
    let no_audience = Verifier::builder().build();
    assert!(matches!(no_audience, Err(VerifierError::NoAudience)));
    let service = fixed().await;
    let sign = |claims| Signer::trusted().sign(&claims);
    service.refuses(&sign(without("aud")), "missing_claim").await;
    service.refuses(&sign(with("aud", "https://another.example")), "wrong_audience").await;
    service.refuses(&sign(with("aud", "")), "wrong_audience").await;
}

#[tokio::test]
async fn cve_2025_30144_an_array_of_issuers_is_no_issuer() {
    let service = fixed().await;
    let issuers = [
        json!(["https://accounts.google.com"]),
        json!(["https://evil.example", "https://accounts.google.com"]),
        json!({"0": "https://accounts.google.com"}),
    ];
    for issuer in issuers {
        service.refuses(&Signer::trusted().sign(&with("iss", issuer)), "malformed_claim").await;
    }
}

#[tokio::test]
async fn ghsa_rp9m_7r4c_75qg_a_remembered_token_answers_for_itself_only() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let tokens: Vec<String> =
        (0..50).map(|number| signer.sign(&with("sub", number.to_string()))).collect();
    for _ in 0..2 {
        for (number, token) in tokens.iter().enumerate() {
            assert_eq!(service.accepts(token).await["sub"], number.to_string());
        }
    }
    // Of two remembered tokens, the claims of one and the signature of the other.
    let (input, _) = tokens[0].rsplit_once('.').unwrap();
    let (_, signature) = tokens[1].rsplit_once('.').unwrap();
    service.refuses(&format!("{input}.{signature}"), "wrong_signature").await;
}

#[tokio::test]
async fn ghsa_rp9m_7r4c_75qg_a_remembered_token_is_held_against_clock_and_keys_each_time() {
    let emulator = Emulator::start().await.unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(emulator.unix_seconds().unsigned_abs()));
    let verifier = verifier(&emulator).clock(Arc::clone(&clock) as Arc<_>).build().unwrap();
    let service = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;

    let token = good(&emulator);
    service.accepts(&token).await;
    service.accepts(&token).await;
    clock.advance(Duration::from_secs(3_600 + 61));
    service.refuses(&token, "expired").await;

    emulator.set_clock_offset(3_600 + 61);
    let token = good(&emulator);
    service.accepts(&token).await;
    emulator.rotate_keys_abruptly().await.unwrap();
    // The new key's token causes a fetch, and with the new set the old key is gone.
    service.accepts(&good(&emulator)).await;
    service.refuses(&token, "unknown_key").await;
}

#[tokio::test]
async fn cve_2022_23540_and_cve_2022_23541_no_algorithm_is_the_default() {
    let (emulator, service) = fetching().await;
    for name in [BadToken::AlgNone, BadToken::AlgNoneMixedCase, BadToken::AlgHs256EmptySecret] {
        service.refuses(&bad(&emulator, name), "wrong_algorithm").await;
    }
    let service = fixed().await;
    let mut header = Signer::trusted().header();
    header.as_object_mut().unwrap().remove("alg");
    let token = Signer::trusted().sign_text(&header.to_string(), &claims().to_string());
    service.refuses(&token, "wrong_algorithm").await;
}

#[tokio::test]
async fn cve_2022_39227_what_is_parsed_is_what_was_verified() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let good = signer.sign(&claims());
    let mut parts = good.split('.');
    let (header, payload, signature) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let forged = encode(with("email", "admin@demo.iam.gserviceaccount.com").to_string());
    // One text that is both serialisations: of the good token, and of forged claims.
    for polyglot in [
        format!(
            r#"{{"{header}.{forged}.":"","protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#
        ),
        format!(
            r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
        ),
        format!(r#" {{"protected":"{header}", "payload":"{payload}","signature":"{signature}"}}"#),
        format!("{header}.{forged}.{signature}"),
    ] {
        let answer = service.whoami(&polyglot).await;
        assert_eq!(answer.status, 401, "{polyglot}: {answer:?}");
    }
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn cve_2021_22573_the_signature_is_verified() {
    let (emulator, service) = fetching().await;
    for name in [BadToken::ForgedSameKid, BadToken::SignatureEmpty, BadToken::SignatureOfAnother] {
        service.refuses(&bad(&emulator, name), "wrong_signature").await;
    }
}

#[tokio::test]
async fn cve_2025_30204_cve_2025_27144_cve_2025_22868_dots_cost_nothing() {
    let service = fixed().await;
    service.refuses(&".".repeat(16 * 1024), "malformed_token").await;
    service.refuses(&".".repeat(16 * 1024 + 1), "token_too_long").await;
    // Beyond the limit of the whole header.
    let answer = service.whoami(&".".repeat(100_000)).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn cve_2025_61920_header_payload_and_signature_are_bounded() {
    let service = fixed().await;
    let signer = Signer::trusted();
    let mut header = signer.header();
    header["padding"] = "x".repeat(16 * 1024).into();
    service
        .refuses(&signer.sign_text(&header.to_string(), &claims().to_string()), "token_too_long")
        .await;
    service
        .refuses(&token(&signer.header(), &claims(), vec![0; 16 * 1024]), "token_too_long")
        .await;
    // Within the limit, but no RSA signature has this length.
    service
        .refuses(&token(&signer.header(), &claims(), vec![0; 8 * 1024]), "wrong_signature")
        .await;
}

#[tokio::test]
async fn cve_2022_36083_and_cve_2024_28180_nothing_is_decrypted_or_inflated() {
    let service = fixed().await;
    let header = json!({
        "alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_647, "p2s": "c2FsdA", "kid": "trusted",
    });
    service.refuses(&token(&header, &claims(), [0; 256]), "wrong_algorithm").await;
    let five = format!("{}.e30.e30.e30.e30", encode(header.to_string()));
    service.refuses(&five, "malformed_token").await;
    let mut header = Signer::trusted().header();
    header["zip"] = "DEF".into();
    let zipped = Signer::trusted().sign_text(&header.to_string(), &claims().to_string());
    service.refuses(&zipped, "unsupported_header").await;
}

#[tokio::test]
async fn cve_2026_31837_there_is_no_key_to_fall_back_to() {
    let (emulator, service) = fetching().await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::status(500))).unwrap();
    let another = Emulator::start().await.unwrap();
    for token in [good(&emulator), good(&another), Signer::trusted().sign(&claims())] {
        let answer = service.whoami(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "no_keys"));
    }
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn cve_2024_45809_and_cve_2025_64527_clients_that_leave_during_a_fetch_harm_nobody() {
    let (emulator, service) = fetching().await;
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::latency(400)).times(1)).unwrap();
    let token = good(&emulator);
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut gone = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        gone.push(stream);
    }
    until("the fetch", async || emulator.requests(Endpoint::Certs) == 1).await;
    drop(gone);
    service.accepts(&token).await;
    assert_eq!(emulator.requests(Endpoint::Certs), 1, "the fetch went on without those who left");
}

#[tokio::test]
async fn cve_2021_21378_a_bad_token_is_refused_even_where_none_is_needed() {
    let verifier = Signer::trusted().verifier().build().unwrap();
    let service = Guarded::start(verifier, policy(&["allUsers"])).await;
    assert_eq!(send(service.request("/")).await.status, 200);
    let signer = Signer::trusted();
    service.refuses(&signer.sign(&with("iss", "https://unknown.example")), "wrong_issuer").await;
    service.refuses(&Signer::forger().sign(&claims()), "unknown_key").await;
    service.refuses(&signer.sign(&with("exp", now() - 61)), "wrong_lifetime").await;
    service.accepts(&signer.sign(&claims())).await;
}

#[tokio::test]
async fn cve_2023_27487_and_cve_2026_40575_the_path_is_the_one_that_the_handler_gets() {
    let service = fixed().await;
    for name in [
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-uri",
        "x-forwarded-path",
        "x-envoy-original-path",
        "x-forwarded-prefix",
    ] {
        send(service.request("/whoami").header(name, "/health/live")).await.assert_no_token();
        let token = Signer::trusted().sign(&claims());
        let request = service.request("/").bearer_auth(token).header(name, "/whoami");
        assert_eq!(send(request).await.json()["path"], "/");
    }
}

/// Requests whose target no client library would send.
async fn raw(service: &Guarded, target: &str) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn ghsa_p224_6x5r_fjpm_cve_2026_41059_cve_2025_54576_public_paths_are_exact() {
    let service = fixed().await;
    for target in [
        "/health/live/",
        "/health/live/../../whoami",
        "/health/live%2f..%2f..%2fwhoami",
        "/health/live;/whoami",
        "/health/live/whoami",
        "/health/livewhoami",
        "/health/Live",
        "/HEALTH/live",
        "//health/live",
        "/./health/live",
        "/%68ealth/live",
        "/health%2flive",
        "/whoami?/health/live",
        "/whoami?x=/health/live",
        "/whoami/health/live",
        "/health",
        "/health/",
        "/healthz",
        "/x%00/health/live",
        "\\health\\live",
    ] {
        let answer = raw(&service, target).await;
        let refused = answer.starts_with("HTTP/1.1 401 ") || answer.starts_with("HTTP/1.1 400 ");
        assert!(refused, "{target}: {answer}");
        assert!(!answer.contains("\"status\":\"live\""), "{target}: {answer}");
    }
    // A fragment has no place in a target: whatever becomes of it, no handler may run.
    raw(&service, "/whoami#/health/live").await;
    assert_eq!(service.handled(), 0);
    assert!(raw(&service, "/health/live").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn cve_2026_34457_a_health_checkers_user_agent_opens_nothing() {
    let service = fixed().await;
    for agent in
        ["GoogleHC/1.0", "kube-probe/1.30", "Google-Cloud-Scheduler", "ELB-HealthChecker/2.0"]
    {
        send(service.request("/whoami").header("user-agent", agent)).await.assert_no_token();
    }
}

#[tokio::test]
async fn cve_2026_40574_an_address_has_one_at() {
    let verifier = Signer::trusted().verifier().build().unwrap();
    let policy = policy(&["domain:example.com", CALLER_MEMBER]);
    let service = Guarded::start(verifier, policy).await;
    for (email, domain) in [
        ("a@evil.example@example.com", None),
        ("a@evil.example@example.com", Some("example.com")),
        ("a@example.com", None),
        ("a@example.com", Some("evil.example")),
        ("a@example.com", Some("EXAMPLE.com")),
        ("a@example.com", Some("sub.example.com")),
        ("a@example.com", Some("example.com.")),
        ("@example.com", Some("example.com")),
        ("a@", Some("example.com")),
        ("caller@demo.iam.gserviceaccount.com@evil.example", None),
        ("evil@caller@demo.iam.gserviceaccount.com", None),
    ] {
        let mut claims = with("email", email);
        if let Some(domain) = domain {
            claims["hd"] = domain.into();
        }
        let answer = service.whoami(&Signer::trusted().sign(&claims)).await;
        assert_eq!(answer.status, 403, "{email} {domain:?}: {answer:?}");
    }
    let mut claims = with("email", "a@example.com");
    claims["hd"] = "example.com".into();
    service.accepts(&Signer::trusted().sign(&claims)).await;
}

#[tokio::test]
async fn cve_2025_64484_identity_comes_from_the_token_in_every_spelling_of_a_field() {
    let service = fixed().await;
    let token = Signer::trusted().sign(&claims());
    for name in [
        "x-goog-authenticated-user-email",
        "x_goog_authenticated_user_email",
        "x-forwarded-email",
        "x_forwarded_email",
        "x-forwarded-user",
        "x-forwarded-access-token",
        "x-endpoint-api-userinfo",
        "x-apigateway-api-userinfo",
        "x_serverless_authorization",
        "x-goog-iap-jwt-assertion",
    ] {
        let value = "admin@demo.iam.gserviceaccount.com";
        send(service.request("/whoami").header(name, value)).await.assert_no_token();
        let request = service.request("/whoami").header(name, value).bearer_auth(&token);
        assert_eq!(send(request).await.json()["email"], CALLER, "{name}");
    }
}

#[tokio::test]
async fn ghsa_4mq7_pvjg_xp2r_what_one_verifier_remembers_says_nothing_to_another() {
    let signer = Signer::trusted();
    let first = fixed().await;
    let token = signer.sign(&claims());
    first.accepts(&token).await;

    let keys = || KeySet::parse(signer.key_set().to_string().as_bytes()).unwrap();
    let other_audience =
        Verifier::builder().audience("https://other.example".parse().unwrap()).fixed_keys(keys());
    let other_issuer = signer.verifier().issuers(["https://issuer.example"]);
    for (verifier, code) in [(other_audience, "wrong_audience"), (other_issuer, "wrong_issuer")] {
        let verifier = verifier.build().unwrap();
        let second = Guarded::start(verifier, policy(&[CALLER_MEMBER])).await;
        second.refuses(&token, code).await;
    }
    // One verifier under two policies: what is remembered is who it is, not that it may come in.
    let verifier = signer.verifier().build().unwrap();
    let first = Guarded::start(verifier.clone(), policy(&[CALLER_MEMBER])).await;
    first.accepts(&token).await;
    let narrow = policy(&["serviceAccount:other@demo.iam.gserviceaccount.com"]);
    let second = Authenticate::from(Authenticator::new(verifier, narrow).unwrap());
    let answer = Guarded::behind(second).await.whoami(&token).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "principal_not_allowed"));
}

#[tokio::test]
async fn cve_2026_26308_two_authorization_fields_are_refused_in_any_order() {
    let service = fixed().await;
    let good = format!("Bearer {}", Signer::trusted().sign(&claims()));
    let forged = format!("Bearer {}", Signer::forger().sign(&claims()));
    let basic = "Basic dTpw".to_owned();
    for (first, second) in
        [(&good, &forged), (&forged, &good), (&good, &good), (&basic, &good), (&good, &basic)]
    {
        let request = service.request("/whoami").header("authorization", first);
        let answer = send(request.header("authorization", second)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "several_tokens"));
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_request\""), "{challenge}");
    }
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn cve_2023_30845_the_method_is_the_one_of_the_request_line() {
    let service = fixed().await;
    let token = Signer::trusted().sign(&claims());
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for method in ["OPTIONS", "GET", "DELETE"] {
            send(service.post("/").header(name, method)).await.assert_no_token();
            let request = service.post("/").header(name, method).bearer_auth(&token);
            assert_eq!(send(request).await.json()["method"], "POST");
        }
    }
}

#[tokio::test]
async fn cve_2024_45410_and_cve_2025_29927_fields_from_outside_switch_nothing_off() {
    let service = fixed().await;
    for (name, value) in [
        ("connection", "authorization"),
        ("connection", "close, x-serverless-authorization"),
        ("x-middleware-subrequest", "middleware:middleware:middleware"),
        ("x-internal-request", "1"),
        ("x-appengine-user-email", CALLER),
        ("x-appengine-cron", "true"),
        ("x-cloudscheduler", "true"),
        ("x-cloud-trace-context", "105445aa7843bc8bf206b12000100000/1;o=1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        send(service.request("/whoami").header(name, value)).await.assert_no_token();
    }
}

/// Every version of a crate in Cargo.lock.
fn locked(name: &str) -> Vec<String> {
    let lock = include_str!("../../Cargo.lock");
    let mut lines = lock.lines();
    let mut versions = Vec::new();
    while let Some(line) = lines.next() {
        if line == format!("name = \"{name}\"") {
            let version = lines.next().unwrap().strip_prefix("version = \"").unwrap();
            versions.push(version.trim_end_matches('"').to_owned());
        }
    }
    versions
}

#[test]
fn cve_2023_49092_the_rsa_crate_is_not_in_the_tree() {
    assert_eq!(locked("rsa"), [""; 0]);
    assert_eq!(locked("aws-lc-rs").len(), 1, "one crypto library");
}

#[test]
fn cve_2023_44487_rustsec_2024_0332_rustsec_2026_0258_h2_is_a_mended_one() {
    for version in locked("h2") {
        let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(numbers >= vec![0, 4, 16], "h2 {version}");
    }
}
