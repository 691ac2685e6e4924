//! Every token that the emulator mints, judged by a strict verifier that is written here and nowhere else, on
//! jsonwebtoken: the good ones pass, each bad one fails for the reason that its name says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::emulator::{
    BadToken, Emulator, Endpoint, GCLOUD_CLIENT_ID, TokenFormat, TokenSpec,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::client::client;

const AUDIENCE: &str = "https://called.example";

async fn keys(emulator: &Emulator) -> Value {
    let answer = client().get(emulator.jwks_url()).send().await.unwrap();
    answer.json().await.unwrap()
}

fn part(text: &str) -> Result<Value, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "base64")?;
    let strict: Strict = serde_json::from_slice(&bytes).map_err(|error| {
        if error.to_string().starts_with("duplicate") { "duplicate" } else { "json" }
    })?;
    if strict.0.is_object() { Ok(strict.0) } else { Err("object") }
}

/// Any JSON value without twins at any depth: `Value` would keep the last of two.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Strict(values.into()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("duplicate"));
            }
        }
        Ok(Strict(members.into()))
    }
}

/// A strict verifier of Google's ID tokens: `Err` says what is wrong.
fn judge(token: &str, keys: &Value, now: i64) -> Result<Value, &'static str> {
    if token.len() > 16 * 1024 {
        return Err("size");
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return Err("parts") };
    let head = part(header)?;
    if head["alg"] != "RS256" {
        return Err("alg");
    }
    if ["crit", "b64", "zip", "cty", "jwk", "jku", "x5c", "x5u"]
        .iter()
        .any(|name| !head[name].is_null())
    {
        return Err("header");
    }
    let kid = head["kid"].as_str().filter(|kid| kid.len() <= 256).ok_or("kid")?;
    let keys = keys["keys"].as_array().ok_or("keys")?;
    let key = keys.iter().find(|key| key["kid"] == kid).ok_or("unknown key")?;
    let key =
        DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap());
    URL_SAFE_NO_PAD.decode(signature).map_err(|_| "base64")?;
    let signed = format!("{header}.{payload}");
    if !jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.unwrap(), Algorithm::RS256)
        .map_err(|_| "signature")?
    {
        return Err("signature");
    }
    let claims = part(payload)?;
    let time = |name: &str| claims[name].as_i64().ok_or("time");
    let (issued, expires) = (time("iat")?, time("exp")?);
    if !claims["nbf"].is_null() && time("nbf")? > now + 60 {
        return Err("not yet");
    }
    if now > expires + 60 || issued > now + 60 || expires - issued > 24 * 3600 {
        return Err("time");
    }
    if claims["aud"] != AUDIENCE {
        return Err("aud");
    }
    if claims["iss"] != "https://accounts.google.com" && claims["iss"] != "accounts.google.com" {
        return Err("iss");
    }
    claims["sub"].as_str().ok_or("sub")?;
    if claims["email"].is_string() && claims["email_verified"] == true {
        Ok(claims)
    } else {
        Err("email")
    }
}

/// What is wrong, as the strict verifier has to see it.
fn expected(bad: BadToken) -> &'static [&'static str] {
    use BadToken as Bad;
    match bad {
        Bad::Garbage => &["json"],
        Bad::AccessToken => &["json", "base64", "parts"],
        Bad::Expired
        | Bad::IssuedInTheFuture
        | Bad::NotBeforeAsString
        | Bad::NoExpiry
        | Bad::NoIssuedAt
        | Bad::LifetimeOver24h
        | Bad::ExpAsString
        | Bad::ExpAsFloat
        | Bad::ExpOverflow => &["time"],
        Bad::NotYetValid => &["not yet"],
        Bad::WrongAudience
        | Bad::AudienceArrayOfTwo
        | Bad::AudienceNumber
        | Bad::NoAudience
        | Bad::AudienceTrailingSlash
        | Bad::AudienceWithQuery => &["aud"],
        Bad::WrongIssuer | Bad::IssuerArray | Bad::NoIssuer | Bad::IssuerPrefix => &["iss"],
        Bad::EmailUnverified | Bad::EmailVerifiedAsString | Bad::NoEmail => &["email"],
        Bad::NoSub | Bad::SubAsNumber => &["sub"],
        Bad::DuplicateClaim
        | Bad::DuplicateEscapedClaim
        | Bad::DuplicateNestedClaim
        | Bad::DuplicateHeader => &["duplicate"],
        Bad::ClaimsTrailingText | Bad::ClaimsNotUtf8 => &["json"],
        Bad::ClaimsArray => &["object"],
        Bad::NoKid | Bad::KidTooLong | Bad::KidAsNumber => &["kid"],
        Bad::KidPathTraversal | Bad::UnknownKid => &["unknown key"],
        Bad::Crit
        | Bad::B64False
        | Bad::Zip
        | Bad::Cty
        | Bad::JwkInHeader
        | Bad::JkuInHeader
        | Bad::X5cInHeader
        | Bad::X5uInHeader => &["header"],
        Bad::ForgedSameKid
        | Bad::SignatureEmpty
        | Bad::SignatureTruncated
        | Bad::SignatureOfAnother
        | Bad::SignatureRemovedByGoogle
        | Bad::StrippedForged => &["signature", "base64"],
        Bad::NoAlg
        | Bad::AlgLowerCase
        | Bad::AlgNone
        | Bad::AlgNoneMixedCase
        | Bad::AlgHs256WithPublicPem
        | Bad::AlgHs256EmptySecret
        | Bad::AlgRs512
        | Bad::AlgPs256
        | Bad::AlgEs256 => &["alg"],
        Bad::FivePartsJwe | Bad::FourParts | Bad::TwoParts => &["parts"],
        Bad::JsonSerialization => &["parts", "base64", "json"],
        Bad::PaddedBase64 | Bad::NonCanonicalBase64 | Bad::Whitespace => &["base64"],
        Bad::Oversized => &["size"],
        Bad::DeeplyNested => &["json"],
        other => panic!("say what is wrong with {other}"),
    }
}

#[tokio::test]
async fn each_bad_token_is_refused_for_what_its_name_says() {
    let emulator = Emulator::start().await.unwrap();
    let keys = keys(&emulator).await;
    let spec = TokenSpec::for_audience(AUDIENCE);
    judge(&emulator.mint(&spec), &keys, emulator.unix_seconds()).unwrap();
    for bad in BadToken::ALL {
        let token = emulator.mint(&spec.clone().bad(*bad));
        let reason = judge(&token, &keys, emulator.unix_seconds()).expect_err(bad.name());
        assert!(expected(*bad).contains(&reason), "{bad}: refused for `{reason}`");
        assert!(token.is_ascii() && !token.contains(['\n', '\r']), "{bad} fits into a header");
    }
    assert_eq!(emulator.requests(Endpoint::Canary), 0);
}

#[tokio::test]
async fn forgeries_would_pass_with_the_keys_that_they_bring() {
    let emulator = Emulator::start().await.unwrap();
    let spec = TokenSpec::for_audience(AUDIENCE).bad(BadToken::JkuInHeader);
    let token = emulator.mint(&spec);
    let header = part(token.split('.').next().unwrap()).unwrap();
    let link = header["jku"].as_str().unwrap();
    assert!(link.starts_with(&emulator.url()), "{link}");
    let keys: Value = client().get(link).send().await.unwrap().json().await.unwrap();
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (n, e) = (keys["keys"][0]["n"].as_str().unwrap(), keys["keys"][0]["e"].as_str().unwrap());
    let key = DecodingKey::from_rsa_components(n, e).unwrap();
    assert!(
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::RS256).unwrap()
    );
    assert_eq!(emulator.requests(Endpoint::Canary), 1, "the canary counts who followed");

    let jwk = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(BadToken::JwkInHeader));
    let header = part(jwk.split('.').next().unwrap()).unwrap();
    assert_eq!(header["jwk"]["n"].as_str(), Some(n));
}

#[tokio::test]
async fn hmac_with_the_public_key_would_pass_where_the_token_chooses() {
    let emulator = Emulator::start().await.unwrap();
    for (bad, secret) in
        [(BadToken::AlgHs256EmptySecret, Some("")), (BadToken::AlgHs256WithPublicPem, None)]
    {
        let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let pem;
        let secret = match secret {
            Some(secret) => secret,
            None => {
                let certs: Value = client()
                    .get(format!("{}/oauth2/v3/certs", emulator.url()))
                    .send()
                    .await
                    .unwrap()
                    .json()
                    .await
                    .unwrap();
                let key = certs["keys"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|k| k["kid"] == emulator.current_kid())
                    .unwrap();
                pem = spki_pem(key["n"].as_str().unwrap());
                &pem
            }
        };
        let key = DecodingKey::from_secret(secret.as_bytes());
        assert!(
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::HS256)
                .unwrap(),
            "{bad}"
        );
    }
}

/// The PEM of a 2048-bit RSA key with e = 65537, put together by hand.
fn spki_pem(n: &str) -> String {
    let modulus = URL_SAFE_NO_PAD.decode(n).unwrap();
    assert_eq!(modulus.len(), 256);
    let mut der = vec![
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
        0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82,
        0x01, 0x01, 0x00,
    ];
    der.extend(modulus);
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

#[test]
fn names_are_stable_unique_and_parse_back() {
    let names: BTreeSet<&str> = BadToken::ALL.iter().map(|bad| bad.name()).collect();
    assert_eq!(names.len(), BadToken::ALL.len());
    for bad in BadToken::ALL {
        assert_eq!(bad.name().parse::<BadToken>().unwrap(), *bad);
        assert_eq!(serde_json::to_value(bad).unwrap(), bad.name());
        assert_eq!(bad.to_string(), bad.name());
        assert!(
            bad.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        assert!(bad.description().ends_with('.'), "{bad}: {}", bad.description());
    }
    let error = "expird".parse::<BadToken>().unwrap_err().to_string();
    assert!(error.contains("`expird`") && error.contains("expired, "), "{error}");
}

#[tokio::test]
async fn a_service_accounts_token_says_what_googles_say() {
    let emulator = Emulator::builder()
        .project("acme")
        .project_number(42)
        .region("europe-west1")
        .start()
        .await
        .unwrap();
    let spec = TokenSpec::for_audience(AUDIENCE);
    let token = emulator.mint(&spec);
    let header = part(token.split('.').next().unwrap()).unwrap();
    assert_eq!(
        header,
        serde_json::json!({"alg": "RS256", "kid": emulator.current_kid(), "typ": "JWT"})
    );
    let claims = judge(&token, &keys(&emulator).await, emulator.unix_seconds()).unwrap();
    let email = "caller@acme.iam.gserviceaccount.com";
    assert_eq!(claims["email"], email);
    assert_eq!(claims["sub"], emulator.unique_id(email));
    assert_eq!(claims["sub"].as_str().unwrap().len(), 21);
    assert_eq!(claims["azp"], claims["sub"]);
    assert_eq!(claims["iss"], "https://accounts.google.com");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    let engine = &claims["google"]["compute_engine"];
    assert_eq!(engine["project_id"], "acme");
    assert_eq!(engine["project_number"], 42);
    assert_eq!(engine["zone"], "europe-west1-1");
    assert!(engine["license_id"].is_null());

    let standard = emulator.mint(&spec.clone().format(TokenFormat::Standard));
    let claims = part(standard.split('.').nth(1).unwrap()).unwrap();
    assert!(claims["email"].is_null() && claims["email_verified"].is_null());

    let before = emulator.unique_id(email);
    let after = emulator.recreate_account(email);
    assert_ne!(before, after);
    let claims = part(emulator.mint(&spec).split('.').nth(1).unwrap()).unwrap();
    assert_eq!(claims["sub"], after);
}

#[tokio::test]
async fn a_persons_token_is_gclouds() {
    let emulator = Emulator::start().await.unwrap();
    let claims = |spec: &TokenSpec| part(emulator.mint(spec).split('.').nth(1).unwrap()).unwrap();
    let alice = claims(&TokenSpec::for_person("alice@example.com"));
    assert_eq!(alice["aud"], GCLOUD_CLIENT_ID);
    assert_eq!(alice["azp"], GCLOUD_CLIENT_ID);
    assert_eq!(alice["hd"], "example.com");
    assert_eq!(URL_SAFE_NO_PAD.decode(alice["at_hash"].as_str().unwrap()).unwrap().len(), 16);
    assert_eq!(alice["email_verified"], true);
    let bob = claims(&TokenSpec::for_person("bob@gmail.com").audience(AUDIENCE));
    assert!(bob["hd"].is_null());
    assert_eq!(bob["aud"], AUDIENCE);
}

#[tokio::test]
async fn overrides_reach_the_token() {
    let emulator = Emulator::start().await.unwrap();
    let now = emulator.unix_seconds();
    let spec = TokenSpec::for_audience(AUDIENCE)
        .account("other@demo.iam.gserviceaccount.com")
        .issued_offset(-100)
        .lifetime(10)
        .claim("role", "admin")
        .claim("nested", serde_json::json!({"a": [1, 2]}))
        .without_claim("azp")
        .header("typ", "at+jwt")
        .header("extra", 1)
        .without_header("kid");
    let token = emulator.mint(&spec);
    let mut parts = token.split('.');
    let header = part(parts.next().unwrap()).unwrap();
    assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "at+jwt", "extra": 1}));
    let claims = part(parts.next().unwrap()).unwrap();
    let issued = claims["iat"].as_i64().unwrap();
    assert!((now - 100..=now - 90).contains(&issued));
    assert_eq!(claims["exp"].as_i64().unwrap(), issued + 10);
    assert_eq!(claims["role"], "admin");
    assert_eq!(claims["nested"]["a"][1], 2);
    assert!(claims["azp"].is_null());
    assert_eq!(claims["email"], "other@demo.iam.gserviceaccount.com");
}

#[tokio::test]
async fn the_clock_moves_what_is_minted() {
    use countersign::clock::ManualClock;
    let clock = std::sync::Arc::new(ManualClock::at_unix_seconds(1_700_000_000));
    let emulator = Emulator::builder().clock(clock.clone()).start().await.unwrap();
    let issued = || {
        let token = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
        part(token.split('.').nth(1).unwrap()).unwrap()["iat"].as_i64().unwrap()
    };
    assert_eq!(issued(), 1_700_000_000);
    emulator.set_clock_offset(-61 * 60);
    assert_eq!(issued(), 1_700_000_000 - 61 * 60);
    clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(issued(), 1_700_000_005 - 61 * 60);
}

#[tokio::test]
async fn nothing_secret_shows_in_debug() {
    let emulator = Emulator::start().await.unwrap();
    let host = emulator.host();
    let path = "computeMetadata/v1/instance/service-accounts/default";
    for kind in ["token", "identity?audience=a"] {
        let url = format!("http://{host}/{path}/{kind}");
        let answer = client().get(url).header("metadata-flavor", "Google").send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let text = format!("{emulator:?}");
    assert!(!text.contains("ya29.") && !text.contains("eyJ"), "{text}");
}
