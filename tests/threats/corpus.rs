//! Every bad token that the emulator knows by name: the right code, status and challenge, and a fetch of keys only
//! where the token could have been good.

use countersign::emulator::{BadToken, Emulator, Endpoint, Fault, FaultKind, TokenSpec};

use crate::support::{AUDIENCE, CALLER_MEMBER, Guarded, policy, verifier};

/// What becomes of a bad token.
struct Expected {
    status: u16,
    code: &'static str,
    /// Its keys have to be known before it can be refused.
    plausible: bool,
}

const fn hopeless(code: &'static str) -> Expected {
    Expected { status: 401, code, plausible: false }
}

const fn plausible(status: u16, code: &'static str) -> Expected {
    Expected { status, code, plausible: true }
}

fn expected(bad: BadToken) -> Expected {
    use BadToken as Bad;
    match bad {
        Bad::AccessToken => hopeless("access_token"),

        Bad::Expired => hopeless("expired"),
        Bad::NotYetValid | Bad::IssuedInTheFuture => hopeless("not_yet_valid"),
        Bad::LifetimeOver24h => hopeless("wrong_lifetime"),
        Bad::NoExpiry | Bad::NoIssuedAt | Bad::NoAudience | Bad::NoIssuer | Bad::NoSub => {
            hopeless("missing_claim")
        }
        Bad::NotBeforeAsString
        | Bad::ExpAsString
        | Bad::ExpAsFloat
        | Bad::ExpOverflow
        | Bad::AudienceArrayOfTwo
        | Bad::AudienceNumber
        | Bad::IssuerArray
        | Bad::EmailVerifiedAsString
        | Bad::SubAsNumber => hopeless("malformed_claim"),
        Bad::WrongAudience | Bad::AudienceTrailingSlash | Bad::AudienceWithQuery => {
            hopeless("wrong_audience")
        }
        Bad::WrongIssuer | Bad::IssuerPrefix => hopeless("wrong_issuer"),
        Bad::DuplicateClaim
        | Bad::DuplicateEscapedClaim
        | Bad::DuplicateNestedClaim
        | Bad::ClaimsArray
        | Bad::ClaimsTrailingText
        | Bad::ClaimsNotUtf8
        | Bad::DeeplyNested => hopeless("malformed_payload"),

        Bad::Garbage | Bad::DuplicateHeader => hopeless("malformed_header"),
        Bad::NoKid | Bad::KidTooLong | Bad::KidAsNumber => hopeless("malformed_key_id"),
        Bad::Crit | Bad::B64False | Bad::Zip | Bad::Cty => hopeless("unsupported_header"),
        Bad::NoAlg
        | Bad::AlgLowerCase
        | Bad::AlgNone
        | Bad::AlgNoneMixedCase
        | Bad::AlgHs256WithPublicPem
        | Bad::AlgHs256EmptySecret
        | Bad::AlgRs512
        | Bad::AlgPs256
        | Bad::AlgEs256 => hopeless("wrong_algorithm"),

        Bad::SignatureEmpty | Bad::SignatureTruncated => hopeless("wrong_signature"),
        Bad::SignatureRemovedByGoogle | Bad::StrippedForged => hopeless("signature_removed"),
        Bad::FivePartsJwe
        | Bad::TwoParts
        | Bad::FourParts
        | Bad::JsonSerialization
        | Bad::PaddedBase64
        | Bad::NonCanonicalBase64
        | Bad::Whitespace => hopeless("malformed_token"),
        Bad::Oversized => hopeless("token_too_long"),

        Bad::UnknownKid
        | Bad::JwkInHeader
        | Bad::JkuInHeader
        | Bad::X5uInHeader
        | Bad::KidPathTraversal => plausible(401, "unknown_key"),
        Bad::ForgedSameKid | Bad::X5cInHeader | Bad::SignatureOfAnother => {
            plausible(401, "wrong_signature")
        }
        Bad::EmailUnverified | Bad::NoEmail => plausible(403, "principal_not_allowed"),
        other => panic!("{other} is new: say here what becomes of it"),
    }
}

fn token(emulator: &Emulator, bad: BadToken) -> String {
    emulator.mint(&TokenSpec::for_audience(AUDIENCE).bad(bad))
}

async fn service(emulator: &Emulator) -> Guarded {
    Guarded::start(verifier(emulator).build().unwrap(), policy(&[CALLER_MEMBER])).await
}

async fn assert_refused(service: &Guarded, emulator: &Emulator, bad: BadToken) {
    let Expected { status, code, .. } = expected(bad);
    let answer = service.whoami(&token(emulator, bad)).await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{bad}: {answer:?}");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    if status == 401 {
        answer.assert_bad_token(code);
    } else {
        assert_eq!(
            challenge, "",
            "{bad}: a 403 is not mended by another token of the same account"
        );
    }
}

#[tokio::test]
async fn every_bad_token_is_refused_and_hopeless_ones_cause_no_fetch() {
    let emulator = Emulator::start().await.unwrap();
    let service = service(&emulator).await;
    let all = || BadToken::ALL.iter().copied();

    for bad in all().filter(|bad| !expected(*bad).plausible) {
        assert_refused(&service, &emulator, bad).await;
        assert_eq!(emulator.requests(Endpoint::Certs), 0, "{bad} caused a fetch");
    }
    for bad in all().filter(|bad| expected(*bad).plausible) {
        assert_refused(&service, &emulator, bad).await;
    }
    // One at the first plausible token, one for all unknown key ids in the cooldown.
    assert_eq!(emulator.requests(Endpoint::Certs), 2);
    assert_eq!(service.handled(), 0, "a handler ran for a bad token");

    let good = emulator.mint(&TokenSpec::for_audience(AUDIENCE));
    service.accepts(&good).await;
    for bad in all() {
        assert_refused(&service, &emulator, bad).await;
    }
    assert_eq!(emulator.requests(Endpoint::Certs), 2, "warm, none of them causes a fetch");
    assert_eq!(emulator.requests(Endpoint::Canary), 0, "a link in a token's header was followed");
}

#[tokio::test]
async fn with_the_keys_out_of_reach_plausible_ones_get_503_and_hopeless_ones_401() {
    let emulator = Emulator::start().await.unwrap();
    emulator.inject(Fault::on(Endpoint::Certs, FaultKind::CloseConnection)).unwrap();
    let service = service(&emulator).await;

    for &bad in BadToken::ALL {
        if expected(bad).plausible {
            let answer = service.whoami(&token(&emulator, bad)).await;
            assert_eq!((answer.status, answer.code().as_str()), (503, "no_keys"), "{bad}");
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=30).contains(&seconds), "{bad}: Retry-After: {seconds}");
        } else {
            assert_refused(&service, &emulator, bad).await;
        }
    }
    assert_eq!(service.handled(), 0);
}
