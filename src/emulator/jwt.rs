//! A signed JWT that somebody sent: three parts, decoded and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::keys::SigningKey;

/// The parts of a compact serialisation (RFC 7515 section 7.1).
pub(super) struct Jwt<'a> {
    header: Value,
    claims: Value,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    pub(super) fn decode(token: &'a str) -> Option<Self> {
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, claims) = signing_input.split_once('.')?;
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signing_input,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A claim, where it is a string.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A claim, where it is a whole number.
    pub(super) fn number(&self, claim: &str) -> Option<i64> {
        self.claims.get(claim)?.as_i64()
    }

    /// Does it say RS256?
    pub(super) fn is_rs256(&self) -> bool {
        self.header.get("alg").and_then(Value::as_str) == Some("RS256")
    }

    /// Has this key signed it? A `kid` has to be the key's, where there is one.
    pub(super) fn is_signed_by(&self, key: &SigningKey) -> bool {
        let kid = self.header.get("kid").and_then(Value::as_str);
        self.is_rs256()
            && kid.is_none_or(|kid| kid == key.kid())
            && key.verifies(self.signing_input.as_bytes(), &self.signature)
    }
}
