//! What forgers and careless issuers do to tokens: the pieces that the bad ones are made of.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::json;

use super::Bench;
use super::draft::{Draft, Members, encode};

pub(super) fn forged(
    mut draft: Draft,
    bench: &Bench<'_>,
    header: impl FnOnce(&mut Members),
) -> String {
    header(&mut draft.header);
    draft.signed(&bench.forger())
}

pub(super) fn forged_with_link(
    draft: Draft,
    bench: &Bench<'_>,
    member: &str,
    path: &str,
) -> String {
    let (kid, url) = (bench.forger().kid().to_owned(), format!("{}{path}", bench.google.url()));
    forged(draft, bench, |header| {
        header.set("kid", json!(kid));
        header.set(member, json!(url));
    })
}

pub(super) fn unsigned(mut draft: Draft, algorithm: &str) -> String {
    draft.header.set("alg", json!(algorithm));
    draft.with_signature("")
}

pub(super) fn hs256(mut draft: Draft, secret: &[u8]) -> String {
    draft.header.set("alg", json!("HS256"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, draft.signing_input().as_bytes());
    draft.with_signature(tag)
}

pub(super) fn with_algorithm(mut draft: Draft, bench: &Bench<'_>, algorithm: &str) -> String {
    draft.header.set("alg", json!(algorithm));
    let input = draft.signing_input();
    let key = bench.google.keys.current();
    draft.with_signature(match algorithm {
        "RS512" => key.sign_as(&RSA_PKCS1_SHA512, input.as_bytes()),
        _ => key.sign_as(&RSA_PSS_SHA256, input.as_bytes()),
    })
}

pub(super) fn es256(mut draft: Draft, _: &Bench<'_>) -> String {
    draft.header.set("alg", json!("ES256"));
    let input = draft.signing_input();
    let signature = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .and_then(|key| key.sign(&SystemRandom::new(), input.as_bytes()));
    // Should the generator ever refuse, 64 zero bytes are as bad an ES256 signature as any.
    let signature = signature.map_or_else(|_| vec![0; 64], |signature| signature.as_ref().to_vec());
    draft.with_signature(signature)
}

/// The draft's header over another payload.
pub(super) fn payload(draft: &Draft, payload: impl AsRef<[u8]>, bench: &Bench<'_>) -> String {
    let input = format!("{}.{}", encode(draft.header.json()), encode(payload));
    let signature = bench.google.keys.current().sign(input.as_bytes());
    format!("{input}.{}", encode(signature))
}

pub(super) fn nested(mut draft: Draft, bench: &Bench<'_>) -> String {
    let inner = draft.signed(&bench.google.keys.current());
    draft.header.set("cty", json!("JWT"));
    payload(&draft, inner, bench)
}

pub(super) fn padded(draft: Draft, bench: &Bench<'_>) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE.encode(draft.header.json()),
        URL_SAFE.encode(draft.claims.json())
    );
    let signature = bench.google.keys.current().sign(input.as_bytes());
    // 256 bytes never fill their last group: the signature is padded in any case.
    format!("{input}.{}", URL_SAFE.encode(signature))
}

pub(super) fn with_signature(token: &str, signature: &str) -> String {
    let input = token.rsplit_once('.').map_or(token, |(input, _)| input);
    format!("{input}.{signature}")
}

pub(super) fn json_serialization(token: &str) -> String {
    let mut parts = token.split('.');
    let mut part = || parts.next().unwrap_or_default();
    let (protected, payload, signature) = (part(), part(), part());
    json!({ "protected": protected, "payload": payload, "signature": signature }).to_string()
}

/// 256 bytes leave four bits of the last character unused: sets the lowest.
pub(super) fn trailing_bits(token: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = token.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut()
        && let Some(value) = ALPHABET.iter().position(|letter| letter == last)
    {
        *last = ALPHABET[value | 1];
    }
    String::from_utf8(bytes).unwrap_or_default()
}
