//! An ID token in the hands of somebody who may send it: redacted wherever it could be printed.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use super::audience::{Audience, AudienceError};
use super::claims::{ClaimError, Claims, JsonError};
use super::compact::{CompactJws, CompactJwsError};

/// An ID token with what its holder has to know: for whom it is and until when. Cheap to clone.
///
/// It was read, not verified: that is the business of whoever receives it. `Debug` shows everything but the token.
///
/// ```
/// use countersign::identity::IdToken;
///
/// // {"alg":"RS256"} . {"aud":"https://a.example","exp":1700003600} . signature
/// let text = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL2EuZXhhbXBsZSIsImV4cCI6MTcwMDAwMzYwMH0.c2VjcmV0";
/// let token = IdToken::parse(text)?;
/// assert_eq!(token.audience().as_str(), "https://a.example");
/// assert!(!format!("{token:?}").contains("c2VjcmV0"));
/// # Ok::<(), countersign::identity::IdTokenError>(())
/// ```
#[derive(Clone)]
pub struct IdToken(Arc<Inner>);

struct Inner {
    token: Box<str>,
    bearer: HeaderValue,
    audience: Audience,
    expires_at: i64,
}

/// Why a text is not an ID token that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdTokenError {
    /// Not a compact JWS.
    #[error(transparent)]
    Compact(#[from] CompactJwsError),
    /// The payload is not a JSON object.
    #[error("the token's payload: {0}")]
    Payload(#[from] JsonError),
    /// `aud` or `exp` is missing or has a wrong type.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// `aud` is no audience.
    #[error("the token's audience: {0}")]
    Audience(#[from] AudienceError),
}

impl IdToken {
    /// Reads the audience and the expiry of a token; the signature is not looked at.
    ///
    /// # Errors
    /// When it is not three parts of base64url, or its payload does not say for whom and until when it is.
    pub fn parse(token: &str) -> Result<Self, IdTokenError> {
        let jws = CompactJws::parse(token)?;
        jws.signature()?;
        let claims = Claims::parse(jws.payload())?;
        let audience = claims.audience.required("aud")?.parse()?;
        let expires_at = *claims.expires_at.required("exp")?;
        // Base64url and dots are visible ASCII, so this cannot fail; an error is cheaper than a panic all the same.
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| CompactJwsError::Base64 { part: "signature" })?;
        bearer.set_sensitive(true);
        Ok(Self(Arc::new(Inner { token: token.into(), bearer, audience, expires_at })))
    }

    /// The token itself. It is a secret until it expires: send it, do not print it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.token
    }

    /// `Bearer …` as a header's value, marked sensitive.
    #[must_use]
    pub fn bearer(&self) -> HeaderValue {
        self.0.bearer.clone()
    }

    /// For whom it was made.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.0.audience
    }

    /// Until when it is good, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.0.expires_at
    }
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdToken")
            .field("audience", self.audience())
            .field("expires_at", &self.expires_at())
            .field("token", &"redacted")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn token(payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(payload), part("signature"))
    }

    #[test]
    fn debug_shows_no_part_of_the_token() {
        let text = token(r#"{"aud":"https://a.example","exp":5,"email":"a@b.c"}"#);
        let id_token = IdToken::parse(&text).unwrap();
        let shown = format!("{id_token:?} {id_token:#?} {:?}", id_token.bearer());
        assert!(shown.contains("https://a.example"));
        for part in text.split('.') {
            assert!(!shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        let error = |payload: &str| IdToken::parse(&token(payload)).unwrap_err().to_string();
        assert_eq!(error(r#"{"exp":5}"#), "claim \"aud\" is missing");
        assert_eq!(error(r#"{"aud":"a"}"#), "claim \"exp\" is missing");
        assert_eq!(
            error(r#"{"aud":"a","exp":"5"}"#),
            "claim \"exp\": expected an integer, found a string"
        );
        assert!(error(r#"{"aud":"","exp":5}"#).contains("is empty"));
        assert!(error("[]").contains("an array where a JSON object is expected"));
        assert!(IdToken::parse("ya29.opaque").unwrap_err().to_string().contains("has 2 parts"));
    }
}
