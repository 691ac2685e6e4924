//! How each bad token is made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::draft::{Draft, Members, encode};
use super::forgery::{
    es256, forged, forged_with_link, hs256, json_serialization, nested, padded, payload,
    trailing_bits, unsigned, with_algorithm, with_signature,
};
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

        Bad::ExpOverflow => Claims(|c, _| c.set_raw("exp", "9".repeat(40))),

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
        Bad::DuplicateEscapedClaim => Signing(|d, b| {
            let first = r#"{"\u0065mail":"somebody-else@demo.iam.gserviceaccount.com","#;
            payload(&d, d.claims.json().replacen('{', first, 1), b)
        }),
        Bad::DuplicateNestedClaim => {
            Claims(|c, _| c.set_raw("roles", r#"{"admin":false,"admin":true}"#.to_owned()))
        }
        Bad::ClaimsArray => Signing(|d, b| payload(&d, format!("[{}]", d.claims.json()), b)),
        Bad::ClaimsTrailingText => Signing(|d, b| payload(&d, d.claims.json() + "{}", b)),
        Bad::ClaimsNotUtf8 => Signing(|d, b| {
            let text = d.claims.json().into_bytes();
            let (last, rest) = text.split_last().unwrap_or((&b'}', &[]));
            payload(&d, [rest, b",\"extra\":\"\xff\"", &[*last]].concat(), b)
        }),

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

        Bad::NoAlg => Header(|h| h.remove("alg")),
        Bad::AlgLowerCase => Header(|h| h.set("alg", json!("rs256"))),
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
        Bad::FourParts => Text(|token| format!("{token}.{}", encode("{}"))),
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
    pub(super) fn forger(&self) -> std::sync::Arc<crate::emulator::keys::SigningKey> {
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
