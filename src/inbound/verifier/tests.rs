use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::inbound::testing::{
    AUDIENCE, Answer, CALLER, KeyServer, NOW, Signer, claims, key_set, with, without,
};

struct Bench {
    signer: Signer,
    clock: Arc<ManualClock>,
    verifier: Verifier,
}

impl Bench {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(adapt: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let signer = Signer::new("a");
        let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
        let keys = KeySet::parse(key_set(&[&signer]).to_string().as_bytes()).unwrap();
        let builder = Verifier::builder().audience(AUDIENCE.parse().unwrap());
        let builder = builder.fixed_keys(keys).clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Self { signer, clock, verifier: adapt(builder).build().unwrap() }
    }

    async fn code(&self, token: &str) -> &'static str {
        self.verifier.verify(token).await.map_or_else(|cause| cause.code(), |_| "ok")
    }

    async fn code_of(&self, claims: &Value) -> &'static str {
        self.code(&self.signer.sign(claims)).await
    }
}

async fn fetching(server: &KeyServer, clock: &Arc<ManualClock>) -> Verifier {
    Verifier::builder()
        .audience(AUDIENCE.parse().unwrap())
        .key_url(server.url())
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_good_token_says_who() {
    let bench = Bench::new();
    let token = bench.verifier.verify(&bench.signer.sign(&claims())).await.unwrap();
    assert_eq!(token.email(), Some(CALLER));
    assert_eq!(token.audience().as_str(), AUDIENCE);
}

#[tokio::test]
async fn each_claim_is_checked_under_a_good_signature() {
    let bench = Bench::new();
    let now = NOW;
    let table = [
        (without(claims(), "iss"), "missing_claim"),
        (without(claims(), "aud"), "missing_claim"),
        (without(claims(), "exp"), "missing_claim"),
        (without(claims(), "iat"), "missing_claim"),
        (without(claims(), "sub"), "missing_claim"),
        (with(claims(), "iss", "https://evil.example"), "wrong_issuer"),
        (with(claims(), "iss", json!(["https://accounts.google.com"])), "malformed_claim"),
        (with(claims(), "iss", "accounts.google"), "wrong_issuer"),
        (with(claims(), "aud", "https://other.example"), "wrong_audience"),
        (with(claims(), "aud", json!([AUDIENCE, "https://other.example"])), "malformed_claim"),
        (with(claims(), "aud", 123), "malformed_claim"),
        (with(claims(), "exp", (now + 60).to_string()), "malformed_claim"),
        (with(with(claims(), "iat", now - 3_661), "exp", now - 61), "expired"),
        (with(claims(), "iat", now + 61), "not_yet_valid"),
        (with(claims(), "nbf", now + 61), "not_yet_valid"),
        (with(claims(), "nbf", "0"), "malformed_claim"),
        (with(claims(), "exp", now + 86_401), "wrong_lifetime"),
        (with(claims(), "email_verified", "true"), "malformed_claim"),
        (with(claims(), "email", json!(null)), "malformed_claim"),
    ];
    for (claims, expected) in table {
        assert_eq!(bench.code_of(&claims).await, expected, "{claims}");
    }
    let fine = [
        without(without(claims(), "email"), "email_verified"),
        without(claims(), "azp"),
        with(claims(), "iss", "accounts.google.com"),
        with(claims(), "aud", json!([AUDIENCE])),
        with(claims(), "nbf", now + 60),
        with(claims(), "azp", CALLER),
    ];
    for claims in fine {
        assert_eq!(bench.code_of(&claims).await, "ok", "{claims}");
    }
}

#[tokio::test]
async fn the_header_chooses_nothing() {
    let bench = Bench::new();
    let table = [
        (json!({"alg": "none", "kid": "a"}), "wrong_algorithm"),
        (json!({"alg": "HS256", "kid": "a"}), "wrong_algorithm"),
        (json!({"alg": "RS512", "kid": "a"}), "wrong_algorithm"),
        (json!({"kid": "a"}), "wrong_algorithm"),
        (json!({"alg": "RS256"}), "malformed_key_id"),
        (json!({"alg": "RS256", "kid": "b"}), "unknown_key"),
        (json!({"alg": "RS256", "kid": "a\0"}), "unknown_key"),
        (json!({"alg": "RS256", "kid": "../a"}), "unknown_key"),
        (json!({"alg": "RS256", "kid": "a", "crit": ["exp"]}), "unsupported_header"),
        (json!({"alg": "RS256", "kid": "a", "b64": false}), "unsupported_header"),
        (json!({"alg": "RS256", "kid": "a", "zip": "DEF"}), "unsupported_header"),
        (json!({"alg": "RS256", "kid": "a", "typ": "at+jwt"}), "wrong_type"),
        (json!({"alg": "RS256", "kid": "a"}), "ok"),
    ];
    for (header, expected) in table {
        let token = bench.signer.sign_with(&header, &claims());
        assert_eq!(bench.code(&token).await, expected, "{header}");
    }
}

#[tokio::test]
async fn keys_in_the_header_are_not_looked_at() {
    let bench = Bench::new();
    let stranger = Signer::new("a");
    let header = json!({
        "alg": "RS256", "kid": "a", "jwk": stranger.jwk(),
        "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/", "x5c": ["AAAA"],
    });
    assert_eq!(bench.code(&stranger.sign_with(&header, &claims())).await, "wrong_signature");
}

#[tokio::test]
async fn duplicates_are_refused_under_a_good_signature() {
    let bench = Bench::new();
    let good = claims().to_string();
    let twice = good.replacen('{', "{\"aud\":\"https://other.example\",", 1);
    let token = bench.signer.sign_text(r#"{"alg":"RS256","kid":"a"}"#, &twice);
    assert_eq!(bench.code(&token).await, "malformed_payload");
    let token = bench.signer.sign_text(r#"{"alg":"RS256","kid":"a","kid":"a"}"#, &good);
    assert_eq!(bench.code(&token).await, "malformed_header");
}

#[tokio::test]
async fn shapes_that_are_no_signed_token() {
    let bench = Bench::new();
    let good = bench.signer.sign(&claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let table = [
        (String::new(), "malformed_token"),
        ("garbage".to_owned(), "malformed_token"),
        ("ya29.a0AfH6SMC".to_owned(), "access_token"),
        (format!("{input}."), "wrong_signature"),
        (input.to_owned(), "malformed_token"),
        (format!("{good}."), "malformed_token"),
        (format!("{good}.x.y"), "malformed_token"),
        (format!("{good}="), "malformed_token"),
        (format!(" {good}"), "malformed_token"),
        (format!("{good}\n"), "malformed_token"),
        (format!("{input}.{}", &signature[4..]), "wrong_signature"),
        (format!("{input}.AAAA{signature}"), "wrong_signature"),
        (format!("{input}.SIGNATURE_REMOVED_BY_GOOGLE"), "signature_removed"),
        (format!("{input}.{}", "A".repeat(20_000)), "token_too_long"),
        (".".repeat(16_000), "malformed_token"),
        (json!({"payload": "e30", "signatures": []}).to_string(), "malformed_token"),
    ];
    for (token, expected) in table {
        assert_eq!(bench.code(&token).await, expected, "{token:.60}");
    }
}

#[tokio::test]
async fn every_changed_bit_of_the_signature_is_noticed() {
    let bench = Bench::new();
    let good = bench.signer.sign(&claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    for place in (0..signature.len() - 1).step_by(29) {
        let mut changed = signature.to_owned();
        let other = if &changed[place..=place] == "A" { "B" } else { "A" };
        changed.replace_range(place..=place, other);
        assert_eq!(bench.code(&format!("{input}.{changed}")).await, "wrong_signature", "{place}");
    }
}

#[tokio::test]
async fn a_verified_token_is_remembered_until_its_time_is_over() {
    let bench = Bench::new();
    let token = bench.signer.sign(&claims());
    assert!(bench.verifier.0.verified.find(&token).is_none());
    assert_eq!(bench.code(&token).await, "ok");
    assert!(bench.verifier.0.verified.find(&token).is_some());
    bench.clock.advance(Duration::from_secs(3_659));
    assert_eq!(bench.code(&token).await, "ok");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.code(&token).await, "expired");
    bench.clock.set_wall(NOW - 61);
    assert_eq!(bench.code(&token).await, "not_yet_valid", "a clock that was set back");
}

#[tokio::test]
async fn nothing_that_was_refused_is_remembered() {
    let bench = Bench::new();
    let stranger = Signer::new("a");
    for _ in 0..2 {
        assert_eq!(bench.code(&stranger.sign(&claims())).await, "wrong_signature");
    }
    assert!(format!("{:?}", bench.verifier.0.verified).starts_with("0 verified tokens"));
}

#[tokio::test]
async fn what_is_remembered_is_bounded_in_bytes() {
    let bench = Bench::with(|builder| builder.verified_token_bytes(20_000));
    for number in 0..50 {
        let claims = with(claims(), "sub", format!("{number}"));
        assert_eq!(bench.code_of(&claims).await, "ok");
    }
    let cache = bench.verifier.0.verified.weight();
    assert!((1..=20_000).contains(&cache), "{cache}");

    let none = Bench::with(|builder| builder.verified_token_bytes(0));
    let token = none.signer.sign(&claims());
    assert_eq!((none.code(&token).await, none.code(&token).await), ("ok", "ok"));
    assert!(none.verifier.0.verified.find(&token).is_none());
}

#[tokio::test]
async fn a_remembered_token_is_refused_when_its_key_is_taken_out() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = KeyServer::start([Answer::keys(&[&old]), Answer::keys(&[&new])]).await;
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let verifier = fetching(&server, &clock).await;
    let token = old.sign(&claims());
    assert!(verifier.verify(&token).await.is_ok());
    clock.advance(Duration::from_secs(1_001));
    assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "unknown_key");
}

#[tokio::test]
async fn a_key_that_changes_under_its_kid_ends_what_is_remembered() {
    let (first, second) = (Signer::new("a"), Signer::new("a"));
    let server = KeyServer::start([Answer::keys(&[&first]), Answer::keys(&[&second])]).await;
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let verifier = fetching(&server, &clock).await;
    let token = first.sign(&claims());
    assert!(verifier.verify(&token).await.is_ok());
    clock.advance(Duration::from_secs(1_001));
    assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "wrong_signature");
}

#[tokio::test]
async fn hopeless_tokens_cause_no_fetch_and_plausible_ones_do() {
    let signer = Signer::new("a");
    let server = KeyServer::start([Answer::status(500)]).await;
    let clock = Arc::new(ManualClock::at_unix_seconds(NOW));
    let verifier = fetching(&server, &clock).await;
    for claims in [
        with(claims(), "aud", "https://other.example"),
        with(claims(), "iss", "https://evil.example"),
        with(with(claims(), "iat", NOW - 7_200), "exp", NOW - 3_600),
    ] {
        verifier.verify(&signer.sign(&claims)).await.unwrap_err();
    }
    verifier.verify("garbage").await.unwrap_err();
    assert_eq!(server.requests(), 0);
    let cause = verifier.verify(&signer.sign(&claims())).await.unwrap_err();
    assert_eq!((cause.code(), server.requests()), ("no_keys", 1));
    assert!(cause.to_string().contains("500"), "{cause}");

    server.now_answers([Answer::keys(&[&signer])]);
    clock.advance(Duration::from_secs(4));
    assert!(verifier.verify(&signer.sign(&claims())).await.is_ok(), "healed");
}

#[tokio::test]
async fn behind_cloud_run_only_the_exact_mark_counts_as_removed() {
    let bench = Bench::with(|builder| builder.signature_check(SignatureCheck::CloudRun));
    let removed = |claims: &Value, mark: &str| {
        let good = bench.signer.sign(claims);
        format!("{}.{mark}", good.rsplit_once('.').unwrap().0)
    };
    let mark = "SIGNATURE_REMOVED_BY_GOOGLE";
    let token = removed(&claims(), mark);
    assert_eq!(bench.code(&token).await, "ok");
    assert!(bench.verifier.0.verified.find(&token).is_none(), "never remembered");

    for near in [
        "SIGNATURE_REMOVED_BY_GOOGL",
        "signature_removed_by_google",
        "SIGNATURE_REMOVED_BY_GOOGLE_",
        "",
    ] {
        assert_ne!(bench.code(&removed(&claims(), near)).await, "ok", "{near:?}");
    }
    let wrong = removed(&with(claims(), "aud", "https://other.example"), mark);
    assert_eq!(bench.code(&wrong).await, "wrong_audience");
    bench.clock.advance(Duration::from_secs(3_700));
    assert_eq!(bench.code(&token).await, "expired");

    let stranger = Signer::new("a");
    bench.clock.set_wall(NOW);
    assert_eq!(
        bench.code(&stranger.sign(&claims())).await,
        "wrong_signature",
        "signatures are verified"
    );
}

#[test]
fn settings_that_check_nothing_are_errors() {
    let audience = || AUDIENCE.parse().unwrap();
    assert!(matches!(Verifier::builder().build(), Err(VerifierError::NoAudience)));
    let none: [&str; 0] = [];
    let build = Verifier::builder().audience(audience()).issuers(none).build();
    assert!(matches!(build, Err(VerifierError::NoIssuer)));
    let leeway = Duration::from_secs(301);
    let build = Verifier::builder().audience(audience()).leeway(leeway).build();
    assert!(matches!(build, Err(VerifierError::Leeway { .. })));
}

#[test]
fn no_token_is_in_debug() {
    let bench = Bench::new();
    let token = bench.signer.sign(&claims());
    let Verdict::Decided(Ok(verified)) = bench.verifier.verdict(&token) else { panic!("good") };
    let shown = format!("{:?} {verified:?}", bench.verifier);
    assert!(token.split('.').all(|part| !shown.contains(part)), "{shown}");
}
