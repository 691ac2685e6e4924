//! An encryption where a signature belongs: made with the public key, so that anybody can.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use serde_json::json;

use super::draft::encode;
use crate::emulator::keys::SigningKey;

/// These claims as a JWE in compact serialisation (RFC 7516), with RSA-OAEP-256 and A256GCM.
pub(super) fn around(claims: &str, key: &SigningKey) -> String {
    let header = json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": key.kid(), "cty": "JWT"});
    let header = encode(header.to_string());
    // Should the library ever refuse, five parts of nothing are no less a JWE to whoever counts dots.
    let [wrapped, nonce, text, tag] = seal(claims, &header, &key.public_der()).unwrap_or_default();
    [header, encode(wrapped), encode(nonce), encode(text), encode(tag)].join(".")
}

/// The wrapped key, the nonce, the ciphertext and its tag.
fn seal(claims: &str, header: &str, public_key: &[u8]) -> Result<[Vec<u8>; 4], Unspecified> {
    let (mut secret, mut nonce) = ([0_u8; 32], [0_u8; 12]);
    aws_lc_rs::rand::fill(&mut secret)?;
    aws_lc_rs::rand::fill(&mut nonce)?;
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key)?)?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, &secret, &mut wrapped, None)?.to_vec();
    let mut text = claims.as_bytes().to_vec();
    let tag = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret)?)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header.as_bytes()),
            &mut text,
        )?;
    Ok([wrapped, nonce.to_vec(), text, tag.as_ref().to_vec()])
}
