//! The checks of a token, each one function that returns a [`Cause`], in the order in which the verifier runs them.
//!
//! None of them trusts the token: claims are looked at before the signature only to refuse what is hopeless, so that it
//! costs no key fetch.

use crate::identity::json::{Node, read_object};
use crate::identity::{Audience, Claims};

use super::cause::{Cause, MAX_KID_BYTES, quoted};

/// What Cloud Run's front end writes in place of a signature.
pub(crate) const SIGNATURE_REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

/// Longest time from `iat` to `exp`. Google's tokens are made for an hour.
const LONGEST_LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// An opaque access token pasted where an ID token belongs.
pub(crate) fn access_token(token: &str) -> Result<(), Cause> {
    if token.starts_with("ya29.") { Err(Cause::AccessToken) } else { Ok(()) }
}

/// The members of a token's header that are looked at, each as it was found.
#[derive(Debug, Default)]
pub(crate) struct Header<'t> {
    algorithm: Option<Node<'t>>,
    key_id: Option<Node<'t>>,
    token_type: Option<Node<'t>>,
    unsupported: Option<&'static str>,
}

impl<'t> Header<'t> {
    /// Reads the decoded header. `jwk`, `jku`, `x5c` and whatever else is in it are not looked at: keys come from the
    /// configured set only.
    pub(crate) fn parse(json: &'t [u8]) -> Result<Self, Cause> {
        let mut header = Self::default();
        read_object(json, |name, node| match name {
            "alg" => header.algorithm = Some(node),
            "kid" => header.key_id = Some(node),
            "typ" => header.token_type = Some(node),
            "crit" => header.unsupported = Some("crit"),
            "b64" => header.unsupported = Some("b64"),
            "zip" => header.unsupported = Some("zip"),
            "cty" => header.unsupported = Some("cty"),
            _ => {}
        })
        .map_err(Cause::Header)?;
        Ok(header)
    }
}

/// `alg` is compared with what we expect; it chooses nothing.
pub(crate) fn algorithm(header: &Header<'_>) -> Result<(), Cause> {
    match &header.algorithm {
        Some(Node::Text(found)) if found == "RS256" => Ok(()),
        Some(Node::Text(found)) => Err(Cause::Algorithm { found: quoted(found) }),
        Some(other) => Err(Cause::Algorithm { found: other.kind().to_owned() }),
        None => Err(Cause::Algorithm { found: "missing".to_owned() }),
    }
}

/// `crit` (RFC 7515 section 4.1.11), `b64` (RFC 7797), `zip` and `cty` change what the token means.
pub(crate) fn header_members(header: &Header<'_>) -> Result<(), Cause> {
    header.unsupported.map_or(Ok(()), |name| Err(Cause::HeaderMember { name }))
}

/// `typ` may be absent; if it is there it is JWT (RFC 7519 section 5.1, compared without regard to case).
pub(crate) fn token_type(header: &Header<'_>) -> Result<(), Cause> {
    match &header.token_type {
        None => Ok(()),
        Some(Node::Text(found)) if found.eq_ignore_ascii_case("JWT") => Ok(()),
        Some(Node::Text(found)) => Err(Cause::Type { found: quoted(found) }),
        Some(other) => Err(Cause::Type { found: other.kind().to_owned() }),
    }
}

/// The key id: there, a string, and not longer than any that Google uses.
pub(crate) fn key_id<'h>(header: &'h Header<'_>) -> Result<&'h str, Cause> {
    match &header.key_id {
        Some(Node::Text(kid)) if kid.is_empty() => Err(Cause::KeyId { problem: "is empty" }),
        Some(Node::Text(kid)) if kid.len() > MAX_KID_BYTES => {
            Err(Cause::KeyId { problem: "is longer than 256 bytes" })
        }
        Some(Node::Text(kid)) => Ok(kid),
        Some(_) => Err(Cause::KeyId { problem: "is not a string" }),
        None => Err(Cause::KeyId { problem: "(kid) is missing" }),
    }
}

/// `iss` is byte-equal to one of ours.
pub(crate) fn issuer(claims: &Claims, accepted: &[Box<str>]) -> Result<(), Cause> {
    let found = claims.issuer.required("iss")?;
    if accepted.contains(found) {
        return Ok(());
    }
    Err(Cause::Issuer { found: quoted(found), expected: list(accepted.iter().map(AsRef::as_ref)) })
}

/// `aud` is byte-equal to one of ours.
pub(crate) fn audience<'a>(
    claims: &Claims,
    accepted: &'a [Audience],
) -> Result<&'a Audience, Cause> {
    let found = claims.audience.required("aud")?;
    if let Some(audience) = accepted.iter().find(|audience| audience.as_str() == &**found) {
        return Ok(audience);
    }
    let expected = list(accepted.iter().map(Audience::as_str));
    Err(Cause::Audience { found: quoted(found), expected, hint: audience_hint(found, accepted) })
}

/// The two mistakes that are made most: another spelling of the same URL, and the service's other URL.
fn audience_hint(found: &str, accepted: &[Audience]) -> &'static str {
    let trimmed = found.trim_end_matches('/');
    if accepted.iter().any(|audience| audience.as_str().trim_end_matches('/') == trimmed) {
        return "; they differ in the slash at the end, and audiences are compared to the letter";
    }
    let is_run_app = |url: &str| url.starts_with("https://") && url.ends_with(".run.app");
    if is_run_app(found) && accepted.iter().any(|audience| is_run_app(audience.as_str())) {
        return "; a Cloud Run service has two run.app URLs, and a token for one is none for the other: list both in \
                AUDIENCE, or set a custom audience";
    }
    ""
}

/// `sub` is there: it is who the account is, whatever its address.
pub(crate) fn subject(claims: &Claims) -> Result<&str, Cause> {
    match claims.subject.required("sub")? {
        empty if empty.is_empty() => {
            Err(crate::identity::ClaimError::Missing { name: "sub" }.into())
        }
        subject => Ok(subject),
    }
}

/// `exp` and `iat` are there and not further apart than a day.
pub(crate) fn lifetime(claims: &Claims) -> Result<(), Cause> {
    let expires_at = *claims.expires_at.required("exp")?;
    let issued_at = *claims.issued_at.required("iat")?;
    let seconds = expires_at.saturating_sub(issued_at);
    if (1..=LONGEST_LIFETIME_SECONDS).contains(&seconds) {
        Ok(())
    } else {
        Err(Cause::Lifetime { seconds })
    }
}

/// When a token counts, by its own word; kept with cached tokens, which are checked anew each time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) expires_at: i64,
    pub(crate) issued_at: i64,
    pub(crate) not_before: Option<i64>,
}

impl Times {
    pub(crate) fn of(claims: &Claims) -> Result<Self, Cause> {
        Ok(Self {
            expires_at: *claims.expires_at.required("exp")?,
            issued_at: *claims.issued_at.required("iat")?,
            not_before: claims.not_before.optional("nbf")?.copied(),
        })
    }

    /// `exp`, `nbf` and `iat` against the clock.
    pub(crate) fn check(&self, now: i64, leeway: i64) -> Result<(), Cause> {
        // RFC 7519 section 4.1.4: "on or after" exp the token is not accepted.
        if now >= self.expires_at.saturating_add(leeway) {
            return Err(Cause::Expired { expires_at: self.expires_at, now });
        }
        let latest = now.saturating_add(leeway);
        match self.not_before {
            Some(from) if from > latest => Err(Cause::NotYetValid { claim: "nbf", from, now }),
            _ if self.issued_at > latest => {
                Err(Cause::NotYetValid { claim: "iat", from: self.issued_at, now })
            }
            _ => Ok(()),
        }
    }
}

/// The claims about a person or an account have the right types, where they are there.
pub(crate) fn optional_claims(claims: &Claims) -> Result<(), Cause> {
    claims.email.optional("email")?;
    claims.email_verified.optional("email_verified")?;
    claims.hosted_domain.optional("hd")?;
    claims.authorized_party.optional("azp")?;
    Ok(())
}

/// An RS256 signature is as long as its key's modulus (RFC 8017 section 8.2.2), which has 2048 to 8192 bits.
pub(crate) fn signature_length(signature: &[u8]) -> Result<(), Cause> {
    if (256..=1_024).contains(&signature.len()) { Ok(()) } else { Err(Cause::Signature) }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
