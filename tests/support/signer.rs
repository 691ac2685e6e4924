//! Real RSA keys of the tests' own: for what no honest issuer, and no emulator of one, would ever sign.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::clock::{Clock, SystemClock};
use countersign::inbound::Verifier;
use countersign::inbound::VerifierBuilder;
use countersign::inbound::jwks::KeySet;
use serde_json::{Value, json};

use super::{AUDIENCE, CALLER};

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    SystemClock.now().unix_seconds()
}

/// An issuer whose every byte the test decides.
pub struct Signer {
    pub kid: String,
    pair: KeyPair,
}

impl Signer {
    pub fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The one whose keys the tests' verifiers trust; one for the whole process, because keys take their time.
    pub fn trusted() -> &'static Self {
        static TRUSTED: OnceLock<Signer> = OnceLock::new();
        TRUSTED.get_or_init(|| Self::new("trusted"))
    }

    /// One whom nobody trusts.
    pub fn forger() -> &'static Self {
        static FORGER: OnceLock<Signer> = OnceLock::new();
        FORGER.get_or_init(|| Self::new("forger"))
    }

    pub fn modulus(&self) -> Vec<u8> {
        self.pair.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    pub fn jwk(&self) -> Value {
        let n = encode(self.modulus());
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": "AQAB"})
    }

    /// SubjectPublicKeyInfo.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// RSAPublicKey (PKCS#1).
    pub fn public_pkcs1_der(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    pub fn key_set(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// A verifier that trusts this key, and nothing to fetch.
    pub fn verifier(&self) -> VerifierBuilder {
        let keys = KeySet::parse(self.key_set().to_string().as_bytes()).unwrap();
        Verifier::builder().audience(AUDIENCE.parse().unwrap()).fixed_keys(keys)
    }

    pub fn header(&self) -> Value {
        json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"})
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
        signature
    }

    /// Signs these claims under the usual header.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    /// Signs whatever the texts are.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        self.sign_input(&format!("{}.{}", encode(header), encode(payload)))
    }

    /// Signs an input as it stands.
    pub fn sign_input(&self, input: &str) -> String {
        format!("{input}.{}", encode(self.signature(input.as_bytes())))
    }
}

/// The claims of a good token, for an hour from now.
pub fn claims() -> Value {
    let now = now();
    json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "sub": "112233", "azp": "112233",
        "email": CALLER, "email_verified": true, "iat": now, "exp": now + 3_600,
    })
}

/// The claims of a good token with another value for one, or one more.
pub fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

/// The claims of a good token without one.
pub fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with this signature, whatever it is.
pub fn token(header: &Value, claims: &Value, signature: impl AsRef<[u8]>) -> String {
    format!(
        "{}.{}.{}",
        encode(header.to_string()),
        encode(claims.to_string()),
        encode(signature.as_ref())
    )
}

/// A token with an HMAC in place of a signature.
pub fn hmac_token(algorithm: &str, kid: &str, secret: &[u8]) -> String {
    let header = json!({"alg": algorithm, "kid": kid, "typ": "JWT"});
    let input = format!("{}.{}", encode(header.to_string()), encode(claims().to_string()));
    let algorithm = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
    format!("{input}.{}", encode(tag.as_ref()))
}

/// A PEM of these bytes.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
