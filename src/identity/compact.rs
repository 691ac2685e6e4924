//! The compact serialization of a signed token (RFC 7515 section 7.1): three parts, base64url without padding.
//!
//! Limits come first: a token's length is checked before anything is split, dots are counted before anything is
//! allocated. Nothing here looks into the parts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest token that is looked at, in bytes. Google's have about 800.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token cut into its parts; header and payload are decoded, neither is trusted.
#[derive(Debug)]
pub struct CompactJws<'t> {
    signing_input: &'t str,
    signature: &'t str,
    header: Vec<u8>,
    payload: Vec<u8>,
}

/// Why a text is not a compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactJwsError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token has {found} bytes; at most {MAX_TOKEN_BYTES} are accepted")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not three parts. Five would be an encrypted token, one an opaque access token.
    #[error("the token has {found} parts; a signed ID token has three, separated by dots")]
    Parts {
        /// How many there are.
        found: usize,
    },
    /// A part is not canonical base64url without padding (RFC 7515 section 2).
    #[error("the token's {part} is not base64url without padding")]
    Base64 {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
}

impl<'t> CompactJws<'t> {
    /// Cuts a token into its parts and decodes header and payload.
    ///
    /// # Errors
    /// When it is too long, has not three parts, or header or payload is not canonical base64url. The signature is
    /// decoded by [`signature`](Self::signature), so that a marker in its place can be told from garbage.
    pub fn parse(token: &'t str) -> Result<Self, CompactJwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(CompactJwsError::TooLong { found: token.len() });
        }
        let dots = token.bytes().filter(|&byte| byte == b'.').count();
        let (signing_input, signature) = match (dots, token.rsplit_once('.')) {
            (2, Some(parts)) => parts,
            _ => return Err(CompactJwsError::Parts { found: dots + 1 }),
        };
        let (header, payload) =
            signing_input.split_once('.').ok_or(CompactJwsError::Parts { found: dots + 1 })?;
        let header = decode(header, "header")?;
        let payload = decode(payload, "payload")?;
        Ok(Self { signing_input, signature, header, payload })
    }

    /// The bytes that were signed: header and payload as they were sent, with the dot between them.
    #[must_use]
    pub fn signing_input(&self) -> &'t [u8] {
        self.signing_input.as_bytes()
    }

    /// The decoded header, JSON if all is well.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The decoded payload, JSON if all is well.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The decoded payload, taken out.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The third part as it was sent.
    #[must_use]
    pub fn signature_text(&self) -> &'t str {
        self.signature
    }

    /// The decoded signature.
    ///
    /// # Errors
    /// When it is not canonical base64url.
    pub fn signature(&self) -> Result<Vec<u8>, CompactJwsError> {
        decode(self.signature, "signature")
    }
}

/// The engine refuses padding and non-zero trailing bits, so that one token has one spelling.
fn decode(text: &str, part: &'static str) -> Result<Vec<u8>, CompactJwsError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| CompactJwsError::Base64 { part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_and_no_other_number() {
        let jws = CompactJws::parse("e30.e30.AQ").unwrap();
        assert_eq!((jws.header(), jws.payload()), (&b"{}"[..], &b"{}"[..]));
        assert_eq!(jws.signing_input(), b"e30.e30");
        assert_eq!(jws.signature().unwrap(), [1]);

        for (token, found) in
            [("", 1), ("e30", 1), ("e30.e30", 2), ("a.b.c.d", 4), ("a.b.c.d.e", 5)]
        {
            assert_eq!(CompactJws::parse(token).unwrap_err(), CompactJwsError::Parts { found });
        }
    }

    #[test]
    fn limits_come_before_anything_else() {
        let dots = ".".repeat(MAX_TOKEN_BYTES + 1);
        let error = CompactJws::parse(&dots).unwrap_err();
        assert_eq!(error, CompactJwsError::TooLong { found: MAX_TOKEN_BYTES + 1 });
    }

    #[test]
    fn one_token_has_one_spelling() {
        // "e30" is {}; "e31" differs in bits that are thrown away, the others in alphabet or padding.
        for header in ["e31", "e30=", "e3 0", "e3+0", "e3/0", "e30\n", "é"] {
            let token = format!("{header}.e30.AQ");
            let error = CompactJws::parse(&token).unwrap_err();
            assert_eq!(error, CompactJwsError::Base64 { part: "header" }, "{header:?}");
        }
        let jws = CompactJws::parse("e30.e30.AR").unwrap();
        assert_eq!(jws.signature().unwrap_err(), CompactJwsError::Base64 { part: "signature" });
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = CompactJws::parse(&text).map(|jws| jws.signature());
        }
    }
}
