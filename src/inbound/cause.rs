//! Why a request is refused: one cause per check, with a stable code.
//!
//! A cause knows more than the client is told. `Display` is for logs: it names what was found and what was expected.
//! [`Cause::description`] is for the client: it reflects nothing of the request. What HTTP or gRPC make of a cause is
//! decided in `rejection`, in one place.

use crate::identity::compact::MAX_TOKEN_BYTES;
use crate::identity::{ClaimError, CompactJwsError, claims::JsonError};

/// Longest `kid` that is looked up, in bytes. Google's have 40.
pub const MAX_KID_BYTES: usize = 256;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// No token at all.
    #[error("no token was sent")]
    NoToken,
    /// A header with something else than a bearer token in it.
    #[error("the {header} header holds no bearer token; expected `Bearer TOKEN`")]
    NotBearer {
        /// Which header.
        header: &'static str,
    },
    /// Two values of a header that may have one.
    #[error("{found} values of the {header} header; expected one")]
    SeveralTokens {
        /// Which header.
        header: &'static str,
        /// How many values it has.
        found: usize,
    },
    /// An opaque access token of Google's in place of an ID token.
    #[error(
        "this is an access token (it starts with ya29.); expected an ID token made for this service"
    )]
    AccessToken,
    /// Not a compact JWS.
    #[error(transparent)]
    Shape(#[from] CompactJwsError),
    /// The header is not a JSON object that can be read in one way only.
    #[error("the token's header: {0}")]
    Header(JsonError),
    /// The header has a member that changes what the token means.
    #[error("the token's header has the member {name:?}, which is not supported here")]
    HeaderMember {
        /// The member: `crit`, `b64`, `zip` or `cty`.
        name: &'static str,
    },
    /// Another algorithm than RS256, which alone Google signs ID tokens with.
    #[error("the token's algorithm is {found}; expected \"RS256\"")]
    Algorithm {
        /// What the header says, quoted and cut short.
        found: String,
    },
    /// A `typ` other than JWT.
    #[error("the token's type is {found}; expected \"JWT\"")]
    Type {
        /// What the header says, quoted and cut short.
        found: String,
    },
    /// The signature was replaced by Google's front end.
    #[error(
        "Cloud Run removed the token's signature (it ends in SIGNATURE_REMOVED_BY_GOOGLE), so it proves nothing here; \
         let the caller send the same token in Authorization and X-Serverless-Authorization, or set \
         SIGNATURE_CHECK=cloud-run if Cloud Run's IAM check is on for this service"
    )]
    SignatureRemoved,
    /// The payload is not a JSON object that can be read in one way only.
    #[error("the token's payload: {0}")]
    Payload(JsonError),
    /// A claim is missing or has a wrong type.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Signed by somebody else than Google, it says.
    #[error("the token's issuer is {found}; expected {expected}")]
    Issuer {
        /// What the token says, quoted and cut short.
        found: String,
        /// The configured issuers.
        expected: String,
    },
    /// Made for another service.
    #[error("the token's audience is {found}; expected {expected}{hint}")]
    Audience {
        /// What the token says, quoted and cut short.
        found: String,
        /// The configured audiences.
        expected: String,
        /// A likely cause, or nothing.
        hint: &'static str,
    },
    /// Past its time.
    #[error("the token expired at {expires_at}; now it is {now}")]
    Expired {
        /// `exp`, seconds since the Unix epoch.
        expires_at: i64,
        /// Seconds since the Unix epoch.
        now: i64,
    },
    /// Before its time, by `nbf` or `iat`.
    #[error("the token counts only from {claim} = {from}; now it is {now}")]
    NotYetValid {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// Seconds since the Unix epoch.
        from: i64,
        /// Seconds since the Unix epoch.
        now: i64,
    },
    /// Made for longer than a day, or for less than no time.
    #[error(
        "the token is made for {seconds} s (exp - iat); expected more than 0 and at most 86400 s"
    )]
    Lifetime {
        /// `exp` − `iat`.
        seconds: i64,
    },
    /// No `kid`, or one that is longer than any that Google uses.
    #[error("the token's key id {problem}")]
    KeyId {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Signed with a key that Google does not publish (any more, or yet).
    #[error("the token's key {kid} is not in the key set")]
    UnknownKey {
        /// The key id, quoted and cut short.
        kid: String,
    },
    /// Not signed by the key that it names.
    #[error("the token's signature is not the one of its key")]
    Signature,
    /// A good token of somebody who is not on the list.
    #[error("{} is not an allowed principal{hint}", quoted(.principal))]
    NotAllowed {
        /// Who it is: an e-mail address or a unique id.
        principal: String,
        /// Why, where it is not plain: no e-mail in the token, another unique id under the same address.
        hint: &'static str,
    },
    /// Nothing to verify with: no key set could be fetched so far, or the last one is too old.
    #[error("no usable keys: {reason}")]
    NoKeys {
        /// Why the last fetch failed.
        reason: String,
    },
    /// A request without a bearer token reached a service that relies on Cloud Run's IAM check.
    #[error(
        "a request without a bearer token reached this service, so Cloud Run's IAM check is not in front of it as \
         SIGNATURE_CHECK=cloud-run says; everything is refused until a restart: switch the IAM check on \
         (gcloud run services update SERVICE --invoker-iam-check, and remove allUsers), or set SIGNATURE_CHECK=required"
    )]
    FrontEndMissing,
}

impl Cause {
    /// A stable name for programs: alerts, tests, `countersign why`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::NotBearer { .. } => "not_a_bearer_token",
            Self::SeveralTokens { .. } => "several_tokens",
            Self::AccessToken => "access_token",
            Self::Shape(CompactJwsError::TooLong { .. }) => "token_too_long",
            Self::Shape(_) => "malformed_token",
            Self::Header(_) => "malformed_header",
            Self::HeaderMember { .. } => "unsupported_header",
            Self::Algorithm { .. } => "wrong_algorithm",
            Self::Type { .. } => "wrong_type",
            Self::SignatureRemoved => "signature_removed",
            Self::Payload(_) => "malformed_payload",
            Self::Claim(ClaimError::Missing { .. }) => "missing_claim",
            Self::Claim(_) => "malformed_claim",
            Self::Issuer { .. } => "wrong_issuer",
            Self::Audience { .. } => "wrong_audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Lifetime { .. } => "wrong_lifetime",
            Self::KeyId { .. } => "malformed_key_id",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Signature => "wrong_signature",
            Self::NotAllowed { .. } => "principal_not_allowed",
            Self::NoKeys { .. } => "no_keys",
            Self::FrontEndMissing => "iam_check_missing",
        }
    }

    /// One sentence for the client. It is fixed for each code and reflects nothing of the request.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self {
            Self::NoToken => "This service expects an ID token in the Authorization header.",
            Self::NotBearer { .. } => {
                "The header that should hold the ID token holds no bearer token."
            }
            Self::SeveralTokens { .. } => {
                "The request has more than one value where one token is expected."
            }
            Self::AccessToken => {
                "This is an access token. An ID token made for this service is expected."
            }
            Self::Shape(CompactJwsError::TooLong { .. }) => {
                const { assert!(MAX_TOKEN_BYTES == 16 * 1024) };
                "The token is longer than 16 KiB."
            }
            Self::Shape(_) => "The token is not a signed JWT in compact form.",
            Self::Header(_) => "The token's header is not a JSON object with unique members.",
            Self::HeaderMember { .. } => "The token's header has a member that is not supported.",
            Self::Algorithm { .. } => "The token's algorithm is not RS256.",
            Self::Type { .. } => "The token's type is not JWT.",
            Self::SignatureRemoved => {
                "Cloud Run removed the token's signature. Send the token in both headers."
            }
            Self::Payload(_) => "The token's payload is not a JSON object with unique members.",
            Self::Claim(ClaimError::Missing { .. }) => "The token lacks a required claim.",
            Self::Claim(_) => "A claim of the token has a wrong type.",
            Self::Issuer { .. } => "The token's issuer is not accepted.",
            Self::Audience { .. } => "The token was made for another audience.",
            Self::Expired { .. } => "The token has expired.",
            Self::NotYetValid { .. } => "The token is not valid yet.",
            Self::Lifetime { .. } => "The token's lifetime is not accepted.",
            Self::KeyId { .. } => "The token's key id is missing or malformed.",
            Self::UnknownKey { .. } => "The token is signed with an unknown key.",
            Self::Signature => "The token's signature is wrong.",
            Self::NotAllowed { .. } => {
                "The token is good, but its principal may not call this service."
            }
            Self::NoKeys { .. } => "The keys to verify tokens with are not available. Try again.",
            Self::FrontEndMissing => "This service is set up wrongly and refuses every request.",
        }
    }
}

/// Text of a token for a log line: quoted, escaped, and cut short.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start:?}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_escaped_and_short() {
        assert_eq!(quoted("a\nb\"c\u{1b}"), r#""a\nb\"c\u{1b}""#);
        assert!(quoted(&"x".repeat(5_000)).len() < 200);
    }
}
