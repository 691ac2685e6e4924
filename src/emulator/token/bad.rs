//! The names of the deliberately bad tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! bad_tokens {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A way in which a token can be bad. Each has a stable name, which the admin API and the command line use.
        ///
        /// Unless the line of one says otherwise, everything else about the token is good: the emulator's current
        /// key signed it and the claims are those of the [`TokenSpec`](super::TokenSpec), so that a verifier that
        /// lets it by has missed exactly this one thing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum BadToken {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl BadToken {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What is wrong with it, in a sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_start(),)+ }
            }
        }
    };
}

bad_tokens! {
    // What is no ID token at all.
    /// Three dot-separated parts that are not JSON.
    Garbage = "garbage",
    /// An OAuth access token (`ya29.…`) where an ID token belongs.
    AccessToken = "access-token",

    // Times.
    /// Expired an hour ago.
    Expired = "expired",
    /// `nbf` is an hour ahead.
    NotYetValid = "not-yet-valid",
    /// `iat` is an hour ahead.
    IssuedInTheFuture = "issued-in-the-future",
    /// `nbf` is an hour ahead, but as a string, which a lenient parser takes for absent.
    NotBeforeAsString = "nbf-as-string",
    /// No `exp`.
    NoExpiry = "no-expiry",
    /// No `iat`, so that nobody can tell how long it was meant to live.
    NoIssuedAt = "no-issued-at",
    /// `exp` is 25 hours after `iat`.
    LifetimeOver24h = "lifetime-over-24h",
    /// `exp` is a string of digits.
    ExpAsString = "exp-as-string",
    /// `exp` has a fraction.
    ExpAsFloat = "exp-as-float",

    /// `exp` is larger than any integer that a program would hold it in.
    ExpOverflow = "exp-overflow",

    // Audience.
    /// `aud` is another service.
    WrongAudience = "wrong-audience",
    /// `aud` is an array that holds the right audience and another one.
    AudienceArrayOfTwo = "audience-array-of-two",
    /// `aud` is a number.
    AudienceNumber = "audience-number",
    /// No `aud`.
    NoAudience = "no-audience",
    /// `aud` is the right one with a slash too many at its end.
    AudienceTrailingSlash = "audience-trailing-slash",
    /// `aud` is the right one with a query string behind it.
    AudienceWithQuery = "audience-with-query",

    // Issuer.
    /// `iss` is somebody else.
    WrongIssuer = "wrong-issuer",
    /// `iss` is an array that holds Google's.
    IssuerArray = "issuer-array",
    /// No `iss`.
    NoIssuer = "no-issuer",
    /// `iss` only begins as Google's does.
    IssuerPrefix = "issuer-prefix",

    // Who.
    /// `email_verified` is false.
    EmailUnverified = "email-unverified",
    /// `email_verified` is the string "true".
    EmailVerifiedAsString = "email-verified-as-string",
    /// No `email`, as the metadata server mints without `format=full`: a good token that no list of addresses can admit.
    NoEmail = "no-email",
    /// No `sub`.
    NoSub = "no-sub",
    /// `sub` is a number.
    SubAsNumber = "sub-as-number",
    /// `email` comes twice: first somebody else's, then the account's.
    DuplicateClaim = "duplicate-claim",
    /// As `duplicate-claim`, with the first `email` spelt with an escape (`\u0065mail`).
    DuplicateEscapedClaim = "duplicate-escaped-claim",
    /// A member comes twice within a claim that is an object.
    DuplicateNestedClaim = "duplicate-nested-claim",
    /// The claims are an array.
    ClaimsArray = "claims-array",

    /// More text follows the claims' closing brace.
    ClaimsTrailingText = "claims-trailing-text",
    /// The claims are not UTF-8.
    ClaimsNotUtf8 = "claims-not-utf8",

    // Header.
    /// `alg` comes twice in the header: first `none`, then `RS256`.
    DuplicateHeader = "duplicate-header",
    /// No `kid`.
    NoKid = "no-kid",
    /// `kid` is 300 bytes long.
    KidTooLong = "kid-too-long",
    /// `kid` is a number.
    KidAsNumber = "kid-as-number",
    /// `kid` is a path to a file, signed by a forger.
    KidPathTraversal = "kid-path-traversal",
    /// The header says that an extension has to be understood (`crit`, RFC 7515 section 4.1.11).
    Crit = "crit",
    /// The header says `b64: false` (RFC 7797).
    B64False = "b64-false",
    /// The header says that the payload is compressed (`zip`).
    Zip = "zip",
    /// A token within a token: `cty: JWT`, and the payload is a good token.
    Cty = "cty",

    // Keys.
    /// Signed by another RSA key under the kid of the published one.
    ForgedSameKid = "forged-same-kid",
    /// Signed by another RSA key under its own kid, which nobody published.
    UnknownKid = "unknown-kid",
    /// A forger's signature, and the forger's key in the header (`jwk`).
    JwkInHeader = "jwk-in-header",
    /// A forger's signature, and a link to the forger's keys in the header (`jku`, to the emulator's canary).
    JkuInHeader = "jku-in-header",
    /// A forger's signature, and the forger's certificate in the header (`x5c`).
    X5cInHeader = "x5c-in-header",
    /// A forger's signature, and a link to the forger's certificate in the header (`x5u`, to the emulator's canary).
    X5uInHeader = "x5u-in-header",

    // Algorithms.
    /// No `alg`.
    NoAlg = "no-alg",
    /// `alg` is `rs256`: names of algorithms are case-sensitive.
    AlgLowerCase = "alg-lower-case",
    /// `alg` is none, and there is no signature.
    AlgNone = "alg-none",
    /// `alg` is none in mixed case (`nOnE`), and there is no signature.
    AlgNoneMixedCase = "alg-none-mixed-case",
    /// HS256 with the PEM of the published public key as its secret.
    AlgHs256WithPublicPem = "alg-hs256-with-public-pem",
    /// HS256 with an empty secret.
    AlgHs256EmptySecret = "alg-hs256-empty-secret",
    /// The right key, but RS512.
    AlgRs512 = "alg-rs512",
    /// The right key, but PS256.
    AlgPs256 = "alg-ps256",
    /// ES256 with a forger's P-256 key under the kid of the published RSA key.
    AlgEs256 = "alg-es256",

    // Signature.
    /// The signature is empty under an unchanged header.
    SignatureEmpty = "signature-empty",
    /// The signature is one byte short.
    SignatureTruncated = "signature-truncated",
    /// The signature belongs to other claims.
    SignatureOfAnother = "signature-of-another",
    /// A good token after Cloud Run has taken its signature away: it ends in `SIGNATURE_REMOVED_BY_GOOGLE`.
    SignatureRemovedByGoogle = "signature-removed-by-google",
    /// Claims that nobody ever signed, made to look as if Cloud Run had taken the signature away.
    StrippedForged = "stripped-forged",

    // Encoding.
    /// An encryption made with the published key in place of a signature (JWE, five parts).
    FivePartsJwe = "five-parts-jwe",
    /// The header and the payload alone, without the last dot.
    TwoParts = "two-parts",
    /// A fourth part behind the signature.
    FourParts = "four-parts",
    /// The flattened JSON serialisation (RFC 7515 section 7.2.2).
    JsonSerialization = "json-serialization",
    /// base64url with its padding.
    PaddedBase64 = "padded-base64",
    /// The last character of the signature has bits that decode to nothing: another spelling of the same bytes.
    NonCanonicalBase64 = "non-canonical-base64",
    /// A space in the middle of the signature.
    Whitespace = "whitespace",
    /// More than 16 KiB, by a long claim.
    Oversized = "oversized",
    /// A claim of 2,000 arrays within each other.
    DeeplyNested = "deeply-nested",
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BadToken {
    type Err = UnknownBadToken;

    fn from_str(name: &str) -> Result<Self, UnknownBadToken> {
        Self::ALL
            .iter()
            .copied()
            .find(|bad| bad.name() == name)
            .ok_or_else(|| UnknownBadToken { name: name.to_owned() })
    }
}

/// No bad token has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no bad token is called `{name}`; there are: {}", BadToken::ALL.iter().map(|bad| bad.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownBadToken {
    name: String,
}
