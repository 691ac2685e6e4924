//! What an ID token says (OpenID Connect Core 1.0 section 2, RFC 7519 section 4), read strictly.
//!
//! A claim is there with the right type, or there with a wrong one, or not there: three states, never two. A wrong type
//! that counts as absent is how checks are skipped elsewhere (CVE-2026-25537). Reading says nothing about truth: only
//! the `inbound` module verifies.
//!
//! ```
//! use countersign::identity::Claims;
//!
//! let claims = Claims::parse(br#"{"iss":"https://accounts.google.com","exp":"never"}"#)?;
//! assert_eq!(&**claims.issuer.required("iss")?, "https://accounts.google.com");
//! assert_eq!(
//!     claims.expires_at.required("exp").unwrap_err().to_string(),
//!     "claim \"exp\": expected an integer, found a string",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::json::{Node, read_object};

pub use super::json::JsonError;

/// The claims that decide, each as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// `iss`: who signed.
    pub issuer: Claim<Box<str>>,
    /// `sub`: the account's unique id.
    pub subject: Claim<Box<str>>,
    /// `aud`: for whom. An array of exactly one string counts as that string; any other array does not.
    pub audience: Claim<Box<str>>,
    /// `exp`: seconds since the Unix epoch.
    pub expires_at: Claim<i64>,
    /// `iat`: seconds since the Unix epoch.
    pub issued_at: Claim<i64>,
    /// `nbf`: seconds since the Unix epoch.
    pub not_before: Claim<i64>,
    /// `email`. Counts only together with `email_verified`.
    pub email: Claim<Box<str>>,
    /// `email_verified`.
    pub email_verified: Claim<bool>,
    /// `hd`: the Workspace domain of a person's account.
    pub hosted_domain: Claim<Box<str>>,
    /// `azp`: to whom the token was issued.
    pub authorized_party: Claim<Box<str>>,
}

/// One claim, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<T> {
    /// Not there.
    Absent,
    /// There, with a wrong type.
    Malformed {
        /// What was expected instead.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
    /// There, with the right type.
    Present(T),
}

/// Why a claim cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A required claim is not there.
    #[error("claim {name:?} is missing")]
    Missing {
        /// The claim's name.
        name: &'static str,
    },
    /// A claim has a wrong type.
    #[error("claim {name:?}: expected {expected}, found {found}")]
    WrongType {
        /// The claim's name.
        name: &'static str,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
}

impl<T> Claim<T> {
    /// The value of a claim that has to be there.
    ///
    /// # Errors
    /// When it is absent or has a wrong type; `name` is for the message.
    pub const fn required(&self, name: &'static str) -> Result<&T, ClaimError> {
        match self {
            Self::Present(value) => Ok(value),
            Self::Absent => Err(ClaimError::Missing { name }),
            Self::Malformed { expected, found } => {
                Err(ClaimError::WrongType { name, expected, found })
            }
        }
    }

    /// The value of a claim that may be absent.
    ///
    /// # Errors
    /// When it has a wrong type: that is not the same as absent.
    pub const fn optional(&self, name: &'static str) -> Result<Option<&T>, ClaimError> {
        match self {
            Self::Present(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::Malformed { expected, found } => {
                Err(ClaimError::WrongType { name, expected, found })
            }
        }
    }
}

impl Claims {
    /// Reads the decoded payload of a token.
    ///
    /// # Errors
    /// When it is not one JSON object, or a member occurs twice anywhere in it. Claims that are missing or have a wrong
    /// type are told by [`Claim::required`] and [`Claim::optional`].
    pub fn parse(payload: &[u8]) -> Result<Self, JsonError> {
        let mut claims = Self::absent();
        read_object(payload, |name, node| match name {
            "iss" => claims.issuer = text(node),
            "sub" => claims.subject = text(node),
            "aud" => claims.audience = audience(node),
            "exp" => claims.expires_at = integer(&node),
            "iat" => claims.issued_at = integer(&node),
            "nbf" => claims.not_before = integer(&node),
            "email" => claims.email = text(node),
            "email_verified" => claims.email_verified = boolean(&node),
            "hd" => claims.hosted_domain = text(node),
            "azp" => claims.authorized_party = text(node),
            _ => {}
        })?;
        Ok(claims)
    }

    const fn absent() -> Self {
        Self {
            issuer: Claim::Absent,
            subject: Claim::Absent,
            audience: Claim::Absent,
            expires_at: Claim::Absent,
            issued_at: Claim::Absent,
            not_before: Claim::Absent,
            email: Claim::Absent,
            email_verified: Claim::Absent,
            hosted_domain: Claim::Absent,
            authorized_party: Claim::Absent,
        }
    }
}

fn text(node: Node<'_>) -> Claim<Box<str>> {
    match node {
        Node::Text(text) => Claim::Present(text.into()),
        other => Claim::Malformed { expected: "a string", found: other.kind() },
    }
}

fn integer(node: &Node<'_>) -> Claim<i64> {
    match node {
        Node::Integer(number) => Claim::Present(*number),
        other => Claim::Malformed { expected: "an integer", found: other.kind() },
    }
}

fn boolean(node: &Node<'_>) -> Claim<bool> {
    match node {
        Node::Boolean(boolean) => Claim::Present(*boolean),
        other => Claim::Malformed { expected: "a boolean", found: other.kind() },
    }
}

fn audience(node: Node<'_>) -> Claim<Box<str>> {
    const EXPECTED: &str = "a string, or an array of exactly one string";
    match node {
        Node::Text(text) => Claim::Present(text.into()),
        Node::Array { length: 1, first: Some(first) } => match *first {
            Node::Text(text) => Claim::Present(text.into()),
            _ => Claim::Malformed { expected: EXPECTED, found: "an array of something else" },
        },
        Node::Array { length: 0, .. } => {
            Claim::Malformed { expected: EXPECTED, found: "an empty array" }
        }
        Node::Array { .. } => Claim::Malformed { expected: EXPECTED, found: "an array of several" },
        other => Claim::Malformed { expected: EXPECTED, found: other.kind() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_token_of_the_metadata_server() {
        let payload = br#"{"aud":"https://called.example","azp":"112233","email":"a@b.iam.gserviceaccount.com",
            "email_verified":true,"exp":1700003600,"iat":1700000000,"iss":"https://accounts.google.com",
            "sub":"112233","google":{"compute_engine":{"instance_id":"7","zone":"x"}}}"#;
        let claims = Claims::parse(payload).unwrap();
        assert_eq!(&**claims.audience.required("aud").unwrap(), "https://called.example");
        assert_eq!(claims.expires_at, Claim::Present(1_700_003_600));
        assert_eq!(claims.email_verified, Claim::Present(true));
        assert_eq!(claims.not_before.optional("nbf"), Ok(None));
    }

    #[test]
    fn a_wrong_type_is_neither_there_nor_absent() {
        let table: [(&str, fn(&Claims) -> Result<(), ClaimError>); 10] = [
            (r#"{"iss":["https://accounts.google.com"]}"#, |c| c.issuer.required("iss").map(drop)),
            (r#"{"sub":112233}"#, |c| c.subject.required("sub").map(drop)),
            (r#"{"aud":123}"#, |c| c.audience.required("aud").map(drop)),
            (r#"{"aud":{}}"#, |c| c.audience.required("aud").map(drop)),
            (r#"{"exp":1.7e9}"#, |c| c.expires_at.required("exp").map(drop)),
            (r#"{"exp":99999999999999999999}"#, |c| c.expires_at.required("exp").map(drop)),
            (r#"{"nbf":"1"}"#, |c| c.not_before.optional("nbf").map(drop)),
            (r#"{"email_verified":"true"}"#, |c| c.email_verified.optional("x").map(drop)),
            (r#"{"email_verified":1}"#, |c| c.email_verified.optional("x").map(drop)),
            (r#"{"email":null}"#, |c| c.email.optional("email").map(drop)),
        ];
        for (json, read) in table {
            let claims = Claims::parse(json.as_bytes()).unwrap();
            assert!(matches!(read(&claims), Err(ClaimError::WrongType { .. })), "{json}");
        }
    }

    #[test]
    fn an_audience_is_one() {
        let read = |json: &str| Claims::parse(json.as_bytes()).unwrap().audience;
        assert_eq!(read(r#"{"aud":"a"}"#), Claim::Present("a".into()));
        assert_eq!(read(r#"{"aud":["a"]}"#), Claim::Present("a".into()));
        for json in
            [r#"{"aud":[]}"#, r#"{"aud":["a","b"]}"#, r#"{"aud":["a","a"]}"#, r#"{"aud":[["a"]]}"#]
        {
            assert!(matches!(read(json), Claim::Malformed { .. }), "{json}");
        }
        assert_eq!(read("{}"), Claim::Absent);
    }

    #[test]
    fn messages_name_the_claim() {
        let claims = Claims::parse(b"{\"iat\":true}").unwrap();
        assert_eq!(
            claims.issued_at.required("iat").unwrap_err().to_string(),
            "claim \"iat\": expected an integer, found a boolean"
        );
        assert_eq!(
            claims.subject.required("sub").unwrap_err().to_string(),
            "claim \"sub\" is missing"
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Claims::parse(&bytes);
        }
    }
}
