//! A JWK set (RFC 7517 section 5) becomes keys that can verify, one by one: a key that cannot be used is left out and
//! spoils nothing.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};

use crate::inbound::cause::MAX_KID_BYTES;

/// Most keys that a set may have. Google publishes two or three.
pub const MAX_KEYS: usize = 64;

/// A set of keys that verify RS256 signatures.
#[derive(Debug)]
pub struct KeySet {
    keys: HashMap<Box<str>, VerifyingKey>,
    skipped: Vec<SkippedKey>,
}

/// One RSA key, parsed once when its set was loaded.
pub struct VerifyingKey {
    parsed: ParsedPublicKey,
    modulus: Box<[u8]>,
    exponent: Box<[u8]>,
}

/// A key of a published set that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedKey {
    /// Its `kid`, or its place in the set.
    pub name: String,
    /// Why it is not used.
    pub fault: KeyFault,
}

/// Why a published key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// Not a JWK at all.
    #[error("not a JWK")]
    NotAJwk,
    /// No `kid`, an empty one, or one of more than 256 bytes.
    #[error("its kid is missing, empty or too long")]
    KeyId,
    /// Two different keys under one `kid`.
    #[error("its kid stands for two different keys")]
    Ambiguous,
    /// `kty` is not RSA.
    #[error("its kty is not RSA")]
    NotRsa,
    /// `use` is not `sig`, or `key_ops` lacks `verify`.
    #[error("it is not meant for verifying signatures")]
    Use,
    /// `alg` is not RS256.
    #[error("its alg is not RS256")]
    Algorithm,
    /// `n` or `e` is not canonical base64url of a positive number.
    #[error("its n or e is not base64url of a positive number")]
    Encoding,
    /// The modulus has less than 2048 or more than 8192 bits, or is even.
    #[error("its modulus has less than 2048 or more than 8192 bits, or is even")]
    Modulus,
    /// The exponent is even, less than 65537, or longer than 32 bits.
    #[error("its exponent is even, less than 65537 or too long")]
    Exponent,
    /// The crypto library refuses it.
    #[error("the crypto library refuses it")]
    Refused,
}

/// Why a document is not a key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON with an array `keys`.
    #[error("the key set is not a JSON object with an array \"keys\"")]
    NotAKeySet,
    /// More keys than anybody publishes.
    #[error("the key set has {found} keys; at most {MAX_KEYS} are accepted")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Nothing in it can be used.
    #[error("the key set has no usable key{}", reasons(.skipped))]
    NoUsableKey {
        /// The keys it has, and why each is not used.
        skipped: Vec<SkippedKey>,
    },
}

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// When it is not a JWK set, has too many keys, or none that can be used.
    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let Document { keys } =
            serde_json::from_slice(document).map_err(|_| DocumentError::NotAKeySet)?;
        if keys.len() > MAX_KEYS {
            return Err(DocumentError::TooMany { found: keys.len() });
        }
        let mut set = Self { keys: HashMap::new(), skipped: Vec::new() };
        let mut ambiguous = Vec::new();
        for (place, key) in keys.into_iter().enumerate() {
            match vet(&key) {
                Ok((kid, key)) => {
                    if set.keys.get(&*kid).is_some_and(|known| !known.is_same_as(&key)) {
                        ambiguous.push(kid);
                    } else {
                        set.keys.insert(kid, key);
                    }
                }
                Err(fault) => set.skipped.push(SkippedKey { name: name(&key, place), fault }),
            }
        }
        for kid in ambiguous {
            if set.keys.remove(&kid).is_some() {
                let fault = KeyFault::Ambiguous;
                set.skipped.push(SkippedKey { name: kid.into(), fault });
            }
        }
        if set.keys.is_empty() {
            return Err(DocumentError::NoUsableKey { skipped: set.skipped });
        }
        Ok(set)
    }

    /// The key of that id. Ids are compared byte by byte.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set without a usable key is an error when it is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The published keys that are not used.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Whether both sets verify the same tokens: the same keys under the same ids.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self
                .keys
                .iter()
                .all(|(kid, key)| other.keys.get(kid).is_some_and(|other| other.is_same_as(key)))
    }
}

impl VerifyingKey {
    /// Whether the signature is the one of this key over the message (RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017
    /// section 8.2).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.modulus == other.modulus && self.exponent == other.exponent
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RSA public key of {} bytes", self.modulus.len())
    }
}

fn vet(key: &serde_json::Value) -> Result<(Box<str>, VerifyingKey), KeyFault> {
    // The key type first, so that an EC key with members that jsonwebtoken does not know is called what it is.
    match key.get("kty").and_then(serde_json::Value::as_str) {
        None => return Err(KeyFault::NotAJwk),
        Some("RSA") => {}
        Some(_) => return Err(KeyFault::NotRsa),
    }
    if key.get("kid").is_none_or(|kid| !kid.is_string()) {
        return Err(KeyFault::KeyId);
    }
    let jwk: Jwk = serde::Deserialize::deserialize(key).map_err(|_| KeyFault::NotAJwk)?;
    let AlgorithmParameters::RSA(rsa) = &jwk.algorithm else { return Err(KeyFault::NotAJwk) };
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Err(KeyFault::Use);
    }
    let operations = jwk.common.key_operations.as_deref();
    if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err(KeyFault::Use);
    }
    if !matches!(jwk.common.key_algorithm, None | Some(KeyAlgorithm::RS256)) {
        return Err(KeyFault::Algorithm);
    }
    let kid = jwk.common.key_id.as_deref().unwrap_or_default();
    if kid.is_empty() || kid.len() > MAX_KID_BYTES {
        return Err(KeyFault::KeyId);
    }
    Ok((kid.into(), rsa_key(&rsa.n, &rsa.e)?))
}

fn rsa_key(n: &str, e: &str) -> Result<VerifyingKey, KeyFault> {
    let modulus = number(n)?;
    let exponent = number(e)?;
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !(2_048..=8_192).contains(&bits) || !odd(&modulus) {
        return Err(KeyFault::Modulus);
    }
    if exponent.len() > 4 || !odd(&exponent) {
        return Err(KeyFault::Exponent);
    }
    let value = exponent.iter().fold(0_u32, |value, &byte| (value << 8) | u32::from(byte));
    if value < 65_537 {
        return Err(KeyFault::Exponent);
    }
    let components = RsaPublicKeyComponents { n: &modulus, e: &exponent };
    let parsed = components
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| KeyFault::Refused)?;
    Ok(VerifyingKey { parsed, modulus, exponent })
}

/// Base64urlUInt (RFC 7518 section 2): the shortest big-endian form, so no leading zero.
fn number(text: &str) -> Result<Box<[u8]>, KeyFault> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFault::Encoding)?;
    match bytes.first() {
        None | Some(0) => Err(KeyFault::Encoding),
        Some(_) => Ok(bytes.into()),
    }
}

fn name(key: &serde_json::Value, place: usize) -> String {
    match key.get("kid").and_then(serde_json::Value::as_str) {
        Some(kid) if !kid.is_empty() => kid.chars().take(64).collect(),
        _ => format!("number {}", place + 1),
    }
}

fn reasons(skipped: &[SkippedKey]) -> String {
    let few = skipped.iter().take(4);
    few.map(|SkippedKey { name, fault }| format!("; key {name:?}: {fault}")).collect()
}

#[cfg(test)]
mod tests;
