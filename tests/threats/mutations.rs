//! Random changes of good tokens are never accepted; and what is accepted, a second reader accepts as well.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use countersign::inbound::Verifier;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::support::AUDIENCE;
use crate::support::signer::{Signer, claims, encode, now};

/// Nothing is remembered, so that each verdict is a whole verification.
fn verdict(token: &str) -> bool {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let verifier = VERIFIER
        .get_or_init(|| Signer::trusted().verifier().verified_token_bytes(0).build().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(verifier.verify(token)).is_ok()
}

/// The second reader: jsonwebtoken, with every check that it has switched on.
fn second_reader(token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(Signer::trusted().jwk()).unwrap();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&["https://accounts.google.com", "accounts.google.com"]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.validate_nbf = true;
    rules.leeway = 60;
    jsonwebtoken::decode::<Value>(token, &key, &rules).map(|token| token.claims)
}

fn good() -> &'static str {
    static GOOD: OnceLock<String> = OnceLock::new();
    GOOD.get_or_init(|| Signer::trusted().sign(&claims()))
}

#[test]
fn both_readers_accept_a_good_token() {
    assert!(verdict(good()));
    second_reader(good()).unwrap();
}

/// A change to the text of a token.
#[derive(Debug, Clone)]
enum Change {
    FlipBit(Index, u8),
    Replace(Index, char),
    Insert(Index, String),
    Remove(Index, Index),
    Truncate(Index),
    SwapParts(usize, usize),
    RepeatPart(usize),
    /// Another spelling of a part's bytes.
    Respell(usize, u8),
    /// A part of another token of the same signer.
    Transplant(usize),
    /// A part's bytes changed, in canonical spelling.
    Bytes(usize, Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    use Change as To;
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| To::FlipBit(at, bit)),
        (any::<Index>(), any::<char>()).prop_map(|(at, to)| To::Replace(at, to)),
        (any::<Index>(), "[ -~\\t\\n=.]{1,3}").prop_map(|(at, text)| To::Insert(at, text)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| To::Remove(from, to)),
        any::<Index>().prop_map(To::Truncate),
        (0_usize..3, 0_usize..3).prop_map(|(a, b)| To::SwapParts(a, b)),
        (0_usize..3).prop_map(To::RepeatPart),
        (0_usize..3, 0_u8..6).prop_map(|(part, how)| To::Respell(part, how)),
        (0_usize..3).prop_map(To::Transplant),
        (0_usize..3, any::<Index>(), 1_u8..=255).prop_map(|(part, at, by)| To::Bytes(part, at, by)),
    ]
}

fn apply(token: &str, change: &Change) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let boundary = |at: &Index| {
        let mut at = at.index(token.len());
        while !token.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let next = |at: usize| token[at..].chars().next().map_or(at, |sign| at + sign.len_utf8());
    match change {
        _ if token.is_empty() => return String::new(),
        Change::FlipBit(at, bit) => {
            let mut bytes = token.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Change::Replace(at, to) => {
            let at = boundary(at);
            return format!("{}{to}{}", &token[..at], &token[next(at)..]);
        }
        Change::Insert(at, text) => {
            let at = boundary(at);
            return format!("{}{text}{}", &token[..at], &token[at..]);
        }
        Change::Remove(from, to) => {
            let (from, to) = (boundary(from), boundary(to));
            return format!("{}{}", &token[..from.min(to)], &token[next(from.max(to))..]);
        }
        Change::Truncate(at) => return token[..boundary(at)].to_owned(),
        _ if parts.len() < 3 => return token.to_owned(),
        Change::SwapParts(a, b) => parts.swap(*a, *b),
        Change::RepeatPart(part) => parts.insert(*part, parts[*part].clone()),
        Change::Respell(part, how) => {
            let text = &parts[*part];
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text);
            let bytes = bytes.unwrap_or_default();
            parts[*part] = match how {
                0 => URL_SAFE.encode(bytes),
                1 => STANDARD_NO_PAD.encode(bytes),
                2 => STANDARD.encode(bytes),
                3 => format!("{text}="),
                4 => format!("{text}\n"),
                _ => text.to_ascii_lowercase(),
            };
        }
        Change::Transplant(part) => {
            let mut other = claims();
            // Another one for each part: two parts of one token would be a good one.
            other["sub"] = format!("another-{part}").into();
            let other = Signer::trusted().sign(&other);
            parts[*part] = other.split('.').nth(*part).unwrap().to_owned();
        }
        Change::Bytes(part, at, by) => {
            let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&parts[*part]);
            let mut bytes = decoded.unwrap_or_default();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
                parts[*part] = encode(bytes);
            }
        }
    }
    parts.join(".")
}

/// A value that might be anywhere.
fn odd_value() -> impl Strategy<Value = Value> {
    let now = now();
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-100_000_i64..100_000).prop_map(move |by| Value::from(now + by)),
        (-100_i64..100).prop_map(move |by| Value::from(now + by)),
        (-4_000_i64..4_000).prop_map(move |by| Value::from((now + by).to_string())),
        "\\PC{0,12}".prop_map(Value::from),
        select(vec![
            json!("https://accounts.google.com"),
            json!("accounts.google.com"),
            json!(AUDIENCE),
            json!([AUDIENCE]),
            json!([AUDIENCE, AUDIENCE]),
            json!(["https://accounts.google.com"]),
            json!("RS256"),
            json!("rs256"),
            json!("none"),
            json!("HS256"),
            json!("JWT"),
            json!("jwt"),
            json!("trusted"),
            json!({}),
            json!([]),
        ]),
    ]
}

fn edits(
    names: &'static [&'static str],
) -> impl Strategy<Value = Vec<(&'static str, Option<Value>)>> {
    let edit = (select(names), proptest::option::weighted(0.8, odd_value()));
    proptest::collection::vec(edit, 0..4)
}

fn edited(mut object: Value, edits: &[(&'static str, Option<Value>)]) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in edits {
        match value {
            Some(value) => members.insert((*name).to_owned(), value.clone()),
            None => members.remove(*name),
        };
    }
    object
}

const CLAIMS: &[&str] = &[
    "iss",
    "aud",
    "sub",
    "exp",
    "iat",
    "nbf",
    "email",
    "email_verified",
    "hd",
    "azp",
    "jti",
    "typ",
];
/// Not among them: `jwk`, `x5c` and the like, whose types the second reader checks and we do not look at.
const HEADER: &[&str] = &["alg", "kid", "typ", "cty", "crit", "b64", "zip", "custom"];

/// What may not be in a token that is accepted, written down a second time and without regard to the code.
fn assert_acceptable(header: &Value, claims: &Value) {
    let now = now();
    assert_eq!(header["alg"], "RS256");
    assert_eq!(header["kid"], "trusted");
    assert!(header.get("typ").is_none_or(|typ| typ == "JWT" || typ == "jwt"), "{header}");
    for name in ["crit", "b64", "zip", "cty"] {
        assert!(header.get(name).is_none(), "{header}");
    }
    let issuers = BTreeSet::from(["https://accounts.google.com", "accounts.google.com"]);
    assert!(claims["iss"].as_str().is_some_and(|iss| issuers.contains(iss)), "{claims}");
    assert!(claims["aud"] == AUDIENCE || claims["aud"] == json!([AUDIENCE]), "{claims}");
    assert!(claims["sub"].as_str().is_some_and(|sub| !sub.is_empty()), "{claims}");
    let (exp, iat) = (claims["exp"].as_i64().unwrap(), claims["iat"].as_i64().unwrap());
    assert!(exp > iat && exp - iat <= 86_400, "{claims}");
    // A second for the time between the verdict and this line.
    assert!(now - 61 < exp && iat <= now + 60, "{claims}");
    if let Some(nbf) = claims.get("nbf") {
        assert!(nbf.as_i64().unwrap() <= now + 60, "{claims}");
    }
    for (name, is) in [
        ("email", Value::is_string as fn(&Value) -> bool),
        ("email_verified", Value::is_boolean),
        ("hd", Value::is_string),
        ("azp", Value::is_string),
    ] {
        assert!(claims.get(name).is_none_or(is), "{claims}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_token_is_refused(changes in proptest::collection::vec(change(), 1..4)) {
        let token = changes.iter().fold(good().to_owned(), |token, change| apply(&token, change));
        // The header of every token of one signer is the same, so some changes change nothing.
        prop_assert_eq!(verdict(&token), token == good(), "{}", token);
    }

    #[test]
    fn what_we_accept_a_second_reader_accepts(header in edits(HEADER), payload in edits(CLAIMS)) {
        let signer = Signer::trusted();
        let (header, claims) = (edited(signer.header(), &header), edited(claims(), &payload));
        let token = signer.sign_text(&header.to_string(), &claims.to_string());
        if verdict(&token) {
            assert_acceptable(&header, &claims);
            // A NumericDate may lie before 1970; the second reader's are unsigned.
            prop_assume!(claims.get("nbf").is_none_or(|nbf| nbf.as_i64() >= Some(0)));
            let second = second_reader(&token);
            prop_assert!(second.is_ok(), "{:?} of {} {}", second, header, claims);
        } else {
            // Not vacuous: an untouched token is accepted.
            prop_assert!(header != signer.header() || !payload.is_empty());
        }
    }

    #[test]
    fn any_text_at_all_is_refused_without_a_panic(text in "\\PC{0,200}|[A-Za-z0-9_.-]{0,400}") {
        prop_assert!(!verdict(&text));
    }
}
