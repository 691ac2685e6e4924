//! How each bad token is made.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::json;

use super::draft::{Draft, Members, encode};
use super::{BadToken, Bench, access_token, jwe};

/// What Cloud Run puts where the signature was.
const REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";
const HOUR: i64 = 3600;

/// Where a corruption takes hold.
enum Corruption {
    /// The claims are changed, then signed as ever.
    Claims(fn(&mut Members, &Bench<'_>)),
    /// The header is changed, then signed as ever.
    Header(fn(&mut Members)),
    /// The draft is not signed as ever.
    Signing(fn(Draft, &Bench<'_>) -> String),
    /// The good token is damaged.
    Text(fn(&str) -> String),
}

pub(super) fn apply(bad: BadToken, mut draft: Draft, bench: &Bench<'_>) -> String {
    match of(bad) {
        Corruption::Claims(change) => change(&mut draft.claims, bench),
        Corruption::Header(change) => change(&mut draft.header),
        Corruption::Signing(sign) => return sign(draft, bench),
        Corruption::Text(damage) => return damage(&draft.signed(&bench.google.keys.current())),
    }
    draft.signed(&bench.google.keys.current())
}

/// The table. Longer than a function should be, because it is one.
fn of(bad: BadToken) -> Corruption {
    use BadToken as Bad;
    use Corruption::{Claims, Header, Signing, Text};
    match bad {
        Bad::Garbage => Text(|_| ["not", "a", "token"].map(encode).join(".")),
        Bad::AccessToken => Text(|_| access_token()),

        Bad::Expired => Claims(|c, b| c.times(b.now - 2 * HOUR, b.now - HOUR)),
        Bad::NotYetValid => Claims(|c, b| {
            c.set("nbf", json!(b.now + HOUR));
            c.times(b.now, b.now + 2 * HOUR);
        }),
        Bad::IssuedInTheFuture => Claims(|c, b| c.times(b.now + HOUR, b.now + 2 * HOUR)),
        Bad::NotBeforeAsString => Claims(|c, b| c.set("nbf", json!((b.now + HOUR).to_string()))),
        Bad::NoExpiry => Claims(|c, _| c.remove("exp")),
        Bad::NoIssuedAt => Claims(|c, _| c.remove("iat")),
        Bad::LifetimeOver24h => Claims(|c, b| c.times(b.now, b.now + 25 * HOUR)),
        Bad::ExpAsString => Claims(|c, b| c.set("exp", json!((b.now + HOUR).to_string()))),
        Bad::ExpAsFloat => Claims(|c, b| c.set_raw("exp", format!("{}.5", b.now + HOUR))),

        Bad::WrongAudience => Claims(|c, _| c.set("aud", json!("https://somebody-else.example"))),
        Bad::AudienceArrayOfTwo => Claims(|c, _| {
            let right = c.text("aud");
            c.set("aud", json!([right, "https://somebody-else.example"]));
        }),
        Bad::AudienceNumber => Claims(|c, _| c.set("aud", json!(123))),
        Bad::NoAudience => Claims(|c, _| c.remove("aud")),
        Bad::AudienceTrailingSlash => Claims(|c, _| c.append("aud", "/")),
        Bad::AudienceWithQuery => Claims(|c, _| c.append("aud", "?foo=bar")),

        Bad::WrongIssuer => Claims(|c, _| c.set("iss", json!("https://issuer.example"))),
        Bad::IssuerArray => Claims(|c, _| c.set("iss", json!([super::ISSUER]))),
        Bad::NoIssuer => Claims(|c, _| c.remove("iss")),
        Bad::IssuerPrefix => Claims(|c, _| c.append("iss", ".evil.example")),

        Bad::EmailUnverified => Claims(|c, _| c.set("email_verified", json!(false))),
        Bad::EmailVerifiedAsString => Claims(|c, _| c.set("email_verified", json!("true"))),
        Bad::NoEmail => Claims(|c, _| {
            c.remove("email");
            c.remove("email_verified");
        }),
        Bad::NoSub => Claims(|c, _| c.remove("sub")),
        Bad::SubAsNumber => Claims(|c, _| c.set("sub", json!(1_234_567_890_123_u64))),
        Bad::DuplicateClaim => {
            Claims(|c, _| c.prepend("email", json!("somebody-else@demo.iam.gserviceaccount.com")))
        }
        Bad::ClaimsArray => Signing(claims_array),

        Bad::DuplicateHeader => Header(|h| h.prepend("alg", json!("none"))),
        Bad::NoKid => Header(|h| h.remove("kid")),
        Bad::KidTooLong => Header(|h| h.set("kid", json!("k".repeat(300)))),
        Bad::KidAsNumber => Header(|h| h.set("kid", json!(1))),
        Bad::KidPathTraversal => Signing(|d, b| {
            forged(d, b, |h| {
                h.set("kid", json!("../../../../../../dev/null"));
            })
        }),
        Bad::Crit => Header(|h| {
            h.set("crit", json!(["https://example.com/must-understand"]));
            h.set("https://example.com/must-understand", json!(true));
        }),
        Bad::B64False => Header(|h| h.set("b64", json!(false))),
        Bad::Zip => Header(|h| h.set("zip", json!("DEF"))),
        Bad::Cty => Signing(nested),

        Bad::ForgedSameKid => Signing(|d, b| forged(d, b, |_| ())),
        Bad::UnknownKid => Signing(|d, b| {
            let kid = b.forger().kid().to_owned();
            forged(d, b, |h| h.set("kid", json!(kid)))
        }),
        Bad::JwkInHeader => Signing(|d, b| {
            let key = b.forger();
            forged(d, b, |h| {
                h.set("kid", json!(key.kid()));
                h.set("jwk", key.jwk());
            })
        }),
        Bad::JkuInHeader => Signing(|d, b| forged_with_link(d, b, "jku", "/canary/jwks")),
        Bad::X5cInHeader => Signing(|d, b| {
            let certificate = STANDARD.encode(b.forger().certificate().der());
            forged(d, b, |h| h.set("x5c", json!([certificate])))
        }),
        Bad::X5uInHeader => Signing(|d, b| forged_with_link(d, b, "x5u", "/canary/certificate")),

        Bad::AlgNone => Signing(|d, _| unsigned(d, "none")),
        Bad::AlgNoneMixedCase => Signing(|d, _| unsigned(d, "nOnE")),
        Bad::AlgHs256WithPublicPem => {
            Signing(|d, b| hs256(d, b.google.keys.current().public_pem().as_bytes()))
        }
        Bad::AlgHs256EmptySecret => Signing(|d, _| hs256(d, b"")),
        Bad::AlgRs512 => Signing(|d, b| with_algorithm(d, b, "RS512")),
        Bad::AlgPs256 => Signing(|d, b| with_algorithm(d, b, "PS256")),
        Bad::AlgEs256 => Signing(es256),

        Bad::SignatureEmpty => Text(|token| with_signature(token, "")),
        Bad::SignatureTruncated => Signing(|d, b| {
            let mut signature = b.google.keys.current().sign(d.signing_input().as_bytes());
            signature.pop();
            d.with_signature(signature)
        }),
        Bad::SignatureOfAnother => Signing(|d, b| {
            let mut other = d.clone();
            other.claims.set("sub", json!("somebody else"));
            d.with_signature(b.google.keys.current().sign(other.signing_input().as_bytes()))
        }),
        Bad::SignatureRemovedByGoogle => Text(|token| with_signature(token, REMOVED)),
        Bad::StrippedForged => Signing(|mut d, _| {
            // Whoever forges knows the address and the published kid, and has to guess the unique id.
            d.claims.set("sub", json!("100000000000000000001"));
            d.claims.set("azp", json!("100000000000000000001"));
            format!("{}.{REMOVED}", d.signing_input())
        }),

        Bad::FivePartsJwe => {
            Signing(|d, b| jwe::around(&d.claims.json(), &b.google.keys.current()))
        }
        Bad::TwoParts => Signing(|d, _| d.signing_input()),
        Bad::JsonSerialization => Text(json_serialization),
        Bad::PaddedBase64 => Signing(padded),
        Bad::NonCanonicalBase64 => Text(trailing_bits),
        Bad::Whitespace => Text(|token| {
            let (before, after) = token.split_at(token.len() - 40);
            format!("{before} {after}")
        }),
        Bad::Oversized => Claims(|c, _| c.set("padding", json!("x".repeat(16 * 1024)))),
        Bad::DeeplyNested => {
            Claims(|c, _| c.set_raw("deep", "[".repeat(2_000) + &"]".repeat(2_000)))
        }
    }
}

impl Bench<'_> {
    fn forger(&self) -> std::sync::Arc<crate::emulator::keys::SigningKey> {
        self.google.keys.forger(self.now)
    }
}

impl Members {
    fn times(&mut self, issued: i64, expires: i64) {
        self.set("iat", json!(issued));
        self.set("exp", json!(expires));
    }

    fn append(&mut self, name: &str, tail: &str) {
        let whole = self.text(name).unwrap_or_default() + tail;
        self.set(name, json!(whole));
    }
}

fn forged(mut draft: Draft, bench: &Bench<'_>, header: impl FnOnce(&mut Members)) -> String {
    header(&mut draft.header);
    draft.signed(&bench.forger())
}

fn forged_with_link(draft: Draft, bench: &Bench<'_>, member: &str, path: &str) -> String {
    let (kid, url) = (bench.forger().kid().to_owned(), format!("{}{path}", bench.google.url()));
    forged(draft, bench, |header| {
        header.set("kid", json!(kid));
        header.set(member, json!(url));
    })
}

fn unsigned(mut draft: Draft, algorithm: &str) -> String {
    draft.header.set("alg", json!(algorithm));
    draft.with_signature("")
}

fn hs256(mut draft: Draft, secret: &[u8]) -> String {
    draft.header.set("alg", json!("HS256"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, draft.signing_input().as_bytes());
    draft.with_signature(tag)
}

fn with_algorithm(mut draft: Draft, bench: &Bench<'_>, algorithm: &str) -> String {
    draft.header.set("alg", json!(algorithm));
    let input = draft.signing_input();
    let key = bench.google.keys.current();
    draft.with_signature(match algorithm {
        "RS512" => key.sign_as(&RSA_PKCS1_SHA512, input.as_bytes()),
        _ => key.sign_as(&RSA_PSS_SHA256, input.as_bytes()),
    })
}

fn es256(mut draft: Draft, _: &Bench<'_>) -> String {
    draft.header.set("alg", json!("ES256"));
    let input = draft.signing_input();
    let signature = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .and_then(|key| key.sign(&SystemRandom::new(), input.as_bytes()));
    // Should the generator ever refuse, 64 zero bytes are as bad an ES256 signature as any.
    let signature = signature.map_or_else(|_| vec![0; 64], |signature| signature.as_ref().to_vec());
    draft.with_signature(signature)
}

fn claims_array(draft: Draft, bench: &Bench<'_>) -> String {
    let payload = format!("[{}]", draft.claims.json());
    sign_text(encode(draft.header.json()), encode(payload), bench)
}

fn nested(mut draft: Draft, bench: &Bench<'_>) -> String {
    let inner = draft.signed(&bench.google.keys.current());
    draft.header.set("cty", json!("JWT"));
    sign_text(encode(draft.header.json()), encode(inner), bench)
}

fn padded(draft: Draft, bench: &Bench<'_>) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE.encode(draft.header.json()),
        URL_SAFE.encode(draft.claims.json())
    );
    let signature = bench.google.keys.current().sign(input.as_bytes());
    // 256 bytes never fill their last group: the signature is padded in any case.
    format!("{input}.{}", URL_SAFE.encode(signature))
}

fn sign_text(header: String, payload: String, bench: &Bench<'_>) -> String {
    let input = format!("{header}.{payload}");
    let signature = bench.google.keys.current().sign(input.as_bytes());
    format!("{input}.{}", encode(signature))
}

fn with_signature(token: &str, signature: &str) -> String {
    let input = token.rsplit_once('.').map_or(token, |(input, _)| input);
    format!("{input}.{signature}")
}

fn json_serialization(token: &str) -> String {
    let mut parts = token.split('.');
    let mut part = || parts.next().unwrap_or_default();
    let (protected, payload, signature) = (part(), part(), part());
    json!({ "protected": protected, "payload": payload, "signature": signature }).to_string()
}

/// 256 bytes leave four bits of the last character unused: sets the lowest.
fn trailing_bits(token: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = token.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut()
        && let Some(value) = ALPHABET.iter().position(|letter| letter == last)
    {
        *last = ALPHABET[value | 1];
    }
    String::from_utf8(bytes).unwrap_or_default()
}
