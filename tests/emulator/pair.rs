//! Both halves of the library against the emulator: the verifier refuses every bad token, and the metadata source gets
//! its tokens through every fault that can be survived.

use std::time::Duration;

use countersign::emulator::{
    BadToken, Emulator, Endpoint, Fault, FaultKind, TokenFormat, TokenSpec,
};
use countersign::identity::Audience;
use countersign::inbound::Verifier;
use countersign::inbound::jwks::KeyUrl;
use countersign::outbound::{IdTokenSource, MetadataServer};

const AUDIENCE: &str = "https://called.example";

fn audience() -> Audience {
    AUDIENCE.parse().unwrap()
}

fn verifier(emulator: &Emulator) -> Verifier {
    let keys = KeyUrl::parse(&emulator.jwks_url(), true).unwrap();
    Verifier::builder().audience(audience()).key_url(keys).build().unwrap()
}

fn source(host: String) -> MetadataServer {
    MetadataServer::builder().host(host).first_pause(Duration::from_millis(1)).build().unwrap()
}

#[tokio::test]
async fn the_verifier_refuses_every_bad_token_and_follows_no_link() {
    let emulator = Emulator::start().await.unwrap();
    let verifier = verifier(&emulator);
    verifier.verify(&emulator.mint(&TokenSpec::for_audience(AUDIENCE))).await.unwrap();
    // Good tokens that no list of addresses admits: a matter of the policy.
    let of_nobody = [BadToken::NoEmail, BadToken::EmailUnverified];
    let mut accepted = Vec::new();
    for bad in BadToken::ALL.iter().filter(|bad| !of_nobody.contains(bad)) {
        let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(*bad));
        if verifier.verify(&token).await.is_ok() {
            accepted.push(*bad);
        }
    }
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
    assert_eq!(emulator.requests(Endpoint::Canary), 0);
    assert!(emulator.requests(Endpoint::Certs) <= 2, "one fetch, and one for unknown kids");
}

#[tokio::test]
async fn tokens_of_the_metadata_server_verify() {
    let emulator = Emulator::start().await.unwrap();
    let server = emulator.metadata_for("other@demo.iam.gserviceaccount.com").await.unwrap();
    for (host, email) in
        [(emulator.host(), emulator.default_account()), (server.host(), server.account())]
    {
        let source = source(host);
        let token = source.fetch(&audience()).await.unwrap();
        verifier(&emulator).verify(token.as_str()).await.unwrap();
        assert_eq!(source.email().await.unwrap(), email);
        assert_eq!(source.project_id().await.unwrap(), "demo");
        assert_eq!(source.numeric_project_id().await.unwrap(), "123456789012");
        assert_eq!(source.region().await.unwrap(), "us-central1");
    }
}

#[tokio::test]
async fn the_metadata_source_survives_what_passes() {
    let emulator = Emulator::start().await.unwrap();
    let source = source(emulator.host());
    for fault in [
        FaultKind::status(503),
        FaultKind::status(429),
        FaultKind::CloseConnection,
        FaultKind::GarbageBody,
        FaultKind::HtmlBody,
        FaultKind::EmptyBody,
        FaultKind::TruncatedBody,
        FaultKind::EndlessBody,
    ] {
        let text = format!("{fault:?}");
        emulator.inject(Fault::on(Endpoint::MetadataIdentity, fault).times(2)).unwrap();
        source.fetch(&audience()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    // A token that is not what was asked for is not handed on.
    for spec in [
        TokenSpec::for_audience("https://somebody-else.example"),
        TokenSpec::for_audience(AUDIENCE).bad(BadToken::Expired),
        TokenSpec::for_audience(AUDIENCE).bad(BadToken::NoExpiry),
    ] {
        let body = FaultKind::Body { content_type: "text/html".into(), body: emulator.mint(&spec) };
        emulator.inject(Fault::on(Endpoint::MetadataIdentity, body).times(1)).unwrap();
        let token = source.fetch(&audience()).await.unwrap();
        verifier(&emulator).verify(token.as_str()).await.unwrap();
    }
}

#[tokio::test]
async fn rotated_keys_are_found_with_one_fetch() {
    let emulator = Emulator::start().await.unwrap();
    let verifier = verifier(&emulator);
    let spec = TokenSpec::for_audience(AUDIENCE).format(TokenFormat::Full);
    let before = emulator.mint(&spec);
    verifier.verify(&before).await.unwrap();
    emulator.rotate_keys().await.unwrap();
    verifier.verify(&emulator.mint(&spec)).await.unwrap();
    verifier.verify(&before).await.unwrap();
    assert_eq!(emulator.requests(Endpoint::Certs), 2);
}
