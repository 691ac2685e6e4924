use super::*;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use serde_json::{Value, json};

/// `n` and `e` of a fresh key, out of its PKCS#1 DER (two INTEGERs in a SEQUENCE).
fn modulus(size: KeySize) -> String {
    let pair = KeyPair::generate(size).unwrap();
    let der = pair.public_key().as_ref().to_vec();
    let length = pair.public_modulus_len();
    // …, 00, n, 02 03 01 00 01
    let end = der.len() - 5;
    URL_SAFE_NO_PAD.encode(&der[end - length..end])
}

fn jwk(kid: &str) -> Value {
    json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": modulus(KeySize::Rsa2048), "e": "AQAB"})
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn parse(keys: &[Value]) -> Result<KeySet, DocumentError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn keys_are_vetted_one_by_one() {
    let good = jwk("good");
    let faults = [
        (with(good.clone(), "kid", json!(7)), KeyFault::KeyId),
        (with(good.clone(), "kid", json!("")), KeyFault::KeyId),
        (with(good.clone(), "kid", json!("k".repeat(257))), KeyFault::KeyId),
        (json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}), KeyFault::NotRsa),
        (json!({"kty": "EC", "kid": "a", "crv": "P-999", "x": "", "y": ""}), KeyFault::NotRsa),
        (with(good.clone(), "use", json!("enc")), KeyFault::Use),
        (with(good.clone(), "key_ops", json!(["sign"])), KeyFault::Use),
        (with(good.clone(), "alg", json!("RS512")), KeyFault::Algorithm),
        (with(good.clone(), "alg", json!("HS256")), KeyFault::Algorithm),
        (with(good.clone(), "n", json!("testdata-1")), KeyFault::Encoding),
        (with(good.clone(), "n", json!("")), KeyFault::Encoding),
        (with(good.clone(), "n", json!("AAAB")), KeyFault::Encoding),
        (with(good.clone(), "n", json!("a=b")), KeyFault::Encoding),
        (with(good.clone(), "n", json!("_".repeat(172))), KeyFault::Modulus),
        (with(good.clone(), "n", json!("_".repeat(1_372))), KeyFault::Modulus),
        (with(good.clone(), "e", json!("AQ")), KeyFault::Exponent),
        (with(good.clone(), "e", json!("Aw")), KeyFault::Exponent),
        (with(good.clone(), "e", json!("AQAA")), KeyFault::Exponent),
        (with(good.clone(), "e", json!("AQAAAAE")), KeyFault::Exponent),
        (with(good.clone(), "n", json!(5)), KeyFault::NotAJwk),
        (json!("x"), KeyFault::NotAJwk),
        (json!({"kid": "a"}), KeyFault::NotAJwk),
    ];
    for (bad, fault) in faults {
        let set = parse(&[bad.clone(), good.clone()]).unwrap();
        assert_eq!(set.skipped().iter().map(|key| key.fault).collect::<Vec<_>>(), [fault], "{bad}");
        assert!(set.key("good").is_some() && set.len() == 1, "{bad}");
    }
}

#[test]
fn a_kid_that_stands_for_two_keys_stands_for_none() {
    let other = jwk("other");
    let set = parse(&[jwk("twice"), jwk("twice"), other.clone()]).unwrap();
    assert!(set.key("twice").is_none() && set.key("other").is_some());
    assert_eq!(set.skipped()[0].fault, KeyFault::Ambiguous);

    let set = parse(&[other.clone(), other]).unwrap();
    assert!(set.key("other").is_some(), "the same key twice is one key");
}

#[test]
fn a_set_without_a_usable_key_is_an_error_that_says_why() {
    for document in ["", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
        assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), DocumentError::NotAKeySet);
    }
    assert_eq!(parse(&[]).unwrap_err().to_string(), "the key set has no usable key");
    let error = parse(&[json!({"kty": "EC", "kid": "x"})]).unwrap_err();
    assert_eq!(error.to_string(), "the key set has no usable key; key \"x\": its kty is not RSA");
    let many = vec![json!({}); MAX_KEYS + 1];
    assert_eq!(parse(&many).unwrap_err(), DocumentError::TooMany { found: MAX_KEYS + 1 });
}

#[test]
fn sets_are_the_same_by_their_keys() {
    let (a, b) = (jwk("a"), jwk("b"));
    let set = |keys: &[Value]| parse(keys).unwrap();
    assert!(set(&[a.clone(), b.clone()]).is_same_as(&set(&[b.clone(), a.clone()])));
    assert!(!set(&[a.clone(), b.clone()]).is_same_as(&set(std::slice::from_ref(&a))));
    let swapped = with(a.clone(), "n", b["n"].clone());
    assert!(!set(&[a]).is_same_as(&set(&[swapped])));
}

#[test]
fn debug_of_a_key_is_short() {
    let set = parse(&[jwk("a")]).unwrap();
    assert!(format!("{set:?}").contains("RSA public key of 256 bytes"));
}
