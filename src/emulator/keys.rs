//! The emulated Google's signing keys: two are published, an old and a new one, and the new one signs.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

use super::EmulatorError;

/// The name that Google's own certificates carry.
const CERTIFICATE_SUBJECT: &str = "federated-signon.system.gserviceaccount.com";
/// Google's certificates are valid for a little over two weeks.
const CERTIFICATE_SECONDS: i64 = 17 * 24 * 3600;

/// One RSA-2048 key with everything that is published of it.
pub(super) struct SigningKey {
    kid: String,
    pair: KeyPair,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    certificate: rcgen::Certificate,
}

// The private half stays out of every log.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A fresh key. Takes tens of milliseconds of CPU: call it where blocking is allowed.
    pub(super) fn generate(now: i64) -> Result<Self, EmulatorError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| EmulatorError::KeyGeneration)?;
        let pkcs8 =
            AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| EmulatorError::KeyGeneration)?;
        let public = pair.public_key();
        let (modulus, exponent) = (
            public.modulus().big_endian_without_leading_zero().to_vec(),
            public.exponent().big_endian_without_leading_zero().to_vec(),
        );
        // Google's kids are 40 hexadecimal digits; what they are made of is not published.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public.as_ref());
        let kid = hex(digest.as_ref().get(..20).unwrap_or_default());
        let certificate = certificate(pkcs8.as_ref(), now)?;
        Ok(Self { kid, pair, modulus, exponent, certificate })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The key as a member of a JWK set (RFC 7517, RFC 7518 section 6.3.1).
    pub(super) fn jwk(&self) -> Value {
        json!({
            "kid": self.kid,
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
        })
    }

    /// The key's certificate, signed by itself.
    pub(super) fn certificate(&self) -> &rcgen::Certificate {
        &self.certificate
    }

    /// The public half as a SubjectPublicKeyInfo in DER.
    pub(super) fn public_der(&self) -> Vec<u8> {
        AsDer::<PublicKeyX509Der<'_>>::as_der(self.pair.public_key())
            .map(|der| der.as_ref().to_vec())
            .unwrap_or_default()
    }

    /// The same as PEM: what an attacker makes an HMAC secret of.
    pub(super) fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der())
    }

    /// The private half as PKCS #8 in PEM: for a credential file, and for nothing else.
    pub(super) fn private_pem(&self) -> Result<String, EmulatorError> {
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pair)
            .map_err(|_| EmulatorError::KeyGeneration)?;
        Ok(pem("PRIVATE KEY", pkcs8.as_ref()))
    }

    /// RS256 (RFC 7518 section 3.3).
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(&RSA_PKCS1_SHA256, message)
    }

    /// A signature with any RSA scheme: the deliberately bad tokens need the others.
    pub(super) fn sign_as(&self, scheme: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(scheme, &SystemRandom::new(), message, &mut signature)
            // The key was generated here with 2048 bits and the buffer is as long as its modulus: nothing else can
            // fail but the random number generator, and that aborts the process.
            .expect("a 2048-bit key signs into a buffer of its own length");
        signature
    }

    /// Does this RS256 signature belong to this message? By jsonwebtoken, not by the code that signs.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = DecodingKey::from_rsa_raw_components(&self.modulus, &self.exponent);
        (DEFAULT_PROVIDER.verifier_factory)(&Algorithm::RS256, &key)
            .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

/// The published keys, the one that signs, and one that nobody published.
#[derive(Debug)]
pub(super) struct KeyRing {
    keys: RwLock<Keys>,
    forger: OnceLock<Arc<SigningKey>>,
}

#[derive(Debug)]
struct Keys {
    current: Arc<SigningKey>,
    /// Oldest first, as Google lists them.
    published: Vec<Arc<SigningKey>>,
}

impl KeyRing {
    /// Two fresh keys; the second signs.
    pub(super) async fn generate(now: i64) -> Result<Self, EmulatorError> {
        let (old, new) = tokio::join!(generate_aside(now), generate_aside(now));
        let (old, new) = (old?, new?);
        let keys = Keys { current: Arc::clone(&new), published: vec![old, new] };
        Ok(Self { keys: RwLock::new(keys), forger: OnceLock::new() })
    }

    pub(super) fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.read().current)
    }

    pub(super) fn published(&self) -> Vec<Arc<SigningKey>> {
        self.read().published.clone()
    }

    /// A new key signs from now on. With `overlap` the key that signed until now stays published, as Google does it;
    /// without, every earlier key is gone at once.
    pub(super) async fn rotate(&self, now: i64, overlap: bool) -> Result<String, EmulatorError> {
        let new = generate_aside(now).await?;
        let kid = new.kid().to_owned();
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let previous = std::mem::replace(&mut keys.current, Arc::clone(&new));
        keys.published = if overlap { vec![previous, new] } else { vec![new] };
        Ok(kid)
    }

    /// Takes a key out of the published set. If it was the one that signs, the newest that is left signs; if none
    /// is left it goes on signing, and nobody can verify that.
    pub(super) fn withdraw(&self, kid: &str) -> Result<(), EmulatorError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = keys.published.iter().position(|key| key.kid() == kid) else {
            let published: Vec<&str> = keys.published.iter().map(|key| key.kid()).collect();
            let published = published.join(", ");
            return Err(EmulatorError::UnknownKey { kid: kid.to_owned(), published });
        };
        keys.published.remove(at);
        if keys.current.kid() == kid
            && let Some(newest) = keys.published.last().cloned()
        {
            keys.current = newest;
        }
        Ok(())
    }

    /// The key of somebody who is not Google. Made when first asked for, because few emulators need it.
    pub(super) fn forger(&self, now: i64) -> Arc<SigningKey> {
        Arc::clone(self.forger.get_or_init(|| {
            // Two keys were generated in the same way before this ring existed.
            Arc::new(SigningKey::generate(now).expect("key generation worked at the start"))
        }))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        // Nothing that holds this lock can leave the keys half changed.
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn generate_aside(now: i64) -> Result<Arc<SigningKey>, EmulatorError> {
    tokio::task::spawn_blocking(move || SigningKey::generate(now).map(Arc::new))
        .await
        .map_err(|_| EmulatorError::KeyGeneration)?
}

fn certificate(pkcs8: &[u8], now: i64) -> Result<rcgen::Certificate, EmulatorError> {
    let pair =
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &rcgen::PKCS_RSA_SHA256)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, CERTIFICATE_SUBJECT);
    let at = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1)
            + std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    params.not_before = at(now - 24 * 3600);
    params.not_after = at(now + CERTIFICATE_SECONDS);
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.self_signed(&pair)?)
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..body.len()).step_by(64).map(|at| &body[at..(at + 64).min(body.len())]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
