//! Real input: a genuine token of Google's, and published vectors of signatures.
//!
//! The vectors are not part of this repository. They are read from `../shared/vectors` beside it where that folder
//! exists; where it does not, each test says so and passes.
//!
//! The payloads of the signature vectors are no claims, so no vector passes a whole verification. What decides here is
//! therefore: the verifier's own checks of shape and header (its refusal has to come from beyond them), the key set's
//! vetting of the key, and the signature.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use countersign::clock::{Clock, ManualClock, SystemClock};
use countersign::identity::CompactJws;
use countersign::inbound::jwks::{DocumentError, KeyFault, KeySet, KeyUrl};
use countersign::inbound::{Verifier, VerifierBuilder};
use serde_json::{Value, json};

/// A file of the vectors, or `None` and a word about it.
fn read(name: &str) -> Option<Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn json(name: &str) -> Option<Value> {
    read(name).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

// ---- Google's own ----

const GENUINE_KID: &str = "f9d97b4cae90bcd76aeb20026f6b770cac221783";
const GENUINE_AUDIENCE: &str = "https://example.com/path";
const ISSUED: u64 = 1_587_626_288;
const EXPIRES: u64 = 1_587_629_888;

/// The tokens of the file: the one whose key is there, the one of IAP, the one whose key was not kept.
fn tokens() -> Option<[String; 3]> {
    let lines = String::from_utf8(read("google/real_google_tokens.jsonl")?).unwrap();
    let all: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kid: &str| {
        let entry = all.iter().find(|entry| entry["kid"] == kid).unwrap();
        entry["token"].as_str().unwrap().to_owned()
    };
    Some([of(GENUINE_KID), of("mpf0DA"), of("1727b6b49402b9cf95be4e8fd38aa7e7c11644b1")])
}

fn at(seconds: u64) -> Arc<dyn Clock> {
    Arc::new(ManualClock::at_unix_seconds(seconds))
}

fn builder(audience: &str) -> VerifierBuilder {
    Verifier::builder().audience(audience.parse().unwrap()).clock(at(ISSUED + 60))
}

fn google_keys() -> Option<KeySet> {
    Some(KeySet::parse(&read("google/federated_keys.json")?).unwrap())
}

async fn code(builder: VerifierBuilder, token: &str) -> &'static str {
    let verified = builder.build().unwrap().verify(token).await;
    verified.map_or_else(|cause| cause.code(), |_| "verified")
}

/// Serves a document, and counts how often.
async fn serve(document: Vec<u8>) -> (SocketAddr, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let answer = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(document.clone())
    };
    let router = Router::new().route("/oauth2/v3/certs", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, count)
}

#[tokio::test]
async fn the_genuine_token_verifies_inside_its_life_with_googles_own_keys() {
    let (Some([genuine, ..]), Some(keys)) = (tokens(), google_keys()) else { return };
    let verifier = builder(GENUINE_AUDIENCE).fixed_keys(keys).build().unwrap();
    let token = verifier.verify(&genuine).await.unwrap();
    let email = "integration-tests@chingor-test.iam.gserviceaccount.com";
    assert_eq!(token.email(), Some(email));
    assert_eq!(token.subject(), "104029292853099978293");
    assert_eq!(token.audience().as_str(), GENUINE_AUDIENCE);
    assert_eq!(token.issued_at(), i64::try_from(ISSUED).unwrap());
    assert_eq!(token.expires_at(), i64::try_from(EXPIRES).unwrap());
    assert_eq!(token.authorized_party(), Some(email));
}

#[tokio::test]
async fn the_genuine_token_verifies_with_keys_that_came_over_a_socket() {
    let (Some([genuine, _, other]), Some(document)) =
        (tokens(), read("google/federated_keys.json"))
    else {
        return;
    };
    let (address, fetches) = serve(document).await;
    let url = KeyUrl::parse(&format!("http://{address}/oauth2/v3/certs"), true).unwrap();
    let verifier = builder(GENUINE_AUDIENCE).key_url(url.clone()).build().unwrap();
    assert!(verifier.verify(&genuine).await.is_ok());
    assert!(verifier.verify(&genuine).await.is_ok());
    assert_eq!(fetches.load(Ordering::Relaxed), 1);

    let tasks = "https://cloudtasks.googleapis.com/v2/projects/gcloud-devel/locations";
    let builder = builder(tasks).key_url(url).clock(at(1_660_877_073));
    assert_eq!(code(builder, &other).await, "unknown_key");
}

#[tokio::test]
async fn the_genuine_token_is_refused_outside_its_life_and_for_another_audience() {
    let Some([genuine, ..]) = tokens() else { return };
    let keys = || google_keys().unwrap();
    let right = || builder(GENUINE_AUDIENCE).fixed_keys(keys());
    assert_eq!(code(right().clock(Arc::new(SystemClock)), &genuine).await, "expired");
    for (time, expected) in [
        (ISSUED - 61, "not_yet_valid"),
        (ISSUED - 60, "verified"),
        (EXPIRES + 59, "verified"),
        (EXPIRES + 60, "expired"),
    ] {
        assert_eq!(code(right().clock(at(time)), &genuine).await, expected, "{time}");
    }
    for audience in ["https://example.com", "https://example.com/path/", "https://example.org/path"]
    {
        let builder = builder(audience).fixed_keys(keys());
        assert_eq!(code(builder, &genuine).await, "wrong_audience", "{audience}");
    }
}

#[tokio::test]
async fn the_genuine_token_is_refused_where_its_key_is_gone() {
    let (Some([genuine, ..]), Some(mut keys)) = (tokens(), json("google/federated_keys.json"))
    else {
        return;
    };
    keys["keys"].as_array_mut().unwrap().retain(|key| key["kid"] != GENUINE_KID);
    let rest = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    assert_eq!(code(builder(GENUINE_AUDIENCE).fixed_keys(rest), &genuine).await, "unknown_key");
    // Another genuine key of Google's under its kid.
    keys["keys"][0]["kid"] = GENUINE_KID.into();
    let swapped = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    let builder = builder(GENUINE_AUDIENCE).fixed_keys(swapped);
    assert_eq!(code(builder, &genuine).await, "wrong_signature");
}

#[tokio::test]
async fn every_change_of_one_bit_of_the_genuine_token_is_refused() {
    let (Some([genuine, ..]), Some(keys)) = (tokens(), google_keys()) else { return };
    let verifier = builder(GENUINE_AUDIENCE).fixed_keys(keys).build().unwrap();
    for at in 0..genuine.len() {
        for bit in 0..7 {
            let mut bytes = genuine.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verifier.verify(&changed).await.is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[tokio::test]
async fn tokens_of_iap_and_of_a_forgotten_key_are_refused() {
    let (Some([_, iap, forgotten]), Some(iap_keys)) = (tokens(), read("google/iap_keys.json"))
    else {
        return;
    };
    let audience = "/projects/652562776798/apps/cloud-samples-tests-php-iap";
    let keys = || google_keys().unwrap();
    let inside = || builder(audience).clock(at(1_584_047_017)).fixed_keys(keys());
    assert_eq!(code(inside(), &iap).await, "wrong_algorithm");
    let willing = inside().issuers(["https://cloud.google.com/iap"]);
    assert_eq!(code(willing, &iap).await, "wrong_algorithm");
    let error = KeySet::parse(&iap_keys).unwrap_err();
    let DocumentError::NoUsableKey { skipped } = error else { panic!("{error}") };
    assert!(skipped.iter().all(|key| key.fault == KeyFault::NotRsa), "{skipped:?}");

    let audience = "https://cloudtasks.googleapis.com/v2/projects/gcloud-devel/locations";
    let builder = builder(audience).clock(at(1_660_877_073)).fixed_keys(keys());
    assert_eq!(code(builder, &forgotten).await, "unknown_key");
}

#[tokio::test]
async fn a_set_of_unusable_keys_has_none_and_does_no_harm() {
    let (Some([genuine, ..]), Some(document)) = (tokens(), read("google/federated-certs.json"))
    else {
        return;
    };
    let error = KeySet::parse(&document).unwrap_err();
    let DocumentError::NoUsableKey { skipped } = &error else { panic!("{error}") };
    assert_eq!(skipped.len(), 2);
    assert!(error.to_string().contains("n or e"), "{error}");

    let (address, _) = serve(document).await;
    let url = KeyUrl::parse(&format!("http://{address}/oauth2/v3/certs"), true).unwrap();
    assert_eq!(code(builder(GENUINE_AUDIENCE).key_url(url), &genuine).await, "no_keys");
}

/// jsonwebtoken#540 and its kind: with no process-wide crypto provider, or two, others panic at the first token.
#[tokio::test]
async fn no_process_wide_crypto_provider_is_needed_or_installed() {
    let none = || rustls::crypto::CryptoProvider::get_default().is_none();
    assert!(none());
    // With Google's own URL, so that a client for https is built.
    let verifier = Verifier::builder().audience("https://called.example".parse().unwrap()).build();
    assert_eq!(verifier.unwrap().verify("a.b.c").await.unwrap_err().code(), "malformed_token");
    if let (Some([genuine, ..]), Some(keys)) = (tokens(), google_keys()) {
        assert_eq!(code(builder(GENUINE_AUDIENCE).fixed_keys(keys), &genuine).await, "verified");
    }
    assert!(none());
}

// ---- published vectors ----

/// Refusals that come after shape and header were found to be in order.
const BEYOND_THE_HEADER: [&str; 3] = ["malformed_payload", "missing_claim", "malformed_claim"];

/// Whether the called side takes this for a JWS of one of these keys.
async fn accepts(keys: &Value, jws: &str) -> bool {
    let parse = || KeySet::parse(keys.to_string().as_bytes());
    let Ok(set) = parse() else { return false };
    let builder = builder(GENUINE_AUDIENCE).fixed_keys(parse().unwrap());
    let code = code(builder, jws).await;
    assert_ne!(code, "verified", "no vector has claims: {jws}");
    if !BEYOND_THE_HEADER.contains(&code) {
        return false;
    }
    let jws = CompactJws::parse(jws).unwrap();
    let header: Value = serde_json::from_slice(jws.header()).unwrap();
    let key = set.key(header["kid"].as_str().unwrap());
    key.is_some_and(|key| key.verifies(jws.signing_input(), &jws.signature().unwrap()))
}

/// The keys of a group: public ones where it has them. HMAC groups have private ones only, which we must not take.
fn keys(group: &Value) -> Value {
    let keys = group.get("public").filter(|keys| keys.is_object()).unwrap_or(&group["private"]);
    if keys.get("keys").is_some() { keys.clone() } else { json!({ "keys": [keys] }) }
}

fn is_rs256(keys: &Value, jws: &str) -> bool {
    let header = CompactJws::parse(jws).ok().and_then(|jws| {
        let header: Option<Value> = serde_json::from_slice(jws.header()).ok();
        header
    });
    let of_key = keys["keys"].as_array().unwrap().iter().all(|key| {
        key["kty"] == "RSA" && key.get("alg").is_none_or(|algorithm| algorithm == "RS256")
    });
    of_key && header.is_some_and(|header| header["alg"] == "RS256")
}

/// Runs a file of JWS vectors: of the RS256 ones the file decides, all others are refused. Returns how many were
/// accepted. `exceptions` are numbers of tests that we decide otherwise, each with its reason.
async fn decide(file: &Value, exceptions: &[(u64, &str)]) -> usize {
    let (mut accepted, mut met) = (0, Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        let keys = keys(group);
        for test in group["tests"].as_array().unwrap() {
            let (number, jws) = (test["tcId"].as_u64().unwrap(), test["jws"].as_str().unwrap());
            let ours = accepts(&keys, jws).await;
            let theirs = test["result"] == "valid" && is_rs256(&keys, jws);
            if exceptions.iter().any(|(exception, _)| *exception == number) {
                assert_ne!(ours, theirs, "test {number} is no exception: {}", test["comment"]);
                met.push(number);
            } else {
                assert_eq!(
                    ours, theirs,
                    "test {number}, {}: {}",
                    group["comment"], test["comment"]
                );
            }
            accepted += usize::from(ours);
        }
    }
    assert_eq!(met, exceptions.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    accepted
}

#[tokio::test]
async fn wycheproof_jws_rs256_vectors_are_decided_as_they_say_and_all_others_refused() {
    let Some(file) = json("wycheproof/json_web_signature_test.json") else { return };
    assert_eq!(file["numberOfTests"], 401);
    assert_eq!(decide(&file, &[]).await, 8);
}

#[tokio::test]
async fn wycheproof_jwk_vectors_are_decided_as_they_say_where_they_are_rs256() {
    let Some(file) = json("wycheproof/json_web_key_test.json") else { return };
    // A key made by a chip with the ROCA flaw (CVE-2017-15361). The keys of a set are Google's, fetched over https from
    // Google: whether their makers chose primes well cannot be mended here.
    let exceptions = [(7, "rejectsKeyWithRocaVulnerability")];
    assert_eq!(decide(&file, &exceptions).await, 2);
}

#[test]
fn wycheproof_pkcs1_signatures_are_decided_as_they_say() {
    for (name, valid, left_out) in [
        ("wycheproof/rsa_signature_2048_sha256_test.json", 7, 2),
        ("wycheproof/rsa_signature_4096_sha256_test.json", 7, 0),
    ] {
        let Some(file) = json(name) else { return };
        let (mut accepted, mut of_weak_keys) = (0, 0);
        for group in file["testGroups"].as_array().unwrap() {
            assert_eq!(group["sha"], "SHA-256");
            let mut key = group["keyJwk"].clone();
            key["kid"] = "vector".into();
            let set = match KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()) {
                Ok(set) => set,
                // Keys with the exponent 3 are not taken at all, so what they sign is refused, valid or not.
                Err(DocumentError::NoUsableKey { skipped }) => {
                    assert_eq!(skipped[0].fault, KeyFault::Exponent);
                    assert_eq!(group["publicKey"]["publicExponent"], "03");
                    of_weak_keys += group["tests"].as_array().unwrap().len();
                    continue;
                }
                Err(error) => panic!("{name}: {error}"),
            };
            let key = set.key("vector").unwrap();
            for test in group["tests"].as_array().unwrap() {
                let bytes = |name: &str| unhex(test[name].as_str().unwrap());
                let ours = key.verifies(&bytes("msg"), &bytes("sig"));
                // "acceptable" is one signature without the NULL in its DigestInfo, which old signers wrote. RFC 8017
                // section 9.2 wants it there; nobody signs so any more, and we refuse it.
                let theirs = test["result"] == "valid";
                assert_eq!(ours, theirs, "{name}, test {}: {}", test["tcId"], test["comment"]);
                accepted += usize::from(ours);
            }
        }
        assert_eq!((accepted, of_weak_keys), (valid, left_out), "{name}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[tokio::test]
async fn the_jose_cookbooks_rs256_signature_verifies_and_all_its_others_are_refused() {
    let Some(first) = json("jose_cookbook/4_1.rsa_v15_signature.json") else { return };
    let keys = json!({ "keys": [first["input"]["key"]] });
    let compact = first["output"]["compact"].as_str().unwrap();
    assert!(accepts(&keys, compact).await);
    for form in ["json", "json_flat"] {
        assert!(!accepts(&keys, &first["output"][form].to_string()).await, "{form}");
    }
    for name in [
        "4_2.rsa-pss_signature",
        "4_3.ecdsa_signature",
        "4_4.hmac-sha2_integrity_protection",
        "4_5.signature_with_detached_content",
        "4_6.protecting_specific_header_fields",
        "4_7.protecting_content_only",
        "4_8.multiple_signatures",
    ] {
        let file = json(&format!("jose_cookbook/{name}.json")).unwrap();
        let own = match &file["input"]["key"] {
            Value::Array(keys) => json!({ "keys": keys }),
            key => json!({ "keys": [key] }),
        };
        for (form, text) in file["output"].as_object().unwrap() {
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            assert!(!accepts(&own, &text).await, "{name}, {form}, its own key");
            assert!(!accepts(&keys, &text).await, "{name}, {form}, the RSA key");
        }
    }
}
